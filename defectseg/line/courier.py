"""Delivery of alarms: kept on disk until they have arrived."""

import json
import logging
import sqlite3
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from defectseg.errors import ConfigError
from defectseg.line.alarms import Alarm
from defectseg.line.periodic import Periodic
from defectseg.line.settings import Alarms, Mqtt
from defectseg.line.store import Store

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, target TEXT, body TEXT, tries INTEGER, next_try REAL, error TEXT);
"""
_TIMEOUT_S = 10.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0
_LOOK_S = 1.0

Deliver = Callable[[str], None]


class Courier:
    """Delivers alarms to webhooks and MQTT, again and again until they arrive.

    Parameters
    ----------
    store : Store
        With the tables of `SCHEMA`.
    settings : Alarms

    Raises
    ------
    ConfigError
        If MQTT is asked for, and its library is not there.
    """

    def __init__(self, store: Store, settings: Alarms) -> None:
        self._store = store
        self._targets: dict[str, Deliver] = {
            str(url): _webhook(str(url)) for url in settings.webhooks
        }
        if settings.mqtt is not None:
            self._targets[f"mqtt://{settings.mqtt.host}:{settings.mqtt.port}"] = _mqtt(
                settings.mqtt
            )
        self._periodic = Periodic(self._deliver_all, _LOOK_S, "courier")

    def send(self, alarm: Alarm) -> "Future[None]":
        """Keep an alarm on disk, and deliver it to every target."""
        body = json.dumps(asdict(alarm), ensure_ascii=False)

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO outbox (target, body, tries, next_try) VALUES (?, ?, 0, 0)",
                [(target, body) for target in self._targets],
            )

        written = self._store.write(write)
        written.add_done_callback(lambda _: self._periodic.hurry())
        return written

    def pending(self) -> int:
        """Return how many have not arrived yet."""
        return int(self._store.read("SELECT COUNT(*) FROM outbox")[0][0])

    def close(self) -> None:
        """End; what has not arrived is tried again after the next start."""
        self._periodic.close()

    def _deliver_all(self) -> None:
        due = self._store.read(
            "SELECT * FROM outbox WHERE next_try <= ? ORDER BY id", (time.time(),)
        )
        for row in due:
            deliver = self._targets.get(row["target"])
            if deliver is None:
                self._remove(row["id"])  # it is no longer in the settings
                continue
            try:
                deliver(row["body"])
            except Exception as error:  # networks, names, certificates, brokers
                self._postpone(row, error)
            else:
                self._remove(row["id"])

    def _remove(self, number: int) -> None:
        self._store.write(
            lambda connection: connection.execute("DELETE FROM outbox WHERE id = ?", (number,))
        ).result()

    def _postpone(self, row: sqlite3.Row, error: Exception) -> None:
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** row["tries"])
        again = datetime.now(UTC) + timedelta(seconds=wait_s)
        log.warning("an alarm did not arrive at %s (%s); again at %s", row["target"], error, again)
        self._store.write(
            lambda connection: connection.execute(
                "UPDATE outbox SET tries = tries + 1, next_try = ?, error = ? WHERE id = ?",
                (again.timestamp(), str(error), row["id"]),
            )
        ).result()


def _webhook(url: str) -> Deliver:
    def deliver(body: str) -> None:
        request = urllib.request.Request(
            url, body.encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            pass  # other than 2xx raises

    return deliver


def _mqtt(settings: Mqtt) -> Deliver:
    try:
        from paho.mqtt import publish
    except ImportError as error:
        raise ConfigError(
            "alarms.mqtt needs a library that is not there: pip install defectseg[mqtt]."
        ) from error
    password = settings.password.get_secret_value() if settings.password else None
    auth: Any = {"username": settings.username, "password": password}

    def deliver(body: str) -> None:
        publish.single(
            settings.topic,
            body,
            qos=1,
            hostname=settings.host,
            port=settings.port,
            auth=auth if settings.username else None,
        )

    return deliver
