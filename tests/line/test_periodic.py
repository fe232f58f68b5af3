"""What is done again and again."""

import logging
import threading

import pytest

from defectseg.line.periodic import Periodic


def test_it_is_done_at_once_again_when_hurried_and_not_after_its_end() -> None:
    times = threading.Semaphore(0)
    own = Periodic(times.release, 60, "own")
    assert times.acquire(timeout=5)
    own.hurry()
    assert times.acquire(timeout=5)
    own.close()
    assert not times.acquire(timeout=0.05)


def test_what_it_raises_is_logged_and_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    times = threading.Semaphore(0)

    def fail() -> None:
        times.release()
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR):
        own = Periodic(fail, 0.01, "own task")
        for _ in range(3):
            assert times.acquire(timeout=5)
        own.close()
    assert "own task failed" in caplog.text
