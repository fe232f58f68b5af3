import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectseg.dataset.balance import draw_epoch


def draw(
    n_defective: int,
    n_good: int,
    *,
    batch_size: int = 4,
    good_per_defective: float = 1.0,
    passes: int = 1,
    seed: int = 0,
) -> npt.NDArray[np.int64]:
    """Batches of images of which the first `n_defective` are defective."""
    return draw_epoch(
        np.arange(n_defective + n_good) < n_defective,
        batch_size=batch_size,
        good_per_defective=good_per_defective,
        passes=passes,
        rng=np.random.default_rng(seed),
    )


@given(
    st.integers(1, 20), st.integers(1, 30), st.integers(2, 16), st.floats(0, 9), st.integers(1, 4)
)
def test_every_batch_has_defective_images_and_each_is_shown_as_often_as_asked(
    n_defective: int, n_good: int, batch_size: int, good_per_defective: float, passes: int
) -> None:
    batches = draw(
        n_defective,
        n_good,
        batch_size=batch_size,
        good_per_defective=good_per_defective,
        passes=passes,
    )
    assert batches.shape[1] == batch_size
    per_batch = (batches < n_defective).sum(axis=1)
    assert (per_batch >= 1).all()
    assert len(set(per_batch)) == 1
    assert (per_batch[0] < batch_size) == (good_per_defective > 0)
    shown = np.bincount(batches[batches < n_defective], minlength=n_defective)
    assert shown.min() >= passes
    # More only to fill the last batch.
    assert shown.sum() < passes * n_defective + per_batch[0]
    seen = np.bincount(batches[batches >= n_defective] - n_defective, minlength=n_good)
    # No good image comes again before all have been shown.
    assert seen.max() - seen.min() <= 1


@pytest.mark.parametrize(
    ("batch_size", "good_per_defective", "defective"),
    [
        (8, 1, 4),
        (8, 3, 2),
        (8, 0, 8),
        (6, 0.5, 4),
        (8, 1.5, 3),  # 8 / 2.5 = 3.2
        (4, 100, 1),  # never none
        (4, 0.1, 3),  # nor ever no good one
        (1, 0, 1),
    ],
)
def test_share_of_defective_images_is_the_one_asked_for(
    batch_size: int, good_per_defective: float, defective: int
) -> None:
    batches = draw(12, 50, batch_size=batch_size, good_per_defective=good_per_defective)
    assert ((batches < 12).sum(axis=1) == defective).all()
    # As many batches as show each of the 12 once.
    assert len(batches) == -(-12 // defective)


def test_no_defective_image_is_shown_more_than_asked_where_batches_come_out_even() -> None:
    # 6 images three times are 18, in batches of 2: nine batches, none to fill up.
    batches = draw(6, 20, batch_size=4, passes=3)
    assert batches.shape == (9, 4)
    assert np.bincount(batches[batches < 6]).tolist() == [3] * 6


def test_good_images_differ_between_epochs_and_are_the_same_for_one_seed() -> None:
    first, again, second = (draw(4, 100, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert set(first[first >= 4]) != set(second[second >= 4])


def test_good_and_defective_images_are_mixed_within_a_batch() -> None:
    for good_per_defective, defective in ((1, 4), (3, 2)):
        batches = draw(40, 40, batch_size=8, good_per_defective=good_per_defective)
        # A device that gets half of each batch gets half of its defective images.
        for half in (batches[:, :4], batches[:, 4:]):
            assert ((half < 40).sum(axis=1) == defective // 2).all()


def test_without_defective_images_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="at least one defective image"):
        draw(0, 5)


def test_a_batch_of_one_has_no_room_for_both_kinds() -> None:
    with pytest.raises(ValueError, match="batch_size of at least 2"):
        draw(3, 3, batch_size=1)


def test_good_images_that_are_asked_for_must_exist() -> None:
    with pytest.raises(ValueError, match="good_per_defective=1"):
        draw(5, 0)
    # None are asked for here, and none are needed.
    assert draw(5, 0, good_per_defective=0).shape == (2, 4)
