"""Folders of labels, written small, and the check of how a bad one is refused."""

from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.annotations.layouts import detect_layout, read_labels
from defectseg.dataset.prepare import prepare
from defectseg.errors import DataError, Problem
from defectseg.image_io import write_gray

HEIGHT, WIDTH = 24, 32


def noise(seed: int, shape_hw: tuple[int, int] = (HEIGHT, WIDTH)) -> npt.NDArray[np.uint8]:
    """An image unlike that of any other seed, dark enough for a red line to stand out."""
    return np.random.default_rng(seed).integers(0, 100, shape_hw, np.uint8)


def write_images(folder: Path, *names: str) -> None:
    """Write an image a name, each of other content also across folders."""
    for name in names:
        write_gray(folder / name, noise(crc32("/".join((folder / name).parts[-3:]).encode())))


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def rectangle(rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
    """A mask as on disk: 255 in the rectangle, 0 elsewhere."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[rows, columns] = 255
    return mask


def read_any(root: Path) -> tuple[str, list[tuple[str, str, int, str | None, str | None]]]:
    """Detect and read a sound folder.

    Returns the layout, and of each image its path, product, number of ellipses, mask and split.
    """
    layout = detect_layout(root)
    labels = read_labels(root, layout)
    assert not labels.problems
    assert not labels.rows_without_image
    assert not labels.images_without_row
    rows = [
        (
            image.image.relative_to(root).as_posix(),
            image.product,
            len(image.shapes),
            image.mask.relative_to(root).as_posix() if image.mask else None,
            image.split,
        )
        for image in labels.images
    ]
    return layout, sorted(rows)


def refused(source: Path, *, layout: str = "auto", leave_out: bool = False) -> list[Problem]:
    """Prepare a folder that must be refused without a trace; return its problems.

    Each is in the message, with where it is, what is expected and what to do.
    """
    before = sorted(source.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        prepare(source, source.parent / "out", layout=layout, leave_out_unmatched=leave_out)
    assert sorted(source.parent.rglob("*")) == before
    for problem in caught.value.problems:
        assert problem.where.startswith(str(source))
        assert all((problem.found, problem.expected, problem.fix))
        assert str(problem) in str(caught.value)
    return list(caught.value.problems)
