"""The processor's cores, shared out among threads of ours."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
from threadpoolctl import threadpool_limits


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_core_each() -> Iterator[int]:
    """Let libraries compute on one core while threads of ours work side by side; yields how many.

    Threads within threads are slower.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield count_cores()
    finally:
        cv2.setNumThreads(threads)
