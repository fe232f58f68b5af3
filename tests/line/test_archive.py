"""Pictures: kept by day and outcome, removed by a rule, never while a person is waited for."""

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from defectseg.image_io import decode_image, encode_picture, read_image, read_mask
from defectseg.line.archive import IMAGE, MASK, OVERLAY, PICTURES, Archive, remove_old
from defectseg.line.settings import Retention

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def keep(folder: Path, day: str, outcome: str, name: str, size: int = 1000) -> Path:
    """A kept image file of so many bytes."""
    own = Archive(folder).keep(
        bytes(size),
        None,
        None,
        received_at=f"{day}T08:00:00.000+00:00",
        outcome=outcome,
        image_sha256=name,
        recipe="r" * 64,
    )
    return folder / PICTURES / own


def left(folder: Path) -> set[str]:
    return {path.parent.name.partition("-")[0] for path in folder.rglob(IMAGE)}


def test_an_inspected_image_has_three_pictures(tmp_path: Path) -> None:
    image = np.full((20, 30), 100, np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 5:9] = 1
    archive = Archive(tmp_path)
    own = archive.keep(
        b"bytes",
        image,
        mask,
        received_at="2026-03-31T08:00:00.000+00:00",
        outcome="FAIL",
        image_sha256="a" * 64,
        recipe="r" * 64,
    )
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
    own = archive.keep(
        encode_picture(image, ".png"),
        image,
        np.zeros((20, 30), np.uint8),
        received_at="2026-03-31T08:00:00.000+00:00",
        outcome="PASS",
        image_sha256="a",
        recipe="r",
    )
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
    freed = remove_old(tmp_path, Retention(days=30, pass_days=7), lambda path: False, NOW)
    assert left(tmp_path) == {"pass24", "fail23", "fail01"}
    assert freed == 2000
    assert not (tmp_path / PICTURES / "2026-02-28").exists()
    assert (tmp_path / PICTURES / "2026-03-23").exists()


def test_a_review_stays_until_it_is_decided(tmp_path: Path) -> None:
    keep(tmp_path, "2026-01-01", "REVIEW", "waits")
    keep(tmp_path, "2026-01-01", "REVIEW", "decided")
    remove_old(tmp_path, Retention(), lambda path: path.split("/")[-1].startswith("waits"), NOW)
    assert left(tmp_path) == {"waits"}


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
    remove_old(tmp_path, Retention(most_gigabytes=2500e-9), lambda path: False, NOW)
    assert left(tmp_path) == {"fail", "newest"}
    remove_old(tmp_path, Retention(most_gigabytes=1e-12), lambda path: False, NOW)
    assert left(tmp_path) == set()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    Archive(tmp_path).try_to_write()
    assert list((tmp_path / PICTURES).iterdir()) == []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / PICTURES).write_text("a file where the folder should be")
    with pytest.raises(OSError, match="exists"):
        Archive(tmp_path / "other").try_to_write()
