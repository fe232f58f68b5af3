"""Pictures: kept by day and outcome, removed by a rule, never while a person is waited for."""

import hashlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from defectseg.image_io import decode_image, encode_picture, read_image, read_mask
from defectseg.line import archive as archive_module
from defectseg.line.archive import IMAGE, MASK, OVERLAY, PICTURES, Archive
from defectseg.line.records import Inspection
from defectseg.line.settings import Retention
from tests.line.test_ledger import row

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def inspected(day: str, outcome: str, name: str) -> Inspection:
    return row(
        received_at=f"{day}T08:00:00.000+00:00",
        outcome=outcome,
        image_sha256=name,
        recipe="r" * 64,
    )


def keep(folder: Path, day: str, outcome: str, name: str, size: int = 1000) -> Path:
    """A kept image file of so many bytes."""
    own = Archive(folder).keep(bytes(size), None, None, inspected(day, outcome, name))
    return folder / PICTURES / own


def left(folder: Path) -> set[str]:
    return {path.parent.name.partition("-")[0] for path in folder.rglob(IMAGE)}


def test_an_inspected_image_has_three_pictures(tmp_path: Path) -> None:
    image = np.full((20, 30), 100, np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 5:9] = 1
    archive = Archive(tmp_path)
    own = archive.keep(b"bytes", image, mask, inspected("2026-03-31", "FAIL", "a" * 64))
    assert own == f"2026-03-31/FAIL/{'a' * 64}-{'r' * 12}"
    image_path, mask_path, overlay_path = (
        archive.path(own, name) for name in (IMAGE, MASK, OVERLAY)
    )
    assert image_path is not None
    assert mask_path is not None
    assert overlay_path is not None
    assert image_path.read_bytes() == b"bytes"
    assert np.array_equal(read_mask(mask_path), mask)
    assert read_image(overlay_path).shape == (20, 30, 3)
    assert all(archive.kept(own).values())
    assert archive.read(own, MASK) == mask_path.read_bytes()


def test_where_nothing_is_drawn_the_overlay_is_made_of_the_image(tmp_path: Path) -> None:
    image = np.full((20, 30), 100, np.uint8)
    archive = Archive(tmp_path)
    data, nothing = encode_picture(image, ".png"), np.zeros((20, 30), np.uint8)
    own = archive.keep(data, image, nothing, inspected("2026-03-31", "PASS", "a"))
    assert archive.path(own, OVERLAY) is None
    assert all(archive.kept(own).values())
    assert np.abs(decode_image(archive.read(own, OVERLAY)).astype(int) - 100).max() <= 2


def test_what_was_not_inspected_has_its_bytes_alone(tmp_path: Path) -> None:
    own = keep(tmp_path, "2026-03-31", "ERROR", "a")
    assert [path.name for path in own.iterdir()] == [IMAGE]
    name = own.relative_to(tmp_path / PICTURES).as_posix()
    assert Archive(tmp_path).kept(name) == {IMAGE: True, MASK: False, OVERLAY: False}
    with pytest.raises(FileNotFoundError):
        Archive(tmp_path).read(name, OVERLAY)
    assert Archive(tmp_path).path("", IMAGE) is None
    assert Archive(tmp_path).path("2026-03-31/PASS/none", IMAGE) is None


def test_pictures_are_removed_by_their_age(tmp_path: Path) -> None:
    # On 31 March at noon: 7 days after its end, the 23rd is over the limit of PASS, the 24th not;
    # 30 days after its end, so is 28 February.
    for day, outcome, name in (
        ("2026-03-23", "PASS", "pass23"),
        ("2026-03-24", "PASS", "pass24"),
        ("2026-03-23", "FAIL", "fail23"),
        ("2026-02-28", "FAIL", "fail28"),
        ("2026-03-01", "FAIL", "fail01"),
    ):
        keep(tmp_path, day, outcome, name)
    archive = Archive(tmp_path)
    freed = archive.remove_old(Retention(days=30, pass_days=7), lambda path: False, NOW)
    assert left(tmp_path) == {"pass24", "fail23", "fail01"}
    assert freed == 2000
    assert not (tmp_path / PICTURES / "2026-02-28").exists()
    assert (tmp_path / PICTURES / "2026-03-23").exists()


def test_a_review_stays_until_it_is_decided(tmp_path: Path) -> None:
    keep(tmp_path, "2026-01-01", "REVIEW", "waits")
    keep(tmp_path, "2026-01-01", "REVIEW", "decided")
    archive = Archive(tmp_path)
    archive.remove_old(Retention(), lambda path: path.split("/")[-1].startswith("waits"), NOW)
    assert left(tmp_path) == {"waits"}
    # Once it is, it goes, too.
    archive.remove_old(Retention(), lambda path: False, NOW)
    assert left(tmp_path) == set()


def test_too_many_are_removed_those_of_pass_first_and_the_oldest_first(tmp_path: Path) -> None:
    for number, (day, outcome, name) in enumerate(
        (
            ("2026-03-29", "FAIL", "fail"),
            ("2026-03-30", "PASS", "old"),
            ("2026-03-30", "PASS", "new"),
            ("2026-03-31", "PASS", "newest"),
        )
    ):
        own = keep(tmp_path, day, outcome, name)
        os.utime(own, (number, number))
    # 4,000 bytes, 1,500 too many: two must go.
    archive = Archive(tmp_path)
    archive.remove_old(Retention(most_gigabytes=2500e-9), lambda path: False, NOW)
    assert left(tmp_path) == {"fail", "newest"}
    archive.remove_old(Retention(most_gigabytes=1e-12), lambda path: False, NOW)
    assert left(tmp_path) == set()


def test_what_is_kept_after_the_first_cleaning_counts_too(tmp_path: Path) -> None:
    keep(tmp_path, "2026-03-29", "PASS", "before")
    archive, limit = Archive(tmp_path), Retention(most_gigabytes=2500e-9)
    assert archive.remove_old(limit, lambda path: False, NOW) == 0
    for name in ("second", "third"):
        archive.keep(bytes(1000), None, None, inspected("2026-03-30", "PASS", name))
    # 3,000 bytes, 500 too many: one must go, and then no more.
    assert archive.remove_old(limit, lambda path: False, NOW) == 1000
    assert archive.remove_old(limit, lambda path: False, NOW) == 0
    assert left(tmp_path) == {"second", "third"}


def test_masks_and_overlays_count_too(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.remove_old(Retention(), lambda path: False, NOW)
    image, mask = np.full((64, 64), 100, np.uint8), np.eye(64, dtype=np.uint8)
    archive.keep(b"", image, mask, inspected("2026-03-30", "FAIL", "a"))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    limit = Retention(most_gigabytes=(size - 1) / 1e9)
    assert archive.remove_old(limit, lambda path: False, NOW) == size


def test_what_is_kept_while_the_rest_is_counted_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, "2026-03-29", "PASS", "before")
    archive = Archive(tmp_path)
    measure, kept = archive_module._size, threading.Event()

    def keep_meanwhile(folder: Path) -> int:
        size = measure(folder)  # as it was before
        if not kept.is_set():
            kept.set()
            archive.keep(bytes(1000), None, None, inspected("2026-03-29", "PASS", "meanwhile"))
        return size

    monkeypatch.setattr(archive_module, "_size", keep_meanwhile)
    assert archive.remove_old(Retention(), lambda path: False, NOW) == 0
    limit = Retention(most_gigabytes=1500e-9)
    assert archive.remove_old(limit, lambda path: False, NOW) == 1000


def test_a_cleaning_without_anything_to_remove_looks_at_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, "2026-03-30", "PASS", "a")
    archive = Archive(tmp_path)
    archive.remove_old(Retention(), lambda path: False, NOW)
    monkeypatch.setattr(archive_module, "_size", None)
    assert archive.remove_old(Retention(), lambda path: False, NOW) == 0


def test_pictures_that_are_settled_are_on_disk_with_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, data = Archive(tmp_path), b"an image"
    sha256 = hashlib.sha256(data).hexdigest()
    image, mask = np.full((20, 30), 100, np.uint8), np.ones((20, 30), np.uint8)
    own = archive.keep(data, image, mask, inspected("2026-03-31", "FAIL", sha256))
    settled: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda file: settled.add(os.fstat(file).st_ino))
    archive.settle(own)
    assert settled == {path.stat().st_ino for path in (tmp_path, *tmp_path.rglob("*"))}


def test_an_image_that_is_not_whole_is_not_settled(tmp_path: Path) -> None:
    archive, data = Archive(tmp_path), b"an image"
    sha256 = hashlib.sha256(data).hexdigest()
    own = archive.keep(data, None, None, inspected("2026-03-31", "FAIL", sha256))
    archive.settle(own)
    (tmp_path / PICTURES / own / IMAGE).write_bytes(b"")  # as a power cut may leave it
    with pytest.raises(OSError, match="not the image that was recorded"):
        archive.settle(own)
    (tmp_path / PICTURES / own / IMAGE).unlink()
    for gone in (own, ""):
        with pytest.raises(FileNotFoundError):
            archive.settle(gone)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    Archive(tmp_path).try_to_write()
    assert list((tmp_path / PICTURES).iterdir()) == []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / PICTURES).write_text("a file where the folder should be")
    with pytest.raises(OSError, match="exists"):
        Archive(tmp_path / "other").try_to_write()
