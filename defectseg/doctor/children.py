"""Checks in processes of their own: a library that crashes takes no other with it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

# Importing TensorFlow and running a network takes seconds; minutes on a disk that sleeps.
_PATIENCE_S = 300


class BrokenError(Exception):
    """A process ended before its time; says how."""


def run_child(check: str, words: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield what a check of `checks` reports, line by line, also what came before it broke.

    Raises
    ------
    BrokenError
        If it did not come to its end.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "defectseg.doctor.checks", check, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    try:
        printed, complaints = process.communicate(timeout=_PATIENCE_S)
        broken = _explain(process.returncode, complaints) if process.returncode else ""
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
        broken = f"no answer within {_PATIENCE_S} s"
    for line in printed.splitlines():
        yield json.loads(line)
    if broken:
        raise BrokenError(broken)


def _explain(status: int, complaints: str) -> str:
    if status < 0:
        return f"it crashed by {signal.Signals(-status).name}"
    lines = [line for line in complaints.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"it ended with status {status}"
