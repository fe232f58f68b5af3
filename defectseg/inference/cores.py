"""The processor's cores, shared out among threads of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
from threadpoolctl import threadpool_limits

from defectseg.processor import count_cores


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
