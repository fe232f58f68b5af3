"""What the benchmarks of the line share: stations in processes of their own, clients, images."""

import hashlib
import json
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from publish import ROOT

from defectseg.line.store import DATABASE

CLIENTS = 4
STRIDE = 211  # without a common divisor with the count of files: each has its turn
CONTENDER_LIMIT_S = 1800
START_LIMIT_S = 60
STALL_S = 60  # without a new row, what is missing is lost
RETRY_S = 120  # of a client, for one image


@dataclass(frozen=True)
class Shot:
    """A camera's image of a part."""

    camera: str
    part: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Hash of its bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def pack(self) -> bytes:
        """Return the body of a request."""
        line = b"--line\r\nContent-Disposition: form-data; name="
        return (
            line
            + b'"part_id"\r\n\r\n%s\r\n' % self.part.encode()
            + line
            + b'"camera_id"\r\n\r\n%s\r\n' % self.camera.encode()
            + line
            + b'"image"; filename="image.png"\r\n\r\n%s\r\n--line--\r\n' % self.data
        )


class Station:
    """A station in a process of its own, that can be killed and started again.

    At the end it is killed, and its folder removed.
    """

    def __init__(self, run: Path, folder: Path, *, take: bool = False) -> None:
        self._root = folder
        self.folder, self.inbox = folder / "station", folder / "inbox"
        self.inbox.mkdir()
        for camera in range(CLIENTS):
            (self.inbox / f"camera{camera}").mkdir()
        words = ["line", "--model", run, "--station", self.folder, "--inbox", self.inbox]
        self._command = [sys.executable, "-m", "defectseg", *words, "--port", "0"]
        self._command += ["--take"] if take else []
        self._output = folder / "output.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def start(self) -> float:
        """Start it; return after how many seconds it is ready for images."""
        begin = time.perf_counter()
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        while not self._is_ready():
            time.sleep(0.01)
            if self.process.poll() is not None or time.perf_counter() > begin + START_LIMIT_S:
                raise SystemExit(f"The station did not start: {self._output.read_text()}")
        return time.perf_counter() - begin

    def _is_ready(self) -> bool:
        found = re.search(r"Open http://127\.0\.0\.1:(\d+)", self._output.read_text())
        if found is None:
            return False
        self.port = int(found[1])
        return Client(self).get("/v2/health/ready") == 200

    def kill(self) -> None:
        """Kill it, so that it can do nothing more, if it is at work."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it as a person would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        if status not in (0, -signal.SIGTERM):
            raise SystemExit(f"The station ended with {status}: {self._output.read_text()}")

    def query(self, statement: str) -> list[Any]:
        """Return rows of its ledger, which is only read."""
        path = f"{(self.folder / DATABASE).as_uri()}?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=30)) as connection:
            return connection.execute(statement).fetchall()

    def count(self) -> int:
        """Return how many images have their answer for good."""
        return int(self.query("SELECT COUNT(*) FROM inspections WHERE final")[0][0])

    def wait_for(self, count: int) -> None:
        """Wait until so many images have their answer, or none more comes."""
        seen, since = -1, time.monotonic()
        while (now := self.count()) < count and time.monotonic() < since + STALL_S:
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.05)


class Client:
    """Asks a station, over one connection that stays open."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._connect()

    def _connect(self) -> None:
        self._connection = HTTPConnection("127.0.0.1", self._station.port, timeout=30)

    def get(self, path: str) -> int:
        """Return the status of a page."""
        with closing(self._connection):
            self._connection.request("GET", path)
            return self._connection.getresponse().status

    def send(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Send an image; return status and answer."""
        kind = {"Content-Type": "multipart/form-data; boundary=line"}
        self._connection.request("POST", "/v1/inspect", body, kind)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def inspect(self, body: bytes) -> None:
        """Send an image that must be inspected, and for the first time."""
        status, answer = self.send(body)
        if status != 200 or answer["repeated"]:
            raise SystemExit(f"The station answers {status}: {answer}")

    def insist(self, body: bytes) -> dict[str, Any]:
        """Send an image again and again until there is an answer for good."""
        until = time.monotonic() + RETRY_S
        while time.monotonic() < until:
            try:
                status, answer = self.send(body)
                if status != 503:
                    return answer
            except (OSError, HTTPException):
                self._connection.close()
                self._connect()  # where it listens by now
            time.sleep(0.1)
        raise SystemExit(f"No answer for good within {RETRY_S} s.")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def follow(times: Sequence[float], act: Callable[[int, int], Any], threads: int) -> list[float]:
    """Act at each time (s), each by whichever thread is free.

    Returns
    -------
    list of float
        Milliseconds from each time until its act was done, waiting for a free thread included.
    """
    numbers = iter(range(len(times)))  # a range may be shared by threads
    took = [0.0] * len(times)
    begin = time.perf_counter() + 0.2
    errors: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for i in numbers:
                time.sleep(max(0.0, begin + times[i] - time.perf_counter()))
                act(thread, i)
                took[i] = 1000 * (time.perf_counter() - begin - times[i])
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(own,), daemon=True) for own in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return took


class Bench:
    """What all parts need: a bundle, images, a folder to work in, the figures so far."""

    def __init__(
        self,
        run: Path,
        folder: Path,
        *,
        rounds: int,
        counts: dict[str, int],
        figures: dict[str, Any],
    ) -> None:
        self.run, self.rounds, self.counts, self.figures = run, rounds, counts, figures
        self.images = folder / "images"
        self._folder = folder
        self._files = [path.read_bytes() for path in sorted(self.images.glob("*.png"))]

    def new_folder(self) -> Path:
        """Return a new empty folder."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def shoot(self, number: int) -> Shot:
        """Return an image whose bytes are those of no other number.

        Its pixels are those of one of the files; the number stands in a comment of the PNG.
        """
        file = self._files[self.file_of(number)]
        comment = b"tEXtComment\0%d" % number
        chunk = struct.pack(">I", len(comment) - 4) + comment
        chunk += struct.pack(">I", zlib.crc32(comment))
        camera = f"camera{number % CLIENTS}"
        return Shot(camera, f"{camera}/{number:05}", file[:-12] + chunk + file[-12:])

    def file_of(self, number: int) -> int:
        """Return which of the files an image has its pixels of; good and defective ones mixed."""
        return STRIDE * number % len(self._files)

    def ask(self, contender: str, **task: Any) -> Any:
        """Return what a contender answers, in a process of its own."""
        path = self.new_folder() / "task.json"
        path.write_text(json.dumps({"images": str(self.images), **task}))
        words = [ROOT / "benchmarks" / "line.py", "--bundle", self.run]
        words += ["--contender", contender, "--task", path]
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, timeout=CONTENDER_LIMIT_S)
        return json.loads(path.with_suffix(".result").read_text())
