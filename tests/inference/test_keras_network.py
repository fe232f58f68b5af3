from pathlib import Path

import keras
import numpy as np

from defectseg.bundle import load_bundle
from defectseg.config import PROBABILITY
from defectseg.inference.engines import load_engine
from defectseg.inference.keras_network import KerasNetwork


def test_answers_are_those_of_the_model_if_the_levels_are_its_own(bundle_folder: Path) -> None:
    parts = np.random.default_rng(0).integers(0, 256, (3, 64, 128, 1), np.uint8)
    levels = np.array([(part.mean(), part.std()) for part in parts], np.float32)
    model = keras.models.load_model(bundle_folder / "model.keras", compile=False)
    network = KerasNetwork(bundle_folder / "model.keras")
    coarse = keras.Model(model.input, model.get_layer(PROBABILITY).output)
    expected = np.asarray(coarse(parts.astype(np.float32)))[..., 0]
    np.testing.assert_allclose(network.run(parts, levels), expected, atol=1e-5)
    # Brighter and flatter, with the numbers of the brighter and flatter: the same.
    faint = network.run(parts // 2 + 100, levels // 2 + np.array([100, 0], np.float32))
    assert np.abs(faint - expected).mean() < 0.05
    assert np.abs(network.run(parts, 2 * levels) - expected).mean() > 0.05
    assert (network.name, network.precision) == ("keras", "float32")


def test_an_engine_answers_an_image_as_the_model_does(bundle_folder: Path) -> None:
    config = load_bundle(bundle_folder).config
    once = config.model_copy(
        update={"inference": config.inference.model_copy(update={"flips": False})}
    )
    image = np.random.default_rng(2).integers(0, 256, (128, 192), np.uint8)
    model = keras.models.load_model(bundle_folder / "model.keras", compile=False)
    np.testing.assert_allclose(
        load_engine(bundle_folder, once, "keras").probability(image),
        np.asarray(model(image[None, ..., None].astype(np.float32)))[0, ..., 0],
        atol=1e-5,
    )
