"""The station: images wait in line, are inspected, kept and recorded; whatever fails is no PASS."""

import hashlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from defectseg import __version__
from defectseg.errors import DefectsegError, ImageReadError
from defectseg.image_io import decode_image, read_size
from defectseg.inference.cores import one_core_each
from defectseg.inference.predictor import Inspection as Inspected
from defectseg.line.archive import Archive
from defectseg.line.job import Job, Recorded, Source, describe_job
from defectseg.line.ledger import Ledger, SameImageError
from defectseg.line.models import Model, ModelSlot
from defectseg.line.records import Inspection, now
from defectseg.line.settings import Limits
from defectseg.line.store import StoreError

log = logging.getLogger(__name__)

# While some wait for the network, the disk or Python's lock, others have work for every core.
_SPARE_WORKERS = 2
# Larger images go one at a time, for the memory's sake.
_LARGE_PX = 16_000_000
# A reason: the image is inspected again once they can be kept.
NOT_KEPT = "its pictures could not be kept"
# Beyond its time limit, for a verdict that is being recorded.
_RECORDING_S = 5.0


class NotInspectedError(DefectsegError):
    """An image was not inspected or not recorded; it may be sent again."""


class QueueFullError(NotInspectedError):
    """As many images wait as may."""


class TooLargeError(DefectsegError):
    """An image has more pixels than the station takes on."""


class Station:
    """Inspects images, several at a time, and records every one before it is answered.

    Parameters
    ----------
    ledger : Ledger
    archive : Archive
    models : ModelSlot
    limits : Limits
    on_record : callable
        Told of every new inspection, in a thread of its own, in their order.
    """

    def __init__(
        self,
        ledger: Ledger,
        archive: Archive,
        models: ModelSlot,
        limits: Limits,
        on_record: Callable[[Inspection], None] = lambda inspection: None,
    ) -> None:
        self.ledger = ledger
        self.archive = archive
        self.models = models
        self.limits = limits
        self.problem = ""  # why nothing can be recorded
        self._on_record = on_record
        self._waiting: queue.Queue[Job | None] = queue.Queue(limits.queue)
        self._under_way: dict[tuple[str, str], Job] = {}
        self._lock = threading.Lock()
        self._large = threading.Lock()
        self._at_work: dict[int, Job] = {}
        self._news: queue.SimpleQueue[Inspection | None] = queue.SimpleQueue()
        self._ending = ExitStack()
        cores = self._ending.enter_context(one_core_each())
        self._workers = [
            threading.Thread(target=self._work, name=f"worker {number}", daemon=True)
            for number in range(cores + _SPARE_WORKERS)
        ]
        self._teller = threading.Thread(target=self._tell, name="teller", daemon=True)
        for thread in (*self._workers, self._teller):
            thread.start()

    @property
    def waiting(self) -> int:
        """How many images wait."""
        return self._waiting.qsize()

    def problems(self) -> list[str]:
        """Return why no image can be inspected now, in words; empty if all is well."""
        found = []
        if self.models.current is None:
            found.append(f"There is no model: {self.models.problem}")
        if self.problem:
            found.append(f"Nothing can be recorded: {self.problem}")
        late = time.monotonic() - 2 * self.limits.timeout_s
        with self._lock:
            stuck = sum(job.started < late for job in self._at_work.values())
        if stuck == len(self._workers):
            found.append(
                f"All {stuck} workers have been at one image for more than "
                f"{2 * self.limits.timeout_s:g} s. If the images are not that large, start the "
                "station again."
            )
        return found

    def submit(self, data: bytes, source: Source, *, timeout_s: float = math.inf) -> Job:
        """Put an image in line.

        Parameters
        ----------
        data : bytes
            An image file's.
        source : Source
        timeout_s : float
            After which it is no longer inspected.

        Returns
        -------
        Job
            Its `verdict` comes when it is recorded. If the same image is under way or was judged
            by the same recipe before, it is that one's.

        Raises
        ------
        NotInspectedError
            If there is no model, or the ledger cannot be read; `QueueFullError`.
        TooLargeError
            If it has too many pixels; recorded as not inspected.
        SameImageError
            If the same image was given as another part, by whatever model that was judged: the
            camera may be frozen. Recorded as not inspected.
        """
        model = self.models.current
        if model is None:
            raise NotInspectedError(f"There is no model: {self.models.problem}")
        height, width = read_size(data)
        if height * width > 1e6 * self.limits.most_megapixels:
            problem = (
                f"{width}×{height} pixels are more than the {self.limits.most_megapixels:g} "
                "million that are accepted (limits.most_megapixels)."
            )
            self.refuse(source, problem)
            raise TooLargeError(problem)
        sha256 = hashlib.sha256(data).hexdigest()
        deadline = time.monotonic() + timeout_s
        job = Job(source, data, sha256, model, deadline, pixels=height * width)
        with self._lock:
            other = self._under_way.setdefault(job.key, job)
        try:
            if other is not job:
                _check_same_part(other.source.part_id, other.source.camera_id, source)
                return other
            for before in self.ledger.find(sha256):
                _check_same_part(before.part_id, before.camera_id, source, before.id)
                if before.recipe == job.key[1]:
                    self._leave(job)
                    job.verdict.set_result(Recorded(before, repeated=True))
                    return job
            self._waiting.put_nowait(job)
        except queue.Full as error:
            full = QueueFullError(
                f"{self.limits.queue} images wait already (limits.queue); send it again later."
            )
            self._fail(job, full)
            raise full from error
        except StoreError as error:
            self.problem = str(error)
            raise self._fail(job, error) from error
        except SameImageError as error:
            self._fail(job, error)
            self.refuse(source, str(error), sha256)
            raise
        return job

    def refuse(self, source: Source, problem: str, sha256: str = "") -> None:
        """Record that an image was given which is not inspected: an ERROR, though not for good.

        Raises
        ------
        StoreError
        """
        row = Inspection(
            received_at=now(),
            part_id=source.part_id,
            camera_id=source.camera_id,
            product=source.product or "",
            source=source.kind,
            name=source.name,
            image_sha256=sha256,
            version=__version__,
            reasons=("not inspected",),
            error=problem,
        )

        def done(recording: "Future[tuple[Inspection, bool]]") -> None:
            if recording.exception() is None:
                self._news.put(recording.result()[0])

        self.ledger.record(row).add_done_callback(done)

    def give_up(self, job: Job) -> Recorded:
        """Have the verdict of a job whose time is over: as it is being recorded, or an ERROR.

        Raises
        ------
        NotInspectedError
            If neither can be recorded.
        """
        if job.claim():
            reason = f"not inspected within {self.limits.timeout_s:g} s"
            self._record(job, describe_job(job, error=reason, reasons=(reason,)))
        try:
            return job.verdict.result(_RECORDING_S)
        except FutureTimeoutError as error:
            raise NotInspectedError("The verdict could not be recorded in time.") from error

    def try_again(self) -> None:
        """See whether what failed works now: an image may never come otherwise."""
        if not self.problem:
            return
        try:
            self.archive.try_to_write()
            self.ledger.find("")
            self.ledger.report("RECOVERED", "inspections can be recorded again").result()
        except OSError as error:
            self.problem = _describe_disk(error)
        except StoreError as error:
            self.problem = str(error)
        else:
            self.problem = ""

    def close(self) -> None:
        """Inspect what waits, record it, and end; the ledger stays open."""
        with suppress(queue.Full):  # of workers that are stuck
            for _ in self._workers:
                self._waiting.put(None, timeout=self.limits.timeout_s)
        for thread in self._workers:
            thread.join(2 * self.limits.timeout_s)
        with suppress(StoreError):  # all that is being recorded is told, too
            self.ledger.store.write(lambda connection: None).result()
        self._news.put(None)
        self._teller.join()
        self._ending.close()

    def _work(self) -> None:
        own = threading.get_ident()
        while (job := self._waiting.get()) is not None:
            job.started = time.monotonic()
            with self._lock:
                self._at_work[own] = job
            try:
                with self._large if job.pixels > _LARGE_PX else nullcontext():
                    inspection = self._inspect(job)
            except Exception as error:  # decoders and engines may raise anything
                log.exception("an image of %r was not inspected", job.source.part_id)
                reasons = ("the inspection failed",)
                inspection = describe_job(job, error=repr(error), reasons=reasons)
            with self._lock:
                del self._at_work[own]
            if job.claim():
                self._record(job, inspection)

    def _inspect(self, job: Job) -> Inspection:
        """Return what becomes of an image; not yet recorded."""
        if job.started > job.deadline:
            return self._too_late(job)
        product = job.source.product
        image: npt.NDArray[np.uint8] | None = None
        inspected: Inspected | None = None
        try:
            image = decode_image(job.data)
            if product not in job.model.recipes:
                return describe_job(
                    job,
                    image,
                    error=describe_unknown(job.model),
                    reasons=("could not be inspected",),
                )
            inspected = job.model.inspect(image, product, is_alone=self._is_alone)
            job.answered = True
            described = describe_job(job, image, inspected)
        except ImageReadError as error:  # as it will be the next time
            reasons = ("could not be inspected",)
            described = describe_job(job, image, final=True, error=str(error), reasons=reasons)
        if time.monotonic() > job.deadline:
            return self._too_late(job)
        try:
            mask = None if inspected is None else inspected.mask
            pictures = self.archive.keep(job.data, image, mask, described)
        except OSError as error:
            self.problem = _describe_disk(error)
            return describe_job(job, image, error=self.problem, reasons=(NOT_KEPT,))
        return replace(described, pictures=pictures)

    def _is_alone(self) -> bool:
        """Return whether but one image is not yet through the network: it may have all cores."""
        with self._lock:
            left = sum(not job.answered for job in self._at_work.values())
        return left == 1 and self._waiting.empty()

    def _too_late(self, job: Job) -> Inspection:
        reason = f"not inspected within {self.limits.timeout_s:g} s"
        return describe_job(job, error=reason, reasons=(reason,))

    def _record(self, job: Job, inspection: Inspection) -> None:
        """Record what became of a job, and answer it once that is on disk."""

        def done(recording: "Future[tuple[Inspection, bool]]") -> None:
            try:
                recorded, new = recording.result()
                _check_same_part(recorded.part_id, recorded.camera_id, job.source, recorded.id)
            except Exception as error:
                if isinstance(error, StoreError):
                    self.problem = str(error)
                self._fail(job, error)
                return
            if recorded.pictures:
                self.problem = ""
            self._leave(job)
            job.verdict.set_result(Recorded(recorded, repeated=not new))
            if new:
                self._news.put(recorded)

        try:
            self.ledger.record(inspection).add_done_callback(done)
        except StoreError as error:
            self.problem = str(error)
            self._fail(job, error)

    def _fail(self, job: Job, error: Exception) -> Exception:
        """Answer a job with an error, that of the ledger in words a client understands."""
        self._leave(job)
        if not isinstance(error, (NotInspectedError, SameImageError)):
            log.error("an image of %r was not recorded: %s", job.source.part_id, error)
            error = NotInspectedError(f"Not recorded, and so not inspected: {error}")
        job.verdict.set_exception(error)
        return error

    def _leave(self, job: Job) -> None:
        with self._lock:
            if self._under_way.get(job.key) is job:
                del self._under_way[job.key]

    def _tell(self) -> None:
        while (inspection := self._news.get()) is not None:
            try:
                self._on_record(inspection)
            except Exception:
                log.exception("inspection %d was recorded, but not shown", inspection.id)


def describe_unknown(model: Model) -> str:
    """Return what is wrong with an image whose product is none of the model's."""
    return (
        f"no product that the model knows ({', '.join(model.products)}) is named: neither by a "
        "folder in the file's path nor by --product"
    )


def _describe_disk(error: OSError) -> str:
    return f"pictures cannot be written: {error.strerror or error}."


def _check_same_part(
    part_id: str, camera_id: str, source: Source, number: int | None = None
) -> None:
    if (part_id, camera_id) != (source.part_id, source.camera_id):
        which = "being inspected" if number is None else f"inspection {number}"
        raise SameImageError(
            f"This image, byte for byte, is that of part {part_id} by camera {camera_id} "
            f"({which}), not of part {source.part_id} by camera {source.camera_id}: the camera "
            "may be frozen. The part is not inspected."
        )
