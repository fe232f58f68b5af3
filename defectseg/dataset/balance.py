"""Rebalancing: which images an epoch shows, and how they are dealt into batches."""

import numpy as np
import numpy.typing as npt


def draw_epoch(
    defective: npt.NDArray[np.bool_],
    *,
    batch_size: int,
    good_per_defective: float,
    passes: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Draw one epoch of batches, each with the same number of defective images.

    Parameters
    ----------
    defective : ndarray of shape (N,), bool
        Which images show a defect; at least one does.
    batch_size : int
        Images a batch, at least 1.
    good_per_defective : float
        Good images drawn for each defective one; 0 for none. A batch holds whole images, so the
        share is met as nearly as the batch size allows, with at least one image of each kind.
    passes : int
        How often each defective image is shown, at least 1.
    rng : numpy.random.Generator
        Another one each epoch, and the good images are drawn anew.

    Returns
    -------
    ndarray of shape (steps, batch_size), int64
        Indices into `defective`. Within a batch the kinds are spread evenly, so that each device
        of a split batch gets defective images where there are enough.

    Raises
    ------
    ValueError
        If no image is defective, or good ones are asked for and there are none, or no room.
    """
    defects, goods = np.flatnonzero(defective), np.flatnonzero(~defective)
    most = batch_size - 1 if good_per_defective else batch_size
    if not most:
        raise ValueError("Expected a batch_size of at least 2 for both kinds. Received 1.")
    per_batch = int(np.clip(round(batch_size / (1 + good_per_defective)), 1, most))
    if not len(defects):
        raise ValueError("Expected at least one defective image. Received none.")
    if per_batch < batch_size and not len(goods):
        raise ValueError(
            f"Expected good images for good_per_defective={good_per_defective}. Received none."
        )
    steps = -(-passes * len(defects) // per_batch)
    batches = np.concatenate(
        [
            _deal(defects, steps * per_batch, rng).reshape(steps, per_batch),
            _deal(goods, steps * (batch_size - per_batch), rng).reshape(steps, -1),
        ],
        axis=1,
    )
    shares = [(np.arange(n) + 0.5) / max(n, 1) for n in (per_batch, batch_size - per_batch)]
    return batches[:, np.argsort(np.concatenate(shares), kind="stable")]


def _deal(
    items: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Deal `count` items from shuffled decks, so that none comes twice before all came once."""
    if not count:
        return np.empty(0, np.int64)
    decks = [rng.permutation(items) for _ in range(-(-count // len(items)))]
    return np.concatenate(decks)[:count]
