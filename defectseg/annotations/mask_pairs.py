"""Images with a mask each, of the same stem.

Either side by side in one folder, the mask as PNG and the image in another format
(``a/1.jpg`` and ``a/1.png``), or in folders ``images`` and ``masks`` next to each other.
"""

from pathlib import Path

from defectseg.annotations.labels import LabelledImage, LabelSet
from defectseg.errors import Problem
from defectseg.image_io import FoundFile, find_images

NAME = "mask-pairs"
DESCRIPTION = "images and masks of the same stem: a/1.jpg with a/1.png, or images/1.png with masks/"

_IMAGE_FOLDERS = ("images", "image", "imgs", "img")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "ground_truth")


def find(root: Path) -> list[Path]:
    """Return the masks below `root` that have an image."""
    return [mask for _, mask in _pair(root)[0]]


def read(root: Path) -> LabelSet:
    """Read all pairs as one product, named after the folder.

    Whether an image is defective is told by its mask's pixels, later. An image without mask and
    a mask without image are unmatched.
    """
    product = root.resolve().name
    pairs, alone, crowds = _pair(root)
    images = tuple(LabelledImage(image, product, mask=mask) for image, mask in pairs)
    rows_without_image: list[tuple[str, Problem]] = []
    images_without_row: list[tuple[str, Problem]] = []
    for found in alone:
        is_mask = found.path.parent.name.lower() in _MASK_FOLDERS or (
            found.path.parent.name.lower() not in _IMAGE_FOLDERS
            and found.path.suffix.lower() == ".png"
        )
        what, list_ = ("image", rows_without_image) if is_mask else ("mask", images_without_row)
        problem = Problem(
            str(found.path),
            f"no {what} of the stem {found.path.stem!r}",
            "an image and a mask of the same stem",
            f"Add the {what}, or remove the file.",
        )
        list_.append((product, problem))
    problems = tuple(
        Problem(
            str(group[0].path),
            f"{len(group)} files of one stem: {', '.join(found.relative for found in group)}",
            "one image and one mask",
            "Rename or remove what does not belong together.",
        )
        for group in crowds
    )
    return LabelSet(images, problems, tuple(rows_without_image), tuple(images_without_row))


def _pair(
    root: Path,
) -> tuple[list[tuple[Path, Path]], list[FoundFile], list[list[FoundFile]]]:
    """Return the (image, mask) pairs below a folder, files left alone, and unclear groups."""
    groups: dict[tuple[Path, str], list[FoundFile]] = {}
    for found in find_images(root)[0]:
        folder = found.path.parent
        if folder.name.lower() in (*_IMAGE_FOLDERS, *_MASK_FOLDERS):
            folder = folder.parent
        groups.setdefault((folder, found.path.stem), []).append(found)
    pairs: list[tuple[Path, Path]] = []
    alone: list[FoundFile] = []
    crowds: list[list[FoundFile]] = []
    for group in groups.values():
        masks = [found.path for found in group if _is_mask_of(found, group)]
        images = [found.path for found in group if found.path not in masks]
        if len(masks) == 1 and len(images) == 1:
            pairs.append((images[0], masks[0]))
        elif len(group) == 1:
            alone += group
        else:
            crowds.append(group)
    return pairs, alone, crowds


def _is_mask_of(found: FoundFile, group: list[FoundFile]) -> bool:
    folders = {other.path.parent for other in group}
    if len(folders) > 1:
        return found.path.parent.name.lower() in _MASK_FOLDERS
    return len(group) > 1 and found.path.suffix.lower() == ".png"
