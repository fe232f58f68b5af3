"""Alarms on their way: a real web server, a real broker, and both when they are away."""

import asyncio
import json
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from defectseg.line import courier as courier_module
from defectseg.line.alarms import Alarm
from defectseg.line.courier import SCHEMA, Courier
from defectseg.line.settings import Alarms
from defectseg.line.store import Store
from tests.line.conftest import wait_until

ALARM = Alarm("LOW", "left", "too low ü", "2026-01-31T08:00:00.000+00:00")
TOLD = {"kind": "LOW", "camera_id": "left", "message": "too low ü", "time": ALARM.time}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    own = Store(tmp_path, SCHEMA)
    yield own
    own.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "_FIRST_WAIT_S", 0.05)


@contextmanager
def web_server(
    port: int = 0, failing: int = 0, failure: int = 500
) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """A server that fails at first, and then keeps what it is posted."""
    got: list[dict[str, str]] = []
    failures = [failing]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            failures[0] -= 1
            if failures[0] < 0:
                got.append(json.loads(body))
            self.send_response(failure if failures[0] >= 0 else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port, got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def to_webhooks(store: Store, *ports: int) -> Courier:
    urls = [f"http://127.0.0.1:{port}/alarm" for port in ports]
    return Courier(store, Alarms.model_validate({"webhooks": urls}))


def to_mqtt(store: Store, port: int, **settings: str) -> Courier:
    own = {"host": "127.0.0.1", "port": port, "topic": "line/alarms", **settings}
    return Courier(store, Alarms.model_validate({"mqtt": own}))


def on_disk(store: Store) -> int:
    store.write(lambda connection: None).result()  # all before it is there
    return int(store.read("SELECT COUNT(*) FROM outbox")[0][0])


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def test_an_alarm_is_posted_as_json(store: Store) -> None:
    with web_server() as (port, got):
        courier = to_webhooks(store, port)
        courier.send(ALARM)
        wait_until(lambda: bool(got))
        wait_until(lambda: courier.pending() == 0)
        courier.close()
    assert got == [TOLD]
    assert on_disk(store) == 0


def test_it_is_tried_again_until_it_arrives(store: Store) -> None:
    with web_server(failing=2) as (port, got):
        courier = to_webhooks(store, port)
        courier.send(ALARM)
        wait_until(lambda: bool(got))
        courier.close()
    assert got == [TOLD]


def test_it_outlives_the_station(tmp_path: Path) -> None:
    port = free_port()
    store = Store(tmp_path, SCHEMA)
    courier = to_webhooks(store, port)
    courier.send(ALARM)
    courier.close()
    store.close()
    with web_server(port) as (_, got):
        store = Store(tmp_path, SCHEMA)
        courier = to_webhooks(store, port)
        wait_until(lambda: bool(got))
        wait_until(lambda: courier.pending() == 0)
        courier.close()
        store.close()
    assert got == [TOLD]


def test_a_target_that_was_taken_out_of_the_settings_is_dropped(store: Store) -> None:
    courier = to_webhooks(store, free_port())
    courier.send(ALARM)
    courier.close()
    assert on_disk(store) == 1
    courier = Courier(store, Alarms())
    assert courier.pending() == on_disk(store) == 0
    courier.close()


def test_a_redirect_is_no_delivery(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with web_server(failing=1, failure=302) as (port, got):
        courier = to_webhooks(store, port)
        courier.send(ALARM)
        wait_until(lambda: bool(got))
        courier.close()
    assert got == [TOLD]
    assert f"it sends on to http://127.0.0.1:{port}/elsewhere, where alarms" in caplog.text


def test_a_target_that_is_away_for_days_holds_no_alarm_for_good(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(courier_module, "_FIRST_WAIT_S", 1e-9)
    monkeypatch.setattr(courier_module, "_LONGEST_WAIT_S", 1e-9)
    port = free_port()
    courier = to_webhooks(store, port)
    courier.send(ALARM)
    # 2 to the power of 1024 is more than a waiting time can be.
    wait_until(lambda: len(caplog.records) > 1030)
    with web_server(port) as (_, got):
        wait_until(lambda: bool(got))
    courier.close()


@contextmanager
def plain_server(serve: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[float]]]:
    """A server that does something with each connection, and when they came."""
    came: list[float] = []
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as own:

        def run() -> None:
            while True:
                try:
                    connection, _ = own.accept()
                except OSError:
                    return
                came.append(time.monotonic())
                connections.append(connection)
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield own.getsockname()[1], came
        finally:
            own.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


def be_silent(connection: socket.socket) -> None:
    pass


def hang_up(connection: socket.socket) -> None:
    connection.recv(100)
    connection.close()


def refuse(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(bytes([0x20, 2, 0, 5]))  # CONNACK: not authorised


def test_a_silent_target_holds_neither_others_nor_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "_END_S", 0.2)
    with plain_server(be_silent) as (silent, came), web_server() as (port, got):
        courier = to_webhooks(store, silent, port)
        for _ in range(6):
            courier.send(ALARM)
        wait_until(lambda: len(got) == 6, 2)
        wait_until(lambda: courier.pending() == 6, 2)
        wait_until(lambda: bool(came), 2)
        started = time.monotonic()
        courier.close()
        assert time.monotonic() - started < 1  # though a delivery waits for 10 s
        assert on_disk(store) == 6


def test_the_end_comes_between_deliveries(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "_TIMEOUT_S", 0.2)
    with plain_server(be_silent) as (silent, came):
        courier = to_webhooks(store, silent)
        for _ in range(6):
            courier.send(ALARM)
        wait_until(lambda: bool(came))
        courier.close()
        time.sleep(0.3)
        assert len(came) == 1


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (be_silent, "does not answer within 0.2 s"),
        (hang_up, "The connection was lost"),
        (refuse, "the broker refuses: Not authorized"),
    ],
)
def test_a_bad_broker_is_tried_again_and_holds_no_end(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    serve: Callable[[socket.socket], None],
    told: str,
) -> None:
    monkeypatch.setattr(courier_module, "_TIMEOUT_S", 0.2)
    with plain_server(serve) as (port, came):
        courier = to_mqtt(store, port, username="line", password="secret")
        courier.send(ALARM)
        wait_until(lambda: caplog.text.count(told) == 2, 5)
        assert len(came) >= 2
        started = time.monotonic()
        courier.close()
        assert time.monotonic() - started < 1
    assert courier.pending() == on_disk(store) == 1
    assert "secret" not in caplog.text


def let_nothing_be_written(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only=ON")


def test_an_alarm_arrives_once_although_it_cannot_be_kept(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write(let_nothing_be_written)
    with web_server() as (port, got):
        courier = to_webhooks(store, port)
        courier.send(ALARM)
        wait_until(lambda: courier.pending() == 0, 2)
        time.sleep(0.2)
        courier.close()
    assert got == [TOLD]
    errors = [own.getMessage() for own in caplog.records if own.levelno == logging.ERROR]
    assert "lost if the station ends before it arrives" in errors[0]


def test_what_arrived_is_not_sent_again_though_that_cannot_be_noted(store: Store) -> None:
    with web_server(failing=1) as (port, got):
        courier = to_webhooks(store, port)
        courier.send(ALARM)
        assert on_disk(store) == 1
        store.write(let_nothing_be_written)
        wait_until(lambda: bool(got), 2)
        time.sleep(0.2)
        courier.close()
    assert got == [TOLD]


@contextmanager
def broker() -> Iterator[tuple[int, list[bytes]]]:
    """A real MQTT broker, and what is published to it."""
    from amqtt.broker import Broker
    from amqtt.client import MQTTClient

    port, got, ready, stop = free_port(), [], threading.Event(), threading.Event()

    async def run() -> None:
        config = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {}},
        }
        own = Broker(config)
        await own.start()
        client = MQTTClient(config={"auto_reconnect": False})
        await client.connect(f"mqtt://127.0.0.1:{port}/")
        await client.subscribe([("line/alarms", 1)])
        ready.set()
        while not stop.is_set():
            try:
                message = await client.deliver_message(timeout_duration=0.2)
            except TimeoutError:
                continue
            if message is not None:
                got.append(bytes(message.publish_packet.data))
        await client.disconnect()
        await own.shutdown()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(20)
        yield port, got
    finally:
        stop.set()
        thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_alarm_is_published_by_mqtt(store: Store) -> None:
    with broker() as (port, got):
        courier = to_mqtt(store, port)
        courier.send(ALARM)
        wait_until(lambda: bool(got))
        courier.close()
    assert json.loads(got[0]) == TOLD
