from pathlib import Path

import numpy as np
from defectseg.inference.keras_engine import KerasEngine

from defectseg.bundle import load_bundle
from defectseg.dataset.synthetic import generate_sample


def uneven_image() -> np.ndarray:
    """A texture whose light falls from left to right, 512×512."""
    image, _ = generate_sample("Class1", defective=True, rng=np.random.default_rng(4), size=512)
    return np.rint(image * np.linspace(1, 0.3, 512)).astype(np.uint8)


def open_engine(folder: Path, window_px: int = 2304) -> KerasEngine:
    bundle = load_bundle(folder)
    return KerasEngine(bundle.model_path, bundle.config.model, window_px)


def test_windows_are_standardised_by_the_whole_image(bundle_folder: Path) -> None:
    engine = open_engine(bundle_folder)
    image = uneven_image()
    whole = engine.probability(image)
    halves = np.hstack([engine.probability(image[:, :256]), engine.probability(image[:, 256:])])
    # Overlaps of half a window leave little but the standardisation to differ.
    in_windows = open_engine(bundle_folder, 256).probability(image)
    assert not np.array_equal(in_windows, whole)
    assert np.abs(in_windows - whole).mean() < 0.3 * np.abs(halves - whole).mean()


def test_colour_is_turned_to_what_the_network_takes(bundle_folder: Path) -> None:
    engine = open_engine(bundle_folder)
    gray = uneven_image()[:100, :70]
    answer = engine.probability(gray)
    assert answer.shape == (100, 70)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(engine.probability(np.dstack([gray] * 3)), answer, atol=1e-6)
