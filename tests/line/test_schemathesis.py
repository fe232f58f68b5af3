"""Schemathesis against the station's OpenAPI page: hundreds of requests, right and wrong."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.line.conftest import Running, draw_file
from tests.line.schemathesis_hooks import IMAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_schemathesis_finds_nothing(start_line: Callable[..., Running], tmp_path: Path) -> None:
    station = start_line()
    for number in range(IMAGES):
        station.inspect(draw_file(number, defective=number % 2 == 0), f"part {number}")
    version = station.client.get("/v1/models").json()["sha256"]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{station.address}/openapi.json",
            "--checks=all",
            "--max-examples=15",
            "--seed=1",
            # It tells what happens as it happens, and so has no end.
            "--exclude-path=/v1/stream",
            "--generation-database=none",
            "--request-timeout=20",
            # How fast this machine generates them is no finding.
            "--suppress-health-check=all",
            "--continue-on-failure",
            "--no-color",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "VERSION": version,
            "SCHEMATHESIS_HOOKS": "tests.line.schemathesis_hooks",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout[-3000:])
