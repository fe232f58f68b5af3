from pathlib import Path

import numpy as np
import pytest

from defectseg.dataset.manifest import Sample
from defectseg.dataset.synthetic import generate_sample
from defectseg.evaluation.blur_check import blur_rows, rate_blur_classifier
from defectseg.image_io import write_gray
from defectseg.quality.blur_classifier import Rates, load_general_classifier


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = np.random.default_rng(21)
    made = []
    for number in range(6):
        image, _ = generate_sample("Class2", defective=False, rng=rng, size=192)
        path = tmp_path / f"{number}.png"
        write_gray(path, image)
        made.append(Sample(path, None, "P", False, "test", 192, 192, f"{number:08x}"))
    return made


def test_most_sharp_copies_are_told_from_blurred_ones(samples: list[Sample]) -> None:
    rates = rate_blur_classifier(load_general_classifier(), samples)
    assert rates[0].true_positive_rate >= 4 / 6
    assert rates[0].false_positive_rate <= 2 / 6
    assert rates == rate_blur_classifier(load_general_classifier(), samples)


def test_what_cannot_be_read_is_left_out(samples: list[Sample]) -> None:
    classifier = load_general_classifier()
    samples[0].image.write_text("no image")
    assert rate_blur_classifier(classifier, samples) == rate_blur_classifier(
        classifier, samples[1:]
    )
    assert rate_blur_classifier(classifier, samples[:1]) == ()


def test_rates_in_words() -> None:
    (row,) = blur_rows([Rates(0.5, false_positive_rate=0.125, true_positive_rate=1)])
    assert list(row.values()) == ["0.5", "12.5 %", "100.0 %"]
