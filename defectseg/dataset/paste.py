"""Rare defects, pasted onto good images of the same product."""

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]

_FEATHER_PX = 4


def paste_defect(
    image: Image, donor: Image, donor_mask: Mask, rng: np.random.Generator
) -> tuple[Image, Mask]:
    """Copy one defect of a donor image to a random place of a good image.

    Only a defect that lies wholly within the donor is taken: a cut one would show a straight edge.
    It is mirrored at random, its surroundings are brought to the brightness of the place, and are
    blended in over a few pixels.

    Parameters
    ----------
    image, donor : ndarrays of shape (H, W, C), uint8
        Of one product.
    donor_mask : ndarray of shape (H, W), uint8, 0 or 1
    rng : numpy.random.Generator

    Returns
    -------
    image, mask : ndarrays
        A new image and the mask of the pasted defect; the image itself and an empty mask where
        the donor has no whole defect, or none that fits.
    """
    patch, own = _cut(donor, donor_mask, rng)
    height, width = own.shape
    room = np.array(image.shape[:2]) - own.shape
    mask = np.zeros(image.shape[:2], np.uint8)
    if not own.any() or room.min() < 0:
        return image, mask
    top, left = rng.integers(0, room + 1)
    window = np.s_[top : top + height, left : left + width]
    place = image[window].astype(np.float32)
    around = own == 0
    patch = patch + (place[around].mean() - patch[around].mean())
    # Widened first: the defect itself is copied whole, however small, and what fades is around it.
    wide = cv2.dilate(own, np.ones((2 * _FEATHER_PX + 1,) * 2, np.uint8)).astype(np.float32)
    cover = cv2.GaussianBlur(wide, (0, 0), _FEATHER_PX / 2)[..., None]
    result = image.copy()
    result[window] = np.clip(np.rint(place + cover * (patch - place)), 0, 255).astype(np.uint8)
    mask[window] = own
    return result, mask


def _cut(
    donor: Image, donor_mask: Mask, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], Mask]:
    """Return a random whole defect's surroundings and mask, with a margin; empty if none.

    Another defect within the margin would be copied without its label.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(donor_mask)
    margin = 2 * _FEATHER_PX
    boxes = [
        (label, np.s_[top - margin : top + height + margin, left - margin : left + width + margin])
        for label, (left, top, width, height, _) in enumerate(stats)
        if label
        and min(left, top) >= margin
        and left + width + margin <= donor_mask.shape[1]
        and top + height + margin <= donor_mask.shape[0]
    ]
    boxes = [(label, box) for label, box in boxes if set(np.unique(labels[box])) <= {0, label}]
    if not boxes:
        return np.zeros((0, 0, donor.shape[2]), np.float32), np.zeros((0, 0), np.uint8)
    label, box = boxes[rng.integers(len(boxes))]
    patch, own = donor[box].astype(np.float32), (labels[box] == label).astype(np.uint8)
    flips = tuple(slice(None, None, step) for step in rng.choice([-1, 1], 2))
    return np.ascontiguousarray(patch[flips]), np.ascontiguousarray(own[flips])
