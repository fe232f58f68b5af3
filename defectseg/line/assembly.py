"""A whole line: the station with its folder, its cameras' charts, its alarms and its figures."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from defectseg.drift.records import Event as DriftEvent
from defectseg.errors import ConfigError
from defectseg.inference.verdict import Outcome
from defectseg.line import cameras, courier, inbox
from defectseg.line.alarms import Alarm, Alarms
from defectseg.line.archive import IMAGE, Archive
from defectseg.line.cameras import Camera, Cameras
from defectseg.line.comparison import Comparison, Recent, choose_recent
from defectseg.line.courier import Courier
from defectseg.line.inbox import Inbox
from defectseg.line.ledger import Ledger
from defectseg.line.metrics import Metrics
from defectseg.line.models import Model, ModelSlot
from defectseg.line.news import News
from defectseg.line.periodic import Periodic
from defectseg.line.records import Inspection, now
from defectseg.line.rules import load_rules
from defectseg.line.settings import LineSettings
from defectseg.line.station import Station
from defectseg.line.store import StoreError

log = logging.getLogger(__name__)

# Which bundle a station was started with, and which took its place while it was at work; and the
# hash of that which took over last, as files may have changed since.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS models (given TEXT PRIMARY KEY, taken TEXT);
CREATE TABLE IF NOT EXISTS accepted (one INTEGER PRIMARY KEY CHECK (one = 1), bundle_sha256 TEXT);
"""
QUEUE_FULL = "queue_full"
_LOOK_S = 2.0
_CLEAN_S = 600.0


@dataclass(frozen=True)
class Setup:
    """What a line is made of.

    Attributes
    ----------
    folder : Path
        The station's: ledger and pictures.
    bundle : Path or None
    inbox : Path or None
        The watched folder.
    product : str or None
        What the images of the watched folder show.
    remove : bool
        Remove files of the watched folder once they are recorded.
    rules : Path or None
        Folder of rules.
    settings : LineSettings
    """

    folder: Path
    bundle: Path | None = None
    inbox: Path | None = None
    product: str | None = None
    remove: bool = False
    rules: Path | None = None
    settings: LineSettings = field(default_factory=LineSettings)


class Line:
    """A line at work.

    Parameters
    ----------
    setup : Setup

    Raises
    ------
    DefectsegError
        If its folder cannot be used, or what it was given is wrong. A bundle that cannot be used
        is none: the line says so, and waits for one.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.started_at = now()
        folder = setup.folder
        if setup.inbox and folder.resolve().is_relative_to(setup.inbox.resolve()):
            raise ConfigError(
                f"{folder} lies within {setup.inbox}: its pictures would be taken for images. "
                "Name another folder by --station."
            )
        self._rules = load_rules(setup.rules)
        self._closed = False
        self._ending = ExitStack()  # in the reverse order of what depends on what
        try:
            self._open()
        except BaseException:
            self._ending.close()
            raise

    def _open(self) -> None:
        setup, settings = self.setup, self.setup.settings
        schema = cameras.SCHEMA + courier.SCHEMA + inbox.SCHEMA + _SCHEMA
        self.ledger = Ledger(setup.folder, schema)
        self._ending.callback(self.ledger.close)
        self.archive = Archive(setup.folder)
        self.news = News()
        self._ending.callback(self.news.close)
        self.models = ModelSlot(
            self._rules,
            self._recent_images,
            settings.swap.least_agreement,
            self._report_model,
            self._remember_model,
        )
        self._ending.callback(self.models.close)
        lost = ""
        if setup.bundle is not None:
            chosen, remark = self._choose_bundle(setup.bundle)
            lost = remark if chosen == setup.bundle else ""
            rows = self.ledger.store.read("SELECT bundle_sha256 FROM accepted")
            accepted = rows[0]["bundle_sha256"] if rows else ""
            self.models.start(chosen, accepted=accepted, remark=remark)
        self.cameras = Cameras(self.ledger.store, settings.drift, self._report_drift)
        self.cameras.load()
        self._courier = Courier(self.ledger.store, settings.alarms)
        self._ending.callback(self._courier.close)
        self.alarms = Alarms(settings.alarms, self._send_alarm)
        self.alarms.watch("MODEL_LOST", lost)
        self.station = Station(
            self.ledger, self.archive, self.models, settings.limits, self._on_record
        )
        self._ending.callback(self.station.close)
        self.metrics = Metrics(
            lambda: self.station.waiting,
            self.ledger.count_undecided,
            lambda: float(not self.station.problems()),
        )
        self.inbox: Inbox | None = None
        if setup.inbox is not None:
            _check_product(setup.product, self.models.current)
            self.inbox = Inbox(
                setup.inbox,
                self.station,
                setup.folder,
                settle_s=settings.limits.settle_s,
                product=setup.product,
                remove=setup.remove,
            )
            self._ending.callback(self.inbox.close)
        for task, every_s, name in (
            (self._look, _LOOK_S, "look"),
            (self._clean, _CLEAN_S, "clean"),
        ):
            self._ending.callback(Periodic(task, every_s, name).close)
        self.ledger.report("STARTED", f"the station is at work in {setup.folder}")

    def close(self) -> None:
        """Inspect and record what waits, and end."""
        if self._closed:
            return
        self._closed = True
        self.news.close()
        self.ledger.report("STOPPED", "the station was stopped")
        self._ending.close()

    def change_model(self, folder: Path, *, insist: bool) -> Comparison:
        """Let another bundle judge, also after the next start; see `ModelSlot.change`."""
        found = self.models.change(folder, insist=insist)
        self.alarms.rearm("MODEL_LOST")
        if self.setup.bundle is not None:
            row = (str(self.setup.bundle.resolve()), str(folder.resolve()))
            self._keep("INSERT OR REPLACE INTO models VALUES (?, ?)", row)
        return found

    def refuse(self, reason: str, message: str) -> None:
        """Note that an image was not taken on; `reason` is one of few words."""
        self.metrics.refuse(reason)
        log.warning("refused, %s: %s", reason, message)
        if reason == QUEUE_FULL:
            self.alarms.raise_("QUEUE_FULL", message)

    def summarise(self) -> dict[str, Any]:
        """Return how the line and its cameras are, for a person to see at a glance."""
        hours = self.ledger.hours(_hours_ago(24))
        totals = {own.value: 0 for own in Outcome}
        for counts in hours.values():
            for outcome, count in counts.items():
                totals[outcome] += count
        inspected = sum(totals[own] for own in (Outcome.PASS, Outcome.FAIL, Outcome.REVIEW))
        model = self.models.current
        return {
            "time": now(),
            "started_at": self.started_at,
            "problems": self.station.problems(),
            "watched_folder": None if self.inbox is None else str(self.inbox.folder),
            "model": None
            if model is None
            else {
                "name": model.name,
                "sha256": model.sha256,
                "calibration_sha256": model.calibration_sha256,
                "engine": model.predictor.engine.name,
                "precision": model.predictor.engine.precision,
                "products": list(model.products),
            },
            "waiting": self.station.waiting,
            "most_waiting": self.setup.settings.limits.queue,
            "reviews_waiting": self.ledger.count_undecided(),
            "alarms": [{"kind": kind, "camera_id": own} for kind, own in self.alarms.active()],
            "alarms_not_delivered": self._courier.pending(),
            "hours": [{"hour": hour, **counts} for hour, counts in hours.items()],
            "totals": totals,
            "yield": totals[Outcome.PASS] / inspected if inspected else None,
            "events": [vars(event) for event in self.ledger.events(20)],
        }

    def _choose_bundle(self, given: Path) -> tuple[Path, str]:
        """Return the bundle that judged last, if the station was started with the same one.

        With it comes a sentence that says so, where it is another.
        """
        own = given.resolve()
        rows = self.ledger.store.read("SELECT taken FROM models WHERE given = ?", (str(own),))
        taken = Path(rows[0]["taken"]) if rows else own
        if taken == own:
            return given, ""
        if taken.is_dir():
            return taken, f"It was chosen in place of {own.name} by POST /v1/models."
        return given, f"{taken.name}, chosen in its place by POST /v1/models, is not there."

    def _recent_images(self) -> Sequence[Recent]:
        wanted = self.setup.settings.swap.recent_images
        found = []
        for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.REVIEW, Outcome.RETAKE):
            for own in self.ledger.latest(5 * wanted, outcome=outcome):
                path = self.archive.path(own.pictures, IMAGE)
                if own.score is not None and path is not None:
                    found.append(Recent(path, own.product, own.outcome, own.id))
        return choose_recent(found, wanted)

    def _remember_model(self, bundle_sha256: str) -> None:
        self._keep("INSERT OR REPLACE INTO accepted VALUES (1, ?)", (bundle_sha256,))

    def _keep(self, statement: str, values: tuple[str, ...]) -> None:
        """Note what the next start is to know."""
        try:
            self.ledger.store.write(
                lambda connection: connection.execute(statement, values)
            ).result()
        except StoreError as error:  # it judges all the same
            log.error("the next start will not know which model judged: %s", error)

    def _on_record(self, inspection: Inspection) -> None:
        self.metrics.add(inspection)
        self.cameras.add(inspection)
        self.alarms.add(inspection)
        self.news.tell("inspection", inspection.id)

    def _report_model(self, kind: str, message: str) -> None:
        self.ledger.report(kind, message)
        self.news.tell("event", kind)

    def _report_drift(self, camera: Camera, event: DriftEvent) -> None:
        name = f"{camera.camera_id} ({camera.product})"
        self.ledger.report(event.kind.value, f"{name}: {event.message}", camera.camera_id)
        self.metrics.add_drift(camera.camera_id, event.kind.value)
        self.news.tell("event", event.kind.value)

    def _send_alarm(self, alarm: Alarm) -> None:
        self._courier.send(alarm)  # before what a bad disk may keep from being done
        try:
            self.ledger.report("ALARM", alarm.message, alarm.camera_id)
        except StoreError as error:
            log.error("the alarm %r was sent, but is no event: %s", alarm.message, error)
        self.news.tell("event", "ALARM")

    def _look(self) -> None:
        """Do what is to be done every few seconds."""
        # Alarms first: what comes after them may wait for a disk.
        for task in (
            self._watch_station,
            self._watch_cameras,
            self._watch_reviews,
            self.models.look,
            self.station.try_again,
        ):
            try:
                task()
            except Exception:  # what fails keeps no other from being done
                log.exception("%s failed; it is tried again", task.__name__)

    def _watch_station(self) -> None:
        self.alarms.watch("NOT_READY", " ".join(self.station.problems()))
        if self.station.waiting <= self.setup.settings.limits.queue / 2:
            self.alarms.rearm("QUEUE_FULL")

    def _watch_cameras(self) -> None:
        found = self.cameras.list()
        for camera in found:
            self.metrics.add_camera(camera)
        self.alarms.watch_cameras(found)

    def _watch_reviews(self) -> None:
        reviews = self.ledger.count_undecided()
        many = reviews >= self.setup.settings.alarms.most_reviews
        self.alarms.watch("REVIEWS", f"{reviews} images wait for a person" if many else "")

    def _clean(self) -> None:
        def is_waiting(pictures: str) -> bool:
            rows = self.ledger.store.read(
                "SELECT 1 FROM undecided JOIN inspections ON id = inspection_id WHERE pictures = ?",
                (pictures,),
            )
            return bool(rows)

        self.archive.remove_old(self.setup.settings.retention, is_waiting, datetime.now(UTC))


def _check_product(product: str | None, model: Model | None) -> None:
    if product is not None and model is not None and product not in model.products:
        raise ConfigError(
            f"--product {product}: the model knows no such product; expected one of "
            f"{', '.join(model.products)}."
        )


def _hours_ago(hours: int) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours - 1)).isoformat()[:13]
