"""The watched folder: every image once it is whole, and only once."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from defectseg.errors import ConfigError, DataError
from defectseg.image_io import encode_picture
from defectseg.line import inbox as inbox_module
from defectseg.line.archive import Archive
from defectseg.line.assembly import Line, Setup
from defectseg.line.inbox import Inbox
from defectseg.line.records import Inspection
from defectseg.line.settings import LineSettings
from tests.line.conftest import Running, draw_file, run_line, set_engine

SETTLE_S = 0.3
QUICK = LineSettings.model_validate({"limits": {"settle_s": SETTLE_S}})


def wait_for(station: Running, count: int, seconds: float = 20) -> list[Inspection]:
    """The rows of a station, the oldest first, once there are so many."""
    deadline = time.monotonic() + seconds
    while len(rows := station.line.ledger.latest(500)) < count:
        assert time.monotonic() < deadline, rows
        time.sleep(0.02)
    return rows[::-1]


def put(folder: Path, name: str, data: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "inbox"
    own.mkdir()
    return own


@pytest.fixture
def start(start_line: Callable[..., Running], folder: Path) -> Callable[..., Running]:
    return lambda **setup: start_line(
        **{"inbox": folder, "product": "Class1", "settings": QUICK, **setup}
    )


def test_what_lies_there_and_what_comes_is_inspected(
    start: Callable[..., Running], folder: Path
) -> None:
    put(folder, "before.png", draw_file(1))
    station = start()
    wait_for(station, 1)
    put(folder, "left/after.png", draw_file(2))
    put(folder, "left/deep/more.png", draw_file(3))
    rows = {row.name: row for row in wait_for(station, 3)}
    assert set(rows) == {"before.png", "left/after.png", "left/deep/more.png"}
    assert rows["before.png"].camera_id == "folder"
    assert rows["left/deep/more.png"].camera_id == "left"
    assert rows["left/deep/more.png"].part_id == "left/deep/more"
    assert all(row.final and row.source == "folder" for row in rows.values())
    assert (folder / "before.png").exists()


def test_the_product_is_that_of_a_folder(start: Callable[..., Running], folder: Path) -> None:
    put(folder, "left/Class5/a.png", draw_file(1, product="Class5"))
    put(folder, "left/b.png", draw_file(2))
    rows = {row.name: row for row in wait_for(start(product="Class1"), 2)}
    assert rows["left/Class5/a.png"].product == "Class5"
    assert rows["left/Class5/a.png"].camera_id == "left"
    assert rows["left/b.png"].product == "Class1"


def test_a_file_that_nobody_knows_the_product_of_waits_for_who_does(
    bundle_folder: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_RESCAN_S", 0.05)
    put(folder, "a.png", draw_file(1))
    setup = Setup(tmp_path / "station", bundle_folder, inbox=folder, remove=True, settings=QUICK)
    with run_line(setup) as station:
        (row,) = wait_for(station, 1)
        assert (row.outcome, row.final) == ("ERROR", False)
        assert "Class1, Class5" in row.error
        time.sleep(0.3)
        assert len(station.line.ledger.latest(9)) == 1  # told once
    with pytest.raises(ConfigError, match=r"Clas1.*expected one of Class1, Class5"):
        Line(replace(setup, product="Clas1"))
    with run_line(replace(setup, product="Class1")) as station:
        assert wait_for(station, 2)[1].final


def test_a_file_that_is_being_written_waits(start: Callable[..., Running], folder: Path) -> None:
    station = start()
    data = draw_file(1)
    with (folder / "slow.png").open("wb") as file:
        for first in range(0, len(data), len(data) // 8):
            file.write(data[first : first + len(data) // 8])
            file.flush()
            time.sleep(SETTLE_S / 4)
            assert station.line.ledger.latest(9) == []
        closed = time.monotonic()
    (row,) = wait_for(station, 1)
    assert row.outcome != "ERROR"
    assert time.monotonic() - closed < 5


def test_without_events_a_file_is_whole_when_it_has_not_changed(
    start: Callable[..., Running], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_RESCAN_S", 0.05)
    monkeypatch.setattr(inbox_module._Listener, "on_any_event", lambda self, event: None)
    station = start()
    data = draw_file(1)
    for end in range(len(data) // 8, len(data) + len(data) // 8, len(data) // 8):
        (folder / "slow.png").write_bytes(data[:end])
        time.sleep(SETTLE_S / 3)
    (row,) = wait_for(station, 1)
    assert row.outcome != "ERROR"


def test_hidden_and_unfinished_names_wait_for_their_own(
    start: Callable[..., Running], folder: Path
) -> None:
    station = start()
    for name in (".hidden.png", "a.png.part", "b.tmp"):
        put(folder, name, draw_file(1))
    time.sleep(3 * SETTLE_S)
    assert station.line.ledger.latest(9) == []
    (folder / "a.png.part").rename(folder / "a.png")
    assert [row.name for row in wait_for(station, 1)] == ["a.png"]


def test_a_changed_file_is_another_image(start: Callable[..., Running], folder: Path) -> None:
    station = start()
    put(folder, "a.png", draw_file(1))
    wait_for(station, 1)
    put(folder, "a.png", draw_file(2))
    first, second = wait_for(station, 2)
    assert first.image_sha256 != second.image_sha256


def test_a_copy_is_recorded_as_not_inspected(start: Callable[..., Running], folder: Path) -> None:
    station = start()
    put(folder, "a.png", draw_file(1))
    wait_for(station, 1)
    put(folder, "b.png", draw_file(1))
    _, second = wait_for(station, 2)
    assert (second.name, second.outcome, second.final) == ("b.png", "ERROR", False)
    assert "frozen" in second.error
    time.sleep(0.3)
    assert len(station.line.ledger.latest(9)) == 2  # told once


@pytest.mark.parametrize("data", [b"", b"not an image", draw_file(1)[:200]])
def test_damaged_files_have_their_row(
    start: Callable[..., Running], folder: Path, data: bytes
) -> None:
    put(folder, "a.png", data)
    put(folder, "b.png", draw_file(2))
    rows = {row.name: row.outcome for row in wait_for(start(), 2)}
    assert rows["a.png"] == "ERROR"
    assert rows["b.png"] != "ERROR"


def test_what_is_no_file_or_too_large_has_its_row_and_holds_up_nothing(
    start: Callable[..., Running], folder: Path
) -> None:
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    put(folder, "large.png", bytes(1_100_000))
    put(folder, "zz.png", draw_file(2))
    limits = {"settle_s": SETTLE_S, "most_megabytes": 1}
    station = start(settings=LineSettings.model_validate({"limits": limits}))
    rows = {row.name: row for row in wait_for(station, 5)}
    assert rows.pop("zz.png").outcome != "ERROR"
    assert {row.outcome for row in rows.values()} == {"ERROR"}
    assert "1.1 megabytes" in rows["large.png"].error
    assert "is not a file" in rows["pipe.png"].error


def test_a_restart_inspects_nothing_twice(
    bundle_folder: Path, folder: Path, tmp_path: Path
) -> None:
    for number in range(4):
        put(folder, f"{number}.png", draw_file(number))
    setup = Setup(
        tmp_path / "station", bundle_folder, inbox=folder, product="Class1", settings=QUICK
    )
    with run_line(setup) as station:
        wait_for(station, 4)
    put(folder, "new.png", draw_file(9))
    os.utime(folder / "0.png")  # changed in nothing but its time
    with run_line(setup) as station:
        rows = wait_for(station, 5)
        time.sleep(2 * SETTLE_S)
        assert len(station.line.ledger.latest(9)) == 5
    assert rows[-1].name == "new.png"


def test_taken_files_are_removed_once_they_are_kept(
    start: Callable[..., Running], folder: Path
) -> None:
    put(folder, "a.png", draw_file(1))
    put(folder, "broken.png", b"broken")
    station = start(remove=True)
    for row in wait_for(station, 2):
        path = station.line.archive.path(row.pictures, "image")
        assert path is not None
    deadline = time.monotonic() + 10
    while list(folder.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_not_kept_is_not_taken(start: Callable[..., Running], folder: Path) -> None:
    put(folder, "kept.png", draw_file(1))
    put(folder, "pixels.png", encode_picture(np.zeros((300, 400), np.uint8), ".png"))
    put(folder, "bytes.png", bytes(1_100_000))
    (folder / "a folder.png").mkdir()  # the first to be given
    limits = {"settle_s": SETTLE_S, "most_megabytes": 1, "most_megapixels": 0.1}
    station = start(remove=True, settings=LineSettings.model_validate({"limits": limits}))
    wait_for(station, 4)
    put(folder, "other part.png", draw_file(1))
    rows = wait_for(station, 5)
    deadline = time.monotonic() + 10
    left = {"a folder.png", "bytes.png", "pixels.png", "other part.png"}
    while {path.name for path in folder.iterdir()} != left:
        assert time.monotonic() < deadline, rows
        time.sleep(0.02)
    assert {row.name for row in rows if row.outcome == "ERROR"} == left
    time.sleep(0.3)
    assert len(station.line.ledger.latest(9)) == 5


def test_what_is_not_on_disk_for_good_is_not_taken(
    start: Callable[..., Running], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Archive, pictures: str) -> None:
        raise OSError("the disk does not answer")

    monkeypatch.setattr(Archive, "settle", fail)
    put(folder, "a.png", draw_file(1))
    (row,) = wait_for(start(remove=True), 1)
    assert row.final
    time.sleep(0.2)
    assert (folder / "a.png").exists()


@pytest.mark.parametrize("remove", [True, False])
def test_files_wait_while_nothing_can_be_kept(
    start: Callable[..., Running], folder: Path, tmp_path: Path, remove: bool
) -> None:
    station = start(remove=remove)
    blocked = tmp_path / "station" / "pictures"
    blocked.write_text("a file where the folder should be")
    put(folder, "a.png", draw_file(1))
    wait_for(station, 1)
    time.sleep(0.5)
    rows = station.line.ledger.latest(99)
    assert {row.outcome for row in rows} == {"ERROR"}
    assert len(rows) <= 2  # not again and again
    assert (folder / "a.png").exists()
    blocked.unlink()
    assert wait_for(station, len(rows) + 1)[-1].final


def test_files_that_are_gone_are_forgotten(
    start: Callable[..., Running], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_RESCAN_S", 0.05)
    for number in range(3):
        put(folder, f"{number}.png", draw_file(number))
    station = start()
    wait_for(station, 3)
    (folder / "1.png").unlink()
    deadline = time.monotonic() + 10
    names = None
    while names != ["0.png", "2.png"]:
        assert time.monotonic() < deadline, names
        time.sleep(0.02)
        rows = station.line.ledger.store.read("SELECT name FROM inbox ORDER BY name")
        names = [row["name"] for row in rows]


def test_the_folder_waits_while_there_is_no_model(
    start: Callable[..., Running], folder: Path, bundle_folder: Path, tmp_path: Path
) -> None:
    late = tmp_path / "late"
    put(folder, "a.png", draw_file(1))
    station = start(bundle=late)
    time.sleep(0.5)
    assert station.line.ledger.latest(9) == []
    shutil.copytree(bundle_folder, late)
    (row,) = wait_for(station, 1, 30)
    assert row.final


def test_an_engine_that_fails_is_tried_some_times_and_no_more(
    start: Callable[..., Running], folder: Path
) -> None:
    station = start()
    model = station.line.models.current
    assert model is not None

    class Broken:
        name, precision = "broken", "float32"

        def probability(self, image: object) -> None:
            raise RuntimeError("broken")

    set_engine(model, Broken())
    put(folder, "a.png", draw_file(1))
    rows = wait_for(station, inbox_module._TRIES)
    time.sleep(0.5)
    assert len(station.line.ledger.latest(9)) == len(rows) == inbox_module._TRIES
    assert {row.outcome for row in rows} == {"ERROR"}


def test_names_that_are_no_text_are_shown_escaped(
    start: Callable[..., Running], folder: Path
) -> None:
    put(folder, os.fsdecode(b"\xff.png"), draw_file(1))
    (row,) = wait_for(start(), 1)
    assert row.name == "\\udcff.png"


def test_a_folder_that_is_not_there_is_an_error(
    start_line: Callable[..., Running], tmp_path: Path
) -> None:
    station = start_line()
    with pytest.raises(DataError, match="not a folder"):
        Inbox(tmp_path / "none", station.line.station, tmp_path, settle_s=1)


def test_many_small_files_by_another_process(start: Callable[..., Running], folder: Path) -> None:
    station = start()
    source = folder.parent / "source"
    source.mkdir()
    for number in range(30):
        put(source, f"{number}.png", draw_file(number))
    copy = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"
    subprocess.run([sys.executable, "-c", copy, str(source), str(folder)], check=True)
    rows = wait_for(station, 30)
    assert len({row.image_sha256 for row in rows}) == 30
    assert all(row.final for row in rows)
