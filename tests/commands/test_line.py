"""`defectseg line` as a process of its own."""

import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd
import pytest
from typer.testing import CliRunner

from defectseg.cli import app
from tests.line.conftest import draw_file


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["line", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


@contextmanager
def station(*options: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A station in a process, and its address."""
    words = [sys.executable, "-m", "defectseg", "line", "--port", "0", *map(str, options)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            printed += line
            found = re.search(r"Open (http://\S+);", printed)
            if found:
                break
        else:
            raise AssertionError(printed)
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def inspect(address: str, number: int) -> httpx.Response:
    return httpx.post(
        f"{address}/v1/inspect",
        files={"image": ("a.png", draw_file(number))},
        data={"part_id": f"p{number}", "product": "Class1"},
        timeout=30,
    )


@pytest.mark.slow
def test_a_station_from_its_start_to_its_end(bundle_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "station"
    with station("--model", bundle_folder, "--station", folder) as (process, address):
        assert inspect(address, 1).json()["id"] == 1
        status, text = run("verify", "--station", folder)  # while it is at work
        assert status == 0
        head = re.search(r"1 inspections last hash (\w{64})", text)
        assert head is not None
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=30)
        assert "Traceback" not in printed
    status, _ = run("verify", "--station", folder, "--head", head[1])
    assert status == 0
    assert run("export", "--station", folder, "--output", tmp_path / "t.csv")[0] == 0
    assert list(pd.read_csv(tmp_path / "t.csv")["part_id"]) == ["p1"]
    connection = sqlite3.connect(folder / "ledger.sqlite")
    kinds = [kind for (kind,) in connection.execute("SELECT kind FROM events")]
    assert kinds == ["MODEL", "STARTED", "STOPPED"]
    connection.execute("DROP TRIGGER inspections_no_update")
    connection.execute("UPDATE inspections SET outcome = 'PASS'")
    connection.commit()
    connection.close()
    status, text = run("verify", "--station", folder)
    assert status == 1
    assert "row 1 is not as it was written" in text


@pytest.mark.slow
def test_a_station_without_a_model_says_so_and_passes_nothing(tmp_path: Path) -> None:
    options = ("--model", tmp_path / "none", "--station", tmp_path / "station")
    with station(*options) as (process, address):
        page = httpx.get(address)
        assert page.status_code == 200
        assert "no model" in page.text.lower()
        answer = inspect(address, 1)
        assert (answer.status_code, answer.json()["outcome"]) == (503, "ERROR")
        assert httpx.get(f"{address}/v2/health/live").status_code == 200
        assert httpx.get(f"{address}/v2/health/ready").status_code == 503
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130


def test_what_is_wrong_ends_with_a_message(tmp_path: Path, bundle_folder: Path) -> None:
    good = ("--model", bundle_folder, "--station", tmp_path / "station")
    (tmp_path / "short").write_text("short")
    for options, message in (
        (("--station", tmp_path), "--model is missing"),
        (("--model", bundle_folder, "--take"), "name it by --inbox"),
        (("--model", bundle_folder, "--product", "Class1"), "name it by --inbox"),
        ((*good, "--host", "0.0.0.0"), "a token is required"),
        ((*good, "--token-file", tmp_path / "short"), "expected 16 or more"),
        ((*good, "--token-file", tmp_path / "none"), "cannot be read"),
        ((*good, "--config", tmp_path / "none.yaml"), "cannot be read"),
        ((*good, "--rules", tmp_path / "none"), "is not a folder"),
        ((*good, "--inbox", tmp_path / "none"), "is not a folder"),
        (("verify", "--station", tmp_path), "holds no ledger"),
        (("export", "--station", tmp_path, "--output", "x.txt"), ".csv or .parquet"),
    ):
        status, text = run(*options)
        assert (status, message in text) == (2, True), (options, text)


def test_a_port_that_is_taken_is_told(tmp_path: Path, bundle_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, text = run(
            "--model", bundle_folder, "--station", tmp_path / "station", "--port", port
        )
    assert status == 2, text
    assert "Name another port" in text


def test_two_stations_do_not_share_a_folder(tmp_path: Path, bundle_folder: Path) -> None:
    folder = tmp_path / "station"
    with station("--model", bundle_folder, "--station", folder):
        status, text = run("--model", bundle_folder, "--station", folder)
    assert (status, "Another station is at work" in text) == (2, True), text
