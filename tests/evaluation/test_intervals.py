import numpy as np
import pytest

from defectseg.evaluation.figures import rate
from defectseg.evaluation.intervals import auroc_interval, mean_interval


def test_the_interval_of_a_mean_by_hand() -> None:
    # Of 1, 2, 3 the mean is 2, the deviation 1; Student's t with 2 degrees of freedom is 4.3027.
    low, high = mean_interval([1, 2, 3])
    assert (low, high) == (
        pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-4),
        pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-4),
    )
    assert mean_interval([0.5]) == (None, None)


def test_the_interval_of_an_auroc_is_that_of_a_share_where_there_is_one_pair() -> None:
    # With one image of each kind the variance is that of a share of one.
    low, high = auroc_interval(1.0, 1, 1)
    share = rate(1, 1)
    assert (low, high) == (pytest.approx(share.low), pytest.approx(1))


@pytest.mark.parametrize("auroc", [0.0, 0.3, 0.5, 0.97, 1.0])
def test_the_interval_of_an_auroc_holds_it_and_is_mirrored(auroc: float) -> None:
    low, high = auroc_interval(auroc, 40, 10)
    assert 0 <= low <= auroc + 1e-6
    assert auroc - 1e-6 <= high <= 1
    mirrored = auroc_interval(1 - auroc, 10, 40)
    assert (1 - mirrored[1], 1 - mirrored[0]) == (pytest.approx(low), pytest.approx(high))
    narrow = auroc_interval(auroc, 400, 100)
    assert low <= narrow[0] + 1e-6
    assert narrow[1] <= high + 1e-6


def test_the_interval_of_an_auroc_covers_the_truth() -> None:
    # Good scores normal, defective ones 1.5 deviations higher: the true area is Phi(1.5/√2).
    true = 0.8556
    rng = np.random.default_rng(0)
    good, defective = rng.normal(size=(400, 30)), rng.normal(1.5, size=(400, 15))
    areas = (defective[:, :, None] > good[:, None, :]).mean(axis=(1, 2))
    covered = [low <= true <= high for low, high in (auroc_interval(a, 30, 15) for a in areas)]
    # Of 400 intervals of 95 %: 0.92 lies 2.75 standard errors below.
    assert 0.92 <= np.mean(covered) <= 1
