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
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from defectseg import __version__
from defectseg.errors import DefectsegError, ImageReadError
from defectseg.image_io import decode_image, read_size
from defectseg.inference.cores import one_core_each
from defectseg.inference.predictor import Inspection as Inspected
from defectseg.inference.verdict import Outcome
from defectseg.line.archive import Archive
from defectseg.line.ledger import Ledger, SameImageError
from defectseg.line.models import Model, ModelSlot
from defectseg.line.records import Inspection, now
from defectseg.line.settings import Limits
from defectseg.line.store import StoreError

log = logging.getLogger(__name__)

# Beyond its time limit, for a verdict that is being recorded.
_RECORDING_S = 5.0


class NotInspectedError(DefectsegError):
    """An image was not inspected or not recorded; it may be sent again."""


class QueueFullError(NotInspectedError):
    """As many images wait as may."""


class TooLargeError(DefectsegError):
    """An image has more pixels than the station takes on."""


@dataclass(frozen=True)
class Source:
    """Where an image comes from.

    Attributes
    ----------
    part_id, camera_id : str
    product : str or None
        None: it cannot be told, which is an ERROR.
    kind : str
        ``"http"`` or ``"folder"``.
    name : str
        Of the file.
    """

    part_id: str
    camera_id: str
    product: str | None
    kind: str
    name: str = ""


@dataclass(frozen=True)
class Recorded:
    """What a station answers: the recorded inspection, and whether it was so before."""

    inspection: Inspection
    repeated: bool


@dataclass(eq=False)
class Job:
    """An image on its way through the station."""

    source: Source
    data: bytes
    sha256: str
    model: Model
    deadline: float  # by time.monotonic()
    received_at: str = field(default_factory=now)
    begun: float = field(default_factory=time.monotonic)
    started: float = 0.0
    verdict: "Future[Recorded]" = field(default_factory=lambda: _running_future())
    _claim: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> tuple[str, str]:
        """The image and what judges it."""
        return self.sha256, self.model.recipes.get(self.source.product or "", "")

    def claim(self) -> bool:
        """Return whether the caller is the first, who alone may record what became of it."""
        return self._claim.acquire(blocking=False)


class Station:
    """Inspects images, a thread a core, and records every one before it is answered.

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
        self.models = models
        self.limits = limits
        self.problem = ""  # why nothing can be recorded
        self._archive = archive
        self._on_record = on_record
        self._waiting: queue.Queue[Job | None] = queue.Queue(limits.queue)
        self._under_way: dict[tuple[str, str], Job] = {}
        self._lock = threading.Lock()
        self._at_work: dict[int, Job] = {}
        self._news: queue.SimpleQueue[Inspection | None] = queue.SimpleQueue()
        self._ending = ExitStack()
        workers = self._ending.enter_context(one_core_each())
        self._workers = [
            threading.Thread(target=self._work, name=f"worker {number}", daemon=True)
            for number in range(workers)
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

    def submit(
        self, data: bytes, source: Source, *, timeout_s: float = math.inf, wait: bool = False
    ) -> Job:
        """Put an image in line.

        Parameters
        ----------
        data : bytes
            An image file's.
        source : Source
        timeout_s : float
            After which it is no longer inspected.
        wait : bool
            Wait for a place, instead of an error.

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
            If it has too many pixels.
        SameImageError
            If the same image was given as another part: the camera may be frozen.
        """
        model = self.models.current
        if model is None:
            raise NotInspectedError(f"There is no model: {self.models.problem}")
        height, width = read_size(data)
        if height * width > 1e6 * self.limits.most_megapixels:
            raise TooLargeError(
                f"{width}×{height} pixels are more than the {self.limits.most_megapixels:g} "
                "million that are accepted (limits.most_megapixels)."
            )
        sha256 = hashlib.sha256(data).hexdigest()
        job = Job(source, data, sha256, model, time.monotonic() + timeout_s)
        with self._lock:
            other = self._under_way.setdefault(job.key, job)
        try:
            if other is not job:
                _check_same_part(other.source.part_id, other.source.camera_id, source)
                return other
            before = self.ledger.find(*job.key)
            if before is not None:
                _check_same_part(before.part_id, before.camera_id, source, before.id)
                self._leave(job)
                job.verdict.set_result(Recorded(before, repeated=True))
                return job
            self._waiting.put(job, block=wait)
        except queue.Full as error:
            problem = QueueFullError(
                f"{self.limits.queue} images wait already (limits.queue); send it again later."
            )
            self._fail(job, problem)
            raise problem from error
        except StoreError as error:
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
            self._record(job, _describe(job, error=reason, reasons=(reason,)))
        try:
            return job.verdict.result(_RECORDING_S)
        except FutureTimeoutError as error:
            raise NotInspectedError("The verdict could not be recorded in time.") from error

    def try_again(self) -> None:
        """See whether what could not be written can be now: an image may never come otherwise."""
        if self.problem:
            self._archive.try_to_write()
            self.ledger.report("RECOVERED", "inspections can be recorded again").result()
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
                inspection = self._inspect(job)
            except Exception as error:  # decoders and engines may raise anything
                log.exception("an image of %s was not inspected", job.source.part_id)
                inspection = _describe(job, error=repr(error), reasons=("the inspection failed",))
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
                raise ImageReadError(
                    f"no product that the model knows ({', '.join(job.model.products)}) is named"
                )
            inspected = job.model.inspect(image, product)
            described = _describe(job, image, inspected)
        except ImageReadError as error:  # as it will be the next time
            reasons = ("could not be inspected",)
            described = _describe(job, image, final=True, error=str(error), reasons=reasons)
        if time.monotonic() > job.deadline:
            return self._too_late(job)
        try:
            pictures = self._archive.keep(
                job.data,
                image,
                None if inspected is None else inspected.mask,
                received_at=job.received_at,
                outcome=described.outcome,
                image_sha256=job.sha256,
                recipe=described.recipe,
            )
        except OSError as error:
            self.problem = f"pictures cannot be written: {error.strerror or error}."
            reason = "its pictures could not be kept"
            return _describe(job, image, error=self.problem, reasons=(reason,))
        return replace(described, pictures=pictures)

    def _too_late(self, job: Job) -> Inspection:
        reason = f"not inspected within {self.limits.timeout_s:g} s"
        return _describe(job, error=reason, reasons=(reason,))

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
            log.error("an image of %s was not recorded: %s", job.source.part_id, error)
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


def _running_future() -> "Future[Recorded]":
    """Return a future that those who wait for it cannot cancel."""
    future: Future[Recorded] = Future()
    future.set_running_or_notify_cancel()
    return future


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


def _describe(
    job: Job,
    image: npt.NDArray[np.uint8] | None = None,
    inspected: Inspected | None = None,
    *,
    final: bool = False,
    error: str = "",
    reasons: tuple[str, ...] = (),
) -> Inspection:
    """Return the row of a job: that of an inspection or, without one, an ERROR."""
    model, ended = job.model, time.monotonic()
    started = job.started or ended
    row = Inspection(
        received_at=job.received_at,
        part_id=job.source.part_id,
        camera_id=job.source.camera_id,
        product=job.source.product or "",
        source=job.source.kind,
        name=job.source.name,
        image_sha256=job.sha256,
        recipe=job.key[1],
        model_sha256=model.sha256,
        calibration_sha256=model.calibration_sha256,
        rules_sha256=model.rules.sha256,
        engine=model.predictor.engine.name,
        precision=model.predictor.engine.precision,
        version=__version__,
        outcome=Outcome.ERROR.value,
        final=final,
        reasons=reasons,
        error=" ".join(error.split()),
        width=None if image is None else image.shape[1],
        height=None if image is None else image.shape[0],
        queue_ms=_milliseconds(started - job.begun),
        inspect_ms=_milliseconds(ended - started),
        total_ms=_milliseconds(ended - job.begun),
    )
    if inspected is None:
        return row
    thresholds, quality = model.bundle.calibration.thresholds, inspected.quality
    return replace(
        row,
        outcome=inspected.verdict.outcome.value,
        final=True,
        reasons=inspected.verdict.reasons,
        score=_finite(inspected.score),
        review_from=thresholds.review,
        fail_from=thresholds.fail,
        regions=tuple(_rounded(asdict(region)) for region in inspected.regions),
        defect_area_px=int(inspected.mask.sum(dtype=np.int64)),
        sharpness=_finite(quality.sharpness),
        sharpness_limit=_finite(quality.sharpness_limit),
        gate_p_value=_finite(quality.gate_p_value),
        belief=_finite(quality.belief),
        noise_sigma=_finite(quality.noise_sigma),
        mean_luma=_finite(quality.mean_luma),
    )


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def _rounded(region: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _finite(value)
        if isinstance(value, float)
        else [round(own, 2) for own in value]
        if isinstance(value, tuple)
        else value
        for name, value in region.items()
    }


def _milliseconds(seconds: float) -> float:
    return round(1000 * max(0.0, seconds), 2)
