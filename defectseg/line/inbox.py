"""The watched folder: each image is inspected once it is whole, wherever a kill comes between."""

import logging
import os
import queue
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from defectseg.errors import DataError, DefectsegError, ImageReadError
from defectseg.image_io import IMAGE_SUFFIXES, find_images, printable, read_bytes
from defectseg.inference.folder import product_in_path
from defectseg.line.job import Job, Source
from defectseg.line.ledger import SameImageError
from defectseg.line.models import Model
from defectseg.line.station import (
    NOT_KEPT,
    NotInspectedError,
    Station,
    TooLargeError,
    describe_unknown,
)
from defectseg.line.suspects import Suspects
from defectseg.processor import count_cores

log = logging.getLogger(__name__)

# Of files whose inspection is recorded: they are not even read again after a start.
SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox (
    name TEXT PRIMARY KEY, size INTEGER, changed_ns INTEGER) WITHOUT ROWID;
"""
CAMERA = "folder"  # of a file that lies in no folder of its own
_UNFINISHED = frozenset({".part", ".partial", ".tmp", ".filepart"})
_RESCAN_S = 10.0  # for what no event tells, as on network drives
_RESCAN_WITHOUT_EVENTS_S = 2.0
_AGAIN_S = 1.0  # where the station cannot take an image
_LOOK_S = 0.1
_TRIES = 3  # of an image on which the engine fails


@dataclass(frozen=True)
class _State:
    """What tells whether a file has changed."""

    size: int
    changed_ns: int


@dataclass(frozen=True)
class _Given:
    """A file that the station has."""

    path: Path
    state: _State
    job: Job


class Inbox:
    """Feeds a station with the images that are put into a folder.

    A file is whole once its writer has closed it, or it was moved there; without such an event,
    once it has not changed for a while. Its camera is the first folder in its path, its part the
    path without suffix. Hidden files, and those named ``.part`` or ``.tmp``, wait for their name.

    Parameters
    ----------
    folder : Path
        Searched with its subfolders.
    station : Station
    station_folder : Path
        Where it is noted what is under way.
    settle_s : float
    product : str or None
        What images show that lie in no folder of a product's name. By default the model's only
        product.
    remove : bool
        Remove a file once it is recorded and its bytes are kept; what was refused stays.

    Raises
    ------
    DataError
        If it is no folder.
    """

    def __init__(
        self,
        folder: Path,
        station: Station,
        station_folder: Path,
        *,
        settle_s: float,
        product: str | None = None,
        remove: bool = False,
    ) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; expected one that images are put into.")
        self.folder = folder.resolve()
        self._station = station
        self._settle_s = settle_s
        self._product = product
        self._remove = remove
        self._events: queue.SimpleQueue[tuple[Path, bool]] = queue.SimpleQueue()
        self._settling: dict[Path, tuple[_State, float]] = {}  # and since when it is so
        self._whole: dict[Path, None] = {}  # in their order
        self._given: list[_Given] = []
        self._tries: Counter[Path] = Counter()
        # Those whose product the model does not know: another model may, or another start.
        self._unknown: dict[Path, _State] = {}
        self._unknown_to: Model | None = None
        self._suspects = Suspects(station_folder)
        self._next_scan = 0.0
        self._ending = threading.Event()
        self._observer = Observer()
        self._rescan_s = self._begin_to_listen()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more files; what the station has goes on."""
        self._ending.set()
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()
        self._thread.join()
        self._suspects.note(())

    def _begin_to_listen(self) -> float:
        self._observer.schedule(_Listener(self._events), str(self.folder), recursive=True)
        try:
            self._observer.start()
        except OSError as error:  # too many folders are watched on this machine
            log.warning("changes of %s are not told (%s); it is searched", self.folder, error)
            return _RESCAN_WITHOUT_EVENTS_S
        return _RESCAN_S

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._hear(_LOOK_S if not self._given else 0.01)
                if time.monotonic() >= self._next_scan:
                    begun = time.monotonic()
                    self._scan()
                    # Of a folder that takes long to search, no more than a small share of the time.
                    now = time.monotonic()
                    self._next_scan = now + max(self._rescan_s, 20 * (now - begun))
                self._settle()
                self._give()
                self._take_back()
                self._note_under_way()
            except DefectsegError as error:
                log.error("the watched folder waits: %s", error)
                self._ending.wait(_AGAIN_S)
            except Exception:
                log.exception("the watched folder failed; it is searched again")
                self._next_scan = 0.0
                self._ending.wait(_AGAIN_S)

    def _hear(self, wait_s: float) -> None:
        """Take in what was told of files."""
        try:
            path, closed = self._events.get(timeout=wait_s)
            while True:
                if closed:
                    self._settling.pop(path, None)
                    self._whole[path] = None
                else:
                    self._note(path)
                path, closed = self._events.get_nowait()
        except queue.Empty:
            pass

    def _scan(self) -> None:
        """Search the folder for files that nothing was told of."""
        rows = self._station.ledger.store.read("SELECT * FROM inbox")
        done = {row["name"]: _State(row["size"], row["changed_ns"]) for row in rows}
        known = {*self._whole, *self._settling, *(own.path for own in self._given)}
        unknown = self._unknown if self._unknown_to is self._station.models.current else {}
        self._unknown = {}
        gone = set(done)
        for found in find_images(self.folder)[0]:
            name = printable(found.relative)
            gone.discard(name)
            if found.path in known or _is_unfinished(found.path):
                continue
            state = _read_state(found.path)
            if state is not None and unknown.get(found.path) == state:
                self._unknown[found.path] = state
            elif done.get(name) != state:
                self._note(found.path)
        if gone:
            self._station.ledger.store.write(
                lambda connection: connection.executemany(
                    "DELETE FROM inbox WHERE name = ?", [(name,) for name in gone]
                )
            )

    def _note(self, path: Path) -> None:
        """Wait until a file has not changed for a while."""
        state = None if _is_unfinished(path) else _read_state(path)
        if state is not None and path not in self._whole:
            age_s = max(0.0, time.time() - state.changed_ns / 1e9)
            self._settling[path] = (state, time.monotonic() - age_s)

    def _settle(self) -> None:
        for path, (state, since) in list(self._settling.items()):
            now = _read_state(path)
            if now is None:
                del self._settling[path]
            elif now != state:
                self._settling[path] = (now, time.monotonic())
            elif time.monotonic() - since >= self._settle_s:
                del self._settling[path]
                self._whole[path] = None

    def _give(self) -> None:
        """Hand whole files to the station, no more than keep it busy: others send images, too."""
        if self._station.problems():
            return  # they wait until it can judge and record
        free = max(0, 2 * count_cores() + 1 - len(self._given))
        for path in list(islice(self._whole, free)):
            state = _read_state(path)
            # What may have killed the process is alone, so that nothing else shares the blame.
            if self._given and (self._suspected(path, state) or self._suspect_is_under_way()):
                return
            try:
                self._give_file(path, state)
            except NotInspectedError:
                return  # for want of a place, or of a model: later
            self._whole.pop(path, None)

    def _give_file(self, path: Path, state: _State | None) -> None:
        source, model = self._describe(path), self._station.models.current
        if model is not None and state is not None and source.product not in model.products:
            self._station.refuse(source, describe_unknown(model))
            self._unknown[path], self._unknown_to = state, model
            return
        try:
            self._clear(path, state)
            data = self._read(path, state)
        except ImageReadError as error:
            if state is not None:
                self._station.refuse(source, str(error))
                self._mark(path, state)
            return
        if state is None or _read_state(path) != state:
            del self._whole[path]
            self._note(path)  # it is being written again
            return
        try:
            self._note_under_way((path, state))
            self._given.append(_Given(path, state, self._station.submit(data, source)))
        except (SameImageError, TooLargeError):  # recorded by the station
            self._mark(path, state)

    def _suspected(self, path: Path, state: _State | None) -> bool:
        return state is not None and self._suspects.suspects(self._tell_apart(path, state))

    def _suspect_is_under_way(self) -> bool:
        return any(self._suspected(own.path, own.state) for own in self._given)

    def _clear(self, path: Path, state: _State | None) -> None:
        """Raise `ImageReadError` of a file that ends the station whenever it is inspected."""
        deaths = self._suspects.count(self._tell_apart(path, state)) if state else 0
        if deaths:
            raise ImageReadError(
                f"the station died {deaths} times while this file was inspected: it is not tried "
                "again"
            )

    def _tell_apart(self, path: Path, state: _State) -> str:
        name = printable(path.relative_to(self.folder).as_posix())
        return f"{state.size} {state.changed_ns} {name}"

    def _read(self, path: Path, state: _State | None) -> bytes:
        """Return a file's bytes; raise `ImageReadError` of what is none, or too large."""
        most = 1e6 * self._station.limits.most_megabytes
        if state is not None and state.size > most:
            raise ImageReadError(
                f"has {state.size / 1e6:,.1f} megabytes, more than the {most / 1e6:g} that are "
                "accepted (limits.most_megabytes)"
            )
        if state is not None and not path.is_file():  # a pipe would be waited for
            raise ImageReadError("is not a file that can be read")
        return read_bytes(path)

    def _take_back(self) -> None:
        """Note the files whose inspection is recorded; the others are given again."""
        for given in [own for own in self._given if own.job.verdict.done()]:
            self._given.remove(given)
            error = given.job.verdict.exception()
            if isinstance(error, SameImageError):
                self._mark(given.path, given.state)
                continue
            recorded = None if error else given.job.verdict.result().inspection
            # What the disk does is not the file's fault.
            if recorded is not None and NOT_KEPT not in recorded.reasons:
                self._tries[given.path] += 1
                if recorded.final or self._tries[given.path] >= _TRIES:
                    del self._tries[given.path]
                    self._mark(given.path, given.state, recorded.pictures)
                    continue
            self._whole[given.path] = None

    def _note_under_way(self, *more: tuple[Path, _State]) -> None:
        own = [*((given.path, given.state) for given in self._given), *more]
        self._suspects.note(self._tell_apart(path, state) for path, state in own)

    def _mark(self, path: Path, state: _State, pictures: str = "") -> None:
        """Note that a file is done; where it is to be taken and is kept, remove it."""
        name = printable(path.relative_to(self.folder).as_posix())
        row = (name, state.size, state.changed_ns)
        marked = self._station.ledger.store.write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO inbox VALUES (?,?,?)", row
            )
        )
        if self._remove and pictures:
            marked.result()
            try:
                self._station.archive.settle(pictures)
                if _read_state(path) == state:
                    path.unlink()
            except OSError as error:
                log.warning("%s is recorded, but not removed: %s", path, error)

    def _describe(self, path: Path) -> Source:
        relative = PurePosixPath(printable(path.relative_to(self.folder).as_posix()))
        model = self._station.models.current
        known = model.products if model else ()
        product = product_in_path(str(relative), known) or self._product
        if product is None and len(known) == 1:
            product = known[0]
        cameras = [folder for folder in relative.parts[:-1] if folder not in known]
        return Source(
            part_id=str(relative.with_suffix("")),
            camera_id=cameras[0] if cameras else CAMERA,
            product=product,
            kind="folder",
            name=str(relative),
        )


class _Listener(FileSystemEventHandler):
    """Passes on which files changed, and whether they are whole."""

    def __init__(self, events: "queue.SimpleQueue[tuple[Path, bool]]") -> None:
        self._events = events

    def on_any_event(self, event: FileSystemEvent) -> None:
        """See `FileSystemEventHandler`."""
        if event.is_directory or event.event_type not in {"created", "modified", "closed", "moved"}:
            return
        moved = event.event_type == "moved"
        path = Path(os.fsdecode(event.dest_path if moved else event.src_path))
        if path.suffix.lower() in IMAGE_SUFFIXES and not _is_unfinished(path):
            self._events.put((path, moved or event.event_type == "closed"))


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix.lower() in _UNFINISHED


def _read_state(path: Path) -> _State | None:
    """Return the state of a file, or of a link to nothing; None if it is not there."""
    for look in (path.stat, path.lstat):
        with suppress(OSError):
            own = look()
            # The time of the last change of anything: that of the content can be set at will.
            return _State(own.st_size, own.st_ctime_ns)
    return None
