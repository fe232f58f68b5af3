"""The pictures that a station keeps: image, mask and overlay, by day and outcome, for a time."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.atomic import write_atomically
from defectseg.image_io import decode_image, encode_picture, write_mask, write_picture
from defectseg.inference.results import draw_overlay
from defectseg.inference.verdict import Outcome
from defectseg.line.settings import Retention

PICTURES = "pictures"
IMAGE, MASK, OVERLAY = "image", "mask.png", "overlay.jpg"
_TRIAL_BYTES = 1 << 20
_RECIPE_LETTERS = 12  # of its hash: enough to tell the recipes of one image apart


class Archive:
    """Pictures below a station's folder.

    Parameters
    ----------
    folder : Path
        The station's.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder / PICTURES

    def keep(
        self,
        data: bytes,
        image: npt.NDArray[np.uint8] | None,
        mask: npt.NDArray[np.uint8] | None,
        *,
        received_at: str,
        outcome: str,
        image_sha256: str,
        recipe: str,
    ) -> str:
        """Write an image file's bytes and, where it was inspected, its mask.

        An overlay is written where there is something to draw; else the image shows the same, see
        `read`. Nothing of its name is of the client's choosing. The same image of the same recipe
        takes the same place: what a kill left half done is written over.

        Returns
        -------
        str
            The folder, to be recorded.

        Raises
        ------
        OSError
        """
        name = f"{image_sha256}-{recipe[:_RECIPE_LETTERS]}"
        folder = f"{received_at[:10]}/{outcome}/{name}"
        write_atomically(self._root / folder / IMAGE, data)
        if image is not None and mask is not None:
            write_mask(self._root / folder / MASK, mask)
            if mask.any():
                write_picture(self._root / folder / OVERLAY, draw_overlay(image, mask))
        return folder

    def try_to_write(self) -> None:
        """Write as much as a picture may have, and remove it; raises OSError as `keep` would."""
        trial = self._root / "trial"
        write_atomically(trial, bytes(_TRIAL_BYTES))
        trial.unlink()

    def kept(self, pictures: str) -> dict[str, bool]:
        """Return which of `IMAGE`, `MASK` and `OVERLAY` there are to be had."""
        there = {name: self.path(pictures, name) is not None for name in (IMAGE, MASK, OVERLAY)}
        return there | {OVERLAY: there[OVERLAY] or (there[IMAGE] and there[MASK])}

    def read(self, pictures: str, name: str) -> bytes:
        """Return a picture's bytes; an overlay without anything drawn is made of its image.

        Raises
        ------
        FileNotFoundError
            If it was not kept, or is kept no longer.
        """
        path = self.path(pictures, name)
        if path is not None:
            return path.read_bytes()
        if not self.kept(pictures)[name]:
            raise FileNotFoundError(name)
        image = decode_image(self.read(pictures, IMAGE))
        return encode_picture(draw_overlay(image, np.zeros(image.shape[:2], np.uint8)))

    def path(self, pictures: str, name: str) -> Path | None:
        """Return a picture that is still kept: `IMAGE`, `MASK` or `OVERLAY`; else None."""
        path = self._root / pictures / name
        return path if pictures and path.is_file() else None


@dataclass(frozen=True)
class _Kept:
    """The folder of an outcome on a day."""

    path: Path
    day: str
    outcome: str


def remove_old(
    folder: Path, retention: Retention, is_waiting: Callable[[str], bool], time: datetime
) -> int:
    """Remove the pictures that a retention rule keeps no longer.

    Parameters
    ----------
    folder : Path
        The station's.
    retention : Retention
    is_waiting : callable
        Whether a folder of `Archive.keep` waits for a person's decision: then it stays.
    time : datetime
        Now, UTC.

    Returns
    -------
    int
        How many bytes they had.
    """
    root = folder / PICTURES
    removed = 0
    left = []
    for kept in _list_kept(root):
        days = retention.pass_days if kept.outcome == Outcome.PASS else retention.days
        # A day is over when its last hour is.
        if time - _start_of(kept.day) - timedelta(days=1) > timedelta(days=days):
            removed += _remove(kept, root, is_waiting)
        else:
            left.append(kept)
    excess = sum(_size(kept.path) for kept in left) - retention.most_gigabytes * 1e9
    for kept in sorted(left, key=lambda own: (own.outcome != Outcome.PASS, own.day)):
        if excess <= 0:
            break
        freed = _remove(kept, root, is_waiting, most=excess)
        removed, excess = removed + freed, excess - freed
    return removed


def _list_kept(root: Path) -> Iterator[_Kept]:
    for day in sorted(root.glob("????-??-??")):
        for outcome in sorted(day.iterdir()):
            yield _Kept(outcome, day.name, outcome.name)


def _start_of(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _remove(
    kept: _Kept, root: Path, is_waiting: Callable[[str], bool], most: float = float("inf")
) -> int:
    """Remove the oldest pictures of a folder, and itself once it is empty; return their bytes."""
    freed = 0
    for own in sorted(kept.path.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        if freed >= most:
            break
        if kept.outcome == Outcome.REVIEW and is_waiting(own.relative_to(root).as_posix()):
            continue
        freed += _size(own)
        shutil.rmtree(own, ignore_errors=True)
    with suppress(OSError):  # not empty
        kept.path.rmdir()
        kept.path.parent.rmdir()
    return freed


def _size(path: Path) -> int:
    return sum(own.stat().st_size for own in path.rglob("*") if own.is_file())
