"""How well the blur classifier tells labelled images from blurred copies of them."""

from collections.abc import Callable, Sequence

import numpy as np

from defectseg.dataset.manifest import Sample
from defectseg.errors import ImageReadError
from defectseg.image_io import read_image, to_gray
from defectseg.quality.blur_classifier import BlurClassifier, Rates, blur_rates
from defectseg.quality.blur_fitting import cut_part, draw_pair


def rate_blur_classifier(
    classifier: BlurClassifier,
    samples: Sequence[Sample],
    on_image: Callable[[int], None] = lambda total: None,
) -> tuple[Rates, ...]:
    """Return the classifier's rates at each threshold, on a sharp and a blurred copy of each image.

    Parameters
    ----------
    classifier : BlurClassifier
    samples : sequence of Sample
        They are taken to be sharp. Of a part of each, `blur_fitting.draw_pair` makes both copies,
        the same ones each time; what cannot be read is left out.
    on_image : callable
        Called after each image with the number of all of them.

    Returns
    -------
    tuple of Rates
        Empty if nothing could be read.
    """
    sharp: list[float] = []
    blurred: list[float] = []
    for sample in samples:
        on_image(len(samples))
        try:
            gray = to_gray(read_image(sample.image))
        except ImageReadError:  # it has its ERROR row in the evaluation
            continue
        rng = np.random.default_rng(int(sample.sha256[:8], 16))
        part = cut_part(gray, rng)
        for scores, copy in zip((sharp, blurred), draw_pair(part, rng), strict=True):
            scores.append(classifier.sharp_probability(copy))
    return blur_rates(sharp, blurred) if sharp else ()


def blur_rows(rates: Sequence[Rates]) -> list[dict[str, str]]:
    """Return rates in words, a row a threshold."""
    return [
        {
            "called sharp from": f"{own.threshold:g}",
            "false positives: blurred, let through": f"{100 * own.false_positive_rate:.1f} %",
            "true positives: sharp, kept": f"{100 * own.true_positive_rate:.1f} %",
        }
        for own in rates
    ]
