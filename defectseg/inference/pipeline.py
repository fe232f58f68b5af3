"""Many image files through a predictor: reading, inspecting and writing overlap."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from defectseg.errors import DefectsegError, ImageReadError
from defectseg.image_io import FoundFile, decode_image, read_bytes, read_size
from defectseg.inference.cores import one_core_each
from defectseg.inference.predictor import Inspection, Predictor
from defectseg.inference.regions import Region
from defectseg.inference.results import OutputError, Row, make_error_row, make_row
from defectseg.quality.gate import ImageQuality

# Smaller images of one size are answered together: a network takes them faster by half.
_TOGETHER_PX = 512 * 512
_MOST_TOGETHER = 16
# Of all images that are under way, so that memory does not grow with their size; a larger one goes
# alone.
_MOST_PX = 16_000_000

Image = npt.NDArray[np.uint8]
Save = Callable[[str, Image, Inspection], None]


@dataclass(frozen=True)
class Inspected:
    """What came of a file: its row of ``predictions.csv``, and its regions."""

    row: Row
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class _Task:
    """A file that was read, or why it was not."""

    file: FoundFile
    product: str
    data: bytes
    sha256: str
    size_hw: tuple[int, int]
    problem: str
    reading_s: float


def inspect_files(
    files: Iterable[tuple[FoundFile, str | None]],
    predictor: Predictor,
    save: Save,
    *,
    workers: int | None = None,
) -> Iterator[Inspected]:
    """Inspect files, and yield what came of each, in their order.

    Parameters
    ----------
    files : iterable of (FoundFile, str or None)
        With the product that each shows; None is a problem of its file.
    predictor : Predictor
    save : callable
        Called by several threads with an image's name, its pixels and its inspection, before its
        outcome is yielded. What it raises is a problem of this image, but for `OutputError`.
    workers : int or None
        Threads that inspect. None: one for each core.

    Raises
    ------
    OutputError
        From `save`.
    """
    known = ", ".join(predictor.calibration.gate.products)
    under_way: deque[tuple[Future[list[Inspected]], int]] = deque()
    with one_core_each() as cores:
        workers = workers or cores
        pool = ThreadPoolExecutor(workers)
        try:
            for tasks in _group(_read(file, product, known) for file, product in files):
                pixels = sum(task.size_hw[0] * task.size_hw[1] for task in tasks)
                while under_way and (
                    len(under_way) > 2 * workers
                    or pixels + sum(px for _, px in under_way) > _MOST_PX
                ):
                    yield from under_way.popleft()[0].result()
                under_way.append((pool.submit(_inspect, tasks, predictor, save), pixels))
            while under_way:
                yield from under_way.popleft()[0].result()
        finally:
            # Not waiting: after an error, or Ctrl-C, what is under way is given up.
            pool.shutdown(wait=False, cancel_futures=True)


def _read(file: FoundFile, product: str | None, known: str) -> _Task:
    started = time.monotonic()
    data, sha256, problem = b"", "", file.problem
    if not problem and product is None:
        problem = f"no folder in its path is named after a product ({known})"
    if not problem:
        try:
            data = read_bytes(file.path)
            sha256 = hashlib.sha256(data).hexdigest()
        except ImageReadError as error:
            problem = str(error)
    return _Task(
        file, product or "", data, sha256, read_size(data), problem, time.monotonic() - started
    )


def is_unchanged(file: FoundFile, sha256: str) -> bool:
    """Tell whether a file still has the hash that an earlier run found; an empty one is none."""
    try:
        return bool(sha256) and hashlib.sha256(read_bytes(file.path)).hexdigest() == sha256
    except ImageReadError:
        return False


def _group(tasks: Iterable[_Task]) -> Iterator[list[_Task]]:
    """Yield tasks in groups: neighbours whose images are small and of one size."""
    group: list[_Task] = []
    for task in tasks:
        height, width = task.size_hw
        together = min(_MOST_TOGETHER, _TOGETHER_PX // max(1, height * width))
        if group and (task.size_hw != group[0].size_hw or len(group) >= together):
            yield group
            group = []
        group.append(task)
    if group:
        yield group


def _inspect(tasks: Sequence[_Task], predictor: Predictor, save: Save) -> list[Inspected]:
    """Inspect the images of a group, in one of the threads."""
    started = time.monotonic()
    seen: list[tuple[Image, ImageQuality] | Exception] = []
    for task in tasks:
        try:
            if task.problem:
                raise ImageReadError(task.problem)
            image = decode_image(task.data)
            seen.append((image, predictor.judge(image, task.product)))
        except Exception as error:
            seen.append(error)
    answers = iter(_answer(predictor, [own[0] for own in seen if isinstance(own, tuple)]))
    outcomes = []
    for task, own in zip(tasks, seen, strict=True):
        try:
            if isinstance(own, Exception):
                raise own
            image, quality = own
            probability = next(answers)
            if isinstance(probability, Exception):
                raise probability
            inspection = predictor.conclude(probability, quality, task.product)
            save(task.file.relative, image, inspection)
            elapsed_s = task.reading_s + (time.monotonic() - started) / len(tasks)
            row = make_row(
                task.file.relative, inspection, image.shape[:2], task.sha256, 1000 * elapsed_s
            )
            outcomes.append(Inspected(row, inspection.regions))
        except OutputError:
            raise
        except Exception as error:
            # An engine may raise anything, a name may be too long to write to; one image never
            # stops a folder.
            elapsed_ms = 1000 * (task.reading_s + time.monotonic() - started)
            outcomes.append(fail(task.file.relative, error, elapsed_ms, task.sha256))
    return outcomes


def _answer(
    predictor: Predictor, images: Sequence[Image]
) -> Sequence[npt.NDArray[np.float32] | Exception]:
    """Return the engine's answers; where they fail together, each image is answered alone."""
    answers: list[npt.NDArray[np.float32] | Exception] = []
    try:
        return predictor.engine.probabilities(images) if images else answers
    except Exception as error:
        if len(images) == 1:
            return [error]
    for image in images:
        answers += _answer(predictor, [image])
    return answers


def fail(image: str, error: Exception, total_ms: float, sha256: str = "") -> Inspected:
    """Return what comes of an image that an error kept from being inspected."""
    message = str(error) if isinstance(error, DefectsegError) else repr(error)
    return Inspected(make_error_row(image, " ".join(message.split()), total_ms, sha256))
