"""Delivery of alarms: each target has a thread of its own; what has not arrived is kept on disk."""

import json
import logging
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, NoReturn
from urllib.error import HTTPError

from defectseg.errors import ConfigError
from defectseg.line.alarms import Alarm
from defectseg.line.settings import Alarms, Mqtt
from defectseg.line.store import Store, StoreError

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, target TEXT, body TEXT);
"""
_TIMEOUT_S = 10.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0
_END_S = 2.0  # for what is under way when the courier ends

Deliver = Callable[[str], None]


class Courier:
    """Delivers alarms to webhooks and MQTT, again and again until they arrive.

    An alarm may arrive twice, if the station ends before its arrival is noted.

    Parameters
    ----------
    store : Store
        With the tables of `SCHEMA`. Where it cannot be written, alarms are delivered all the same.
    settings : Alarms

    Raises
    ------
    ConfigError
        If MQTT is asked for, and its library is not there.
    StoreError
        If what has not arrived yet cannot be read.
    """

    def __init__(self, store: Store, settings: Alarms) -> None:
        self._store = store
        deliveries = {str(url): _webhook(str(url)) for url in settings.webhooks}
        if settings.mqtt is not None:
            name = f"mqtt://{settings.mqtt.host}:{settings.mqtt.port}"
            deliveries[name] = _mqtt(settings.mqtt)
        rows = store.read("SELECT id, target, body FROM outbox ORDER BY id")
        self._numbers = count(max((row["id"] for row in rows), default=0) + 1)
        self._targets = {
            name: _Target(name, deliver, self._forget) for name, deliver in deliveries.items()
        }
        for row in rows:
            if row["target"] in self._targets:
                self._targets[row["target"]].add(_Parcel(row["id"], row["body"]))
            else:
                self._forget(row["id"])  # it is no longer in the settings

    def send(self, alarm: Alarm) -> None:
        """Keep an alarm on disk, and deliver it to every target."""
        body = json.dumps(asdict(alarm), ensure_ascii=False)
        parcels = [(_Parcel(next(self._numbers), body), target) for target in self._targets]
        self._write(
            "INSERT INTO outbox (id, target, body) VALUES (?, ?, ?)",
            [(parcel.number, target, body) for parcel, target in parcels],
            f"an alarm is not on disk, and lost if the station ends before it arrives: {body}",
        )
        for parcel, target in parcels:  # after it is in line for the disk: so is its removal
            self._targets[target].add(parcel)

    def pending(self) -> int:
        """Return how many have not arrived yet."""
        return sum(target.count() for target in self._targets.values())

    def close(self) -> None:
        """End within seconds; what has not arrived is tried again after the next start."""
        deadline = time.monotonic() + _END_S
        for target in self._targets.values():
            target.end()
        for target in self._targets.values():
            target.join(deadline)

    def _forget(self, number: int) -> None:
        self._write(
            "DELETE FROM outbox WHERE id = ?",
            [(number,)],
            "an alarm that arrived is still on disk, and is sent again after the next start",
        )

    def _write(self, statement: str, rows: list[tuple[object, ...]], otherwise: str) -> None:
        """Write to the disk; if that fails, say so in the log."""

        def check(written: "Future[sqlite3.Cursor]") -> None:
            if (error := written.exception()) is not None:
                log.error("%s (%s)", otherwise, error)

        try:
            written = self._store.write(lambda connection: connection.executemany(statement, rows))
        except StoreError as error:
            log.error("%s (%s)", otherwise, error)
        else:
            written.add_done_callback(check)


@dataclass(eq=False)
class _Parcel:
    """An alarm on its way to one target."""

    number: int
    body: str
    due: float = 0.0  # when it is tried, by the clock that only grows
    wait_s: float = 0.0  # before that


class _Target:
    """What waits for one target, and the thread that delivers it."""

    def __init__(self, name: str, deliver: Deliver, on_arrival: Callable[[int], None]) -> None:
        self._name = name
        self._deliver = deliver
        self._on_arrival = on_arrival
        self._parcels: list[_Parcel] = []
        self._changed = threading.Condition()
        self._ending = False
        # A daemon: a process that ends does not wait for it.
        self._thread = threading.Thread(target=self._run, name=f"courier to {name}", daemon=True)
        self._thread.start()

    def add(self, parcel: _Parcel) -> None:
        with self._changed:
            self._parcels.append(parcel)
            self._changed.notify()

    def count(self) -> int:
        with self._changed:
            return len(self._parcels)

    def end(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify()

    def join(self, deadline: float) -> None:
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (parcel := self._next()) is not None:
            try:
                self._deliver(parcel.body)
            except Exception as error:  # networks, names, certificates, brokers
                self._postpone(parcel, error)
            else:
                with self._changed:
                    self._parcels.remove(parcel)
                self._on_arrival(parcel.number)

    def _next(self) -> _Parcel | None:
        """Wait until something is due, and return it; at the end, return none."""
        with self._changed:
            while not self._ending:
                parcel = min(self._parcels, key=lambda own: own.due, default=None)
                wait_s = None if parcel is None else parcel.due - time.monotonic()
                if wait_s is not None and wait_s <= 0:
                    return parcel
                self._changed.wait(wait_s)
        return None

    def _postpone(self, parcel: _Parcel, error: Exception) -> None:
        parcel.wait_s = min(_LONGEST_WAIT_S, max(_FIRST_WAIT_S, 2 * parcel.wait_s))
        parcel.due = time.monotonic() + parcel.wait_s
        log.warning(
            "an alarm did not arrive at %s (%s); again in %g s", self._name, error, parcel.wait_s
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for a failure: sent on, a POST would become a GET without the alarm."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> NoReturn:
        told = f"it sends on to {newurl}, where alarms do not follow: name the right address"
        raise HTTPError(req.full_url, code, told, headers, fp)


def _webhook(url: str) -> Deliver:
    opener = urllib.request.build_opener(_NoRedirects)

    def deliver(body: str) -> None:
        request = urllib.request.Request(
            url, body.encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with opener.open(request, timeout=_TIMEOUT_S):
            pass  # other than 2xx raises

    return deliver


def _mqtt(settings: Mqtt) -> Deliver:
    try:
        from paho.mqtt.client import Client, error_string
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise ConfigError(
            "alarms.mqtt needs a library that is not there: pip install paho-mqtt."
        ) from error

    def check(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            raise ConnectionError(f"the broker refuses: {reason}")

    def wait(client: Client, done: Callable[[], bool], deadline: float) -> None:
        while not done():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"the broker does not answer within {_TIMEOUT_S:g} s")
            if code := client.loop(left_s):
                raise ConnectionError(error_string(code))

    def deliver(body: str) -> None:
        # A client without a thread: the library's own connects again without end.
        client = Client(CallbackAPIVersion.VERSION2)
        client.on_connect = check
        client.connect_timeout = _TIMEOUT_S
        if settings.username:
            password = settings.password
            client.username_pw_set(
                settings.username, password.get_secret_value() if password else None
            )
        deadline = time.monotonic() + _TIMEOUT_S
        client.connect(settings.host, settings.port)
        try:
            wait(client, client.is_connected, deadline)
            published = client.publish(settings.topic, body, qos=1)
            wait(client, published.is_published, deadline)
        finally:
            client.disconnect()

    return deliver
