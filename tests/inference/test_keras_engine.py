from pathlib import Path

import numpy as np
import pytest

from defectseg.bundle import load_bundle
from defectseg.dataset.synthetic import generate_sample
from defectseg.inference import tiling
from defectseg.inference.keras_engine import KerasEngine


def uneven_image() -> np.ndarray:
    """A texture whose light falls from left to right, 512×512."""
    image, _ = generate_sample("Class1", defective=True, rng=np.random.default_rng(4), size=512)
    return np.rint(image * np.linspace(1, 0.3, 512)).astype(np.uint8)


def test_tiles_are_standardised_by_the_whole_image(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(bundle_folder)
    engine = KerasEngine(bundle.model_path, bundle.config.model)
    image = uneven_image()
    whole = engine.probability(image)
    halves = np.hstack([engine.probability(image[:, :256]), engine.probability(image[:, 256:])])
    # Margins as wide as the image leave only the standardisation to differ.
    monkeypatch.setattr(tiling, "TILE_PX", 256)
    monkeypatch.setattr(tiling, "MARGIN_PX", 64)
    tiled = engine.probability(image)
    assert not tiling.fits_one_tile(image)
    assert np.abs(tiled - whole).mean() < 0.3 * np.abs(halves - whole).mean()


def test_colour_is_turned_to_what_the_network_takes(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    engine = KerasEngine(bundle.model_path, bundle.config.model)
    gray = uneven_image()[:100, :70]
    answer = engine.probability(gray)
    assert answer.shape == (100, 70)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(engine.probability(np.dstack([gray] * 3)), answer, atol=1e-6)
