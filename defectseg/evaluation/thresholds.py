"""The two score thresholds, chosen on validation images."""

from collections.abc import Sequence

from defectseg.errors import DataError


def choose_thresholds(good: Sequence[float], defective: Sequence[float]) -> tuple[float, float]:
    """Choose the scores from which an image is for REVIEW, and from which it is a FAIL.

    Parameters
    ----------
    good, defective : sequences of float
        Scores of validation images, in [0, 1].

    Returns
    -------
    review, fail : float
        Where the kinds do not overlap, the band between the two is the middle third of the gap:
        there no image was seen. Where they do, the band holds the overlap: no defective
        validation image is below it, no good one above.

    Raises
    ------
    DataError
        If either kind is missing.
    """
    if not good or not defective:
        raise DataError(
            f"Thresholds need scores of both kinds; found {len(good)} good and {len(defective)} "
            "defective validation images."
        )
    highest_good, lowest_defective = max(good), min(defective)
    if highest_good < lowest_defective:
        third = (lowest_defective - highest_good) / 3
        return highest_good + third, lowest_defective - third
    below = max((score for score in good if score < lowest_defective), default=0.0)
    above = min((score for score in defective if score > highest_good), default=1.0)
    return (below + lowest_defective) / 2, (highest_good + above) / 2
