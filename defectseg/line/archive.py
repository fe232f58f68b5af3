"""The pictures that a station keeps: image, mask and overlay, by day and outcome, for a time."""

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.atomic import write_atomically
from defectseg.checksums import file_sha256
from defectseg.image_io import decode_image, encode_picture, write_mask, write_picture
from defectseg.inference.results import draw_overlay
from defectseg.inference.verdict import Outcome
from defectseg.line.records import Inspection
from defectseg.line.settings import Retention

PICTURES = "pictures"
IMAGE, MASK, OVERLAY = "image", "mask.png", "overlay.jpg"
_TRIAL_BYTES = 1 << 20
_RECIPE_LETTERS = 12  # of its hash: enough to tell the recipes of one image apart


@dataclass(frozen=True)
class _Place:
    """Where the pictures of an outcome on a day lie."""

    day: str
    outcome: str


class Archive:
    """Pictures below a station's folder.

    A power cut costs no row of the ledger that was answered, but it may cost pictures: what is
    kept is written, and on disk when the system has come to it, within a minute or so. Those that
    must not be lost are waited for by `settle`.

    Parameters
    ----------
    folder : Path
        The station's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder / PICTURES
        self._sizes: Counter[_Place] = Counter()  # bytes
        self._counted = False
        self._lock = threading.Lock()

    def keep(
        self,
        data: bytes,
        image: npt.NDArray[np.uint8] | None,
        mask: npt.NDArray[np.uint8] | None,
        inspection: Inspection,
    ) -> str:
        """Write an image file's bytes and, where it was inspected, its mask.

        An overlay is written where there is something to draw; else the image shows the same, see
        `read`. Nothing of its name is of the client's choosing. The same image of the same recipe
        takes the same place: what a kill left half done is written over.

        Parameters
        ----------
        data : bytes
        image : ndarray of shape (H, W) or (H, W, 3), uint8, or None
        mask : ndarray of shape (H, W), uint8, or None
        inspection : Inspection
            What became of the image; its day, outcome, image and recipe name the place.

        Returns
        -------
        str
            The folder, to be recorded.

        Raises
        ------
        OSError
        """
        place = _Place(inspection.received_at[:10], inspection.outcome)
        name = f"{inspection.image_sha256}-{inspection.recipe[:_RECIPE_LETTERS]}"
        folder = f"{place.day}/{place.outcome}/{name}"
        write_atomically(self._root / folder / IMAGE, data)
        if image is not None and mask is not None:
            write_mask(self._root / folder / MASK, mask)
            if mask.any():
                write_picture(self._root / folder / OVERLAY, draw_overlay(image, mask))
        with self._lock:
            self._sizes[place] += _size(self._root / folder)
        return folder

    def settle(self, pictures: str) -> None:
        """Wait until the pictures of an inspection are on disk for good.

        Whoever removes an image's original does this before: of what was kept just before a power
        cut, only the row may be there, and the original be given again.

        Raises
        ------
        FileNotFoundError
            If the image was not kept, or is kept no longer.
        OSError
            If the image is not whole, or cannot be written.
        """
        image = self.path(pictures, IMAGE)
        if image is None:
            raise FileNotFoundError(f"{self._root / pictures} holds no image.")
        own = image.parent
        if file_sha256(image) != own.name.partition("-")[0]:
            raise OSError(f"{image} is not the image that was recorded.")
        # A new file is there for good with the folder that names it, up to the station's.
        folders = [own, *own.parents[:3], self._folder]
        for path in (*own.iterdir(), *folders):
            _write_through(path)

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

    def remove_old(
        self, retention: Retention, is_waiting: Callable[[str], bool], time: datetime
    ) -> int:
        """Remove the pictures that a retention rule keeps no longer.

        Parameters
        ----------
        retention : Retention
        is_waiting : callable
            Whether a folder of `keep` waits for a person's decision: then it stays.
        time : datetime
            Now, UTC.

        Returns
        -------
        int
            How many bytes they had.
        """
        self._count()
        removed = 0
        for place in self._places():
            days = retention.pass_days if place.outcome == Outcome.PASS else retention.days
            # A day is over when its last hour is.
            if time - _start_of(place.day) - timedelta(days=1) > timedelta(days=days):
                removed += self._remove(place, is_waiting)
        with self._lock:
            excess = self._sizes.total() - retention.most_gigabytes * 1e9
        for place in sorted(self._places(), key=lambda own: (own.outcome != Outcome.PASS, own.day)):
            if excess <= 0:
                break
            freed = self._remove(place, is_waiting, most=excess)
            removed, excess = removed + freed, excess - freed
        return removed

    def _count(self) -> None:
        """Find out, once, how large the pictures of former times are.

        Those that are kept meanwhile may be counted twice: too little to matter to a limit in
        gigabytes, and gone with their day.
        """
        if self._counted:
            return
        with self._lock:
            self._sizes.clear()
        found = {
            _Place(path.parent.name, path.name): _size(path)
            for path in self._root.glob("????-??-??/*")
        }
        with self._lock:
            self._sizes.update(found)
        self._counted = True

    def _places(self) -> list[_Place]:
        with self._lock:
            return sorted(self._sizes, key=lambda own: (own.day, own.outcome))

    def _remove(
        self, place: _Place, is_waiting: Callable[[str], bool], most: float = float("inf")
    ) -> int:
        """Remove the oldest pictures of a place, and itself if it is empty; return their bytes."""
        folder = self._root / place.day / place.outcome
        freed = 0
        for own in sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime_ns):
            if freed >= most:
                break
            pictures = own.relative_to(self._root).as_posix()
            if place.outcome == Outcome.REVIEW and is_waiting(pictures):
                continue
            size = _size(own)
            shutil.rmtree(own, ignore_errors=True)
            freed += size - _size(own)
        with suppress(OSError):  # not empty
            folder.rmdir()
            folder.parent.rmdir()
        with self._lock:
            if folder.exists():
                self._sizes[place] = max(0, self._sizes[place] - freed)
            else:
                del self._sizes[place]
        return freed


def _start_of(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _size(folder: str | Path) -> int:
    """Return how many bytes the files below a folder have; 0 if it is not there."""
    size = 0
    with suppress(FileNotFoundError), os.scandir(folder) as found:  # files are renamed meanwhile
        for own in found:
            size += _size(own.path) if own.is_dir() else own.stat().st_size
    return size


def _write_through(path: Path) -> None:
    """Have a file's content, or the names in a folder, on disk for good."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
