"""A file that kills the process is not tried for ever."""

import subprocess
import sys
from pathlib import Path

import pytest

from defectseg.image_io import encode_picture
from defectseg.line.assembly import Setup
from defectseg.line.suspects import Suspects
from tests.line.conftest import draw, draw_file, run_line
from tests.line.test_inbox import QUICK, put, wait_for


def test_deaths_are_counted_over_restarts_until_it_is_enough(tmp_path: Path) -> None:
    for _ in range(4):
        own = Suspects(tmp_path)
        assert own.count("bad") == 0
        own.note(["good", "bad"])
        own.note(["bad"])  # the good one was done; then the process dies
    own = Suspects(tmp_path)
    assert own.count("bad") == 0
    own.note(["bad"])
    own = Suspects(tmp_path)
    assert own.count("bad") == 5
    assert own.count("good") == 0


def test_a_regular_end_is_no_death(tmp_path: Path) -> None:
    for _ in range(9):
        own = Suspects(tmp_path)
        own.note(["file"])
        own.note([])
    assert own.count("file") == 0


def test_what_cannot_be_read_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "under_way.json").write_text("[broken")
    assert Suspects(tmp_path).count("file") == 0
    assert "begun anew" in caplog.text


@pytest.mark.slow
def test_a_file_that_kills_the_station_ends_as_an_error(
    bundle_folder: Path, tmp_path: Path
) -> None:
    """The engine ends the process on a bright first pixel, as a fault in a decoder would."""
    code = """
import os, sys
from pathlib import Path
from defectseg.line import models
inspect = models.Model.inspect
def deadly(self, image, product, **how):
    if image[0, 0] == 255 and image[0, 1] == 0:
        os._exit(9)
    return inspect(self, image, product, **how)
models.Model.inspect = deadly
sys.argv = ["defectseg", "line", *sys.argv[1:]]
from defectseg.cli import app
app()
"""
    inbox, folder = tmp_path / "inbox", tmp_path / "station"
    image = draw(1)
    image[0, :2] = 255, 0
    put(inbox, "deadly.png", encode_picture(image, ".png"))
    innocent = [f"{letter}.png" for letter in "abxyz"]  # given together with it
    for number, name in enumerate(innocent):
        put(inbox, name, draw_file(10 + number))
    options = ["--model", bundle_folder, "--station", folder, "--inbox", inbox, "--port", 0]
    command = [sys.executable, "-c", code, *map(str, options), "--product", "Class1"]
    for _ in range(5):
        assert subprocess.run(command, capture_output=True, timeout=60).returncode == 9
    put(inbox, "good.png", draw_file(2))
    setup = Setup(folder, bundle_folder, inbox=inbox, product="Class1", settings=QUICK)
    with run_line(setup) as station:
        rows = {row.name: row for row in wait_for(station, 7)}
    assert all(rows[name].score is not None for name in [*innocent, "good.png"])
    assert rows["deadly.png"].outcome == "ERROR"
    assert "died 5 times" in rows["deadly.png"].error
