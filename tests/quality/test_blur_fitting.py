import numpy as np
import pytest

from defectseg.dataset.synthetic import generate_sample
from defectseg.errors import DataError
from defectseg.quality.blur_classifier import to_json
from defectseg.quality.blur_fitting import draw_pair, fit_blur_classifier
from defectseg.quality.distortions import Image, add_noise, blur_gaussian


def draw(product: str, seed: int = 1) -> Image:
    rng = np.random.default_rng(seed)
    return generate_sample(product, defective=False, rng=rng, size=256)[0]


def test_fit_on_a_product() -> None:
    classifier = fit_blur_classifier([draw("Class1", seed) for seed in range(4)], pairs=100)
    sharp = [draw("Class1", seed) for seed in range(10, 16)]
    noisy_blurred = [
        add_noise(blur_gaussian(image, 1), 5, np.random.default_rng(3)) for image in sharp
    ]
    least = min(classifier.sharp_probability(image) for image in sharp)
    assert least > 0.5 > max(classifier.sharp_probability(image) for image in noisy_blurred)


def test_fit_depends_on_the_seed_alone() -> None:
    images = [draw("Class4", seed) for seed in range(2)]
    first, second, third = (fit_blur_classifier(images, seed=s, pairs=8) for s in (0, 0, 1))
    assert to_json(first) == to_json(second) != to_json(third)


def test_fit_names_what_it_cannot_use() -> None:
    with pytest.raises(DataError, match="No images"):
        fit_blur_classifier([])
    with pytest.raises(DataError, match=r"Image 2 of 2 .*\(100, 100\)"):
        fit_blur_classifier([draw("Class1"), np.zeros((100, 100), np.uint8)])


def test_draw_pair_leaves_the_image_as_it_is() -> None:
    image = draw("Class3")
    before = image.copy()
    drawn = [draw_pair(image, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert (image == before).all()
    assert all(copy.shape == image.shape and copy.dtype == np.uint8 for p in drawn for copy in p)
    assert all((a == b).all() for a, b in zip(drawn[0], drawn[1], strict=True))
    assert any((a != b).any() for a, b in zip(drawn[0], drawn[2], strict=True))
