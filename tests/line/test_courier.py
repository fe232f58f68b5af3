"""Alarms on their way: a real web server, a real broker, and both when they are away."""

import asyncio
import json
import socket
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
    monkeypatch.setattr(courier_module, "_LOOK_S", 0.05)


def wait_until(true: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def web_server(port: int = 0, failing: int = 0) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """A server that answers 500 at first, and then keeps what it is posted."""
    got: list[dict[str, str]] = []
    failures = [failing]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            failures[0] -= 1
            if failures[0] < 0:
                got.append(json.loads(body))
            self.send_response(500 if failures[0] >= 0 else 200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def to_webhook(store: Store, port: int) -> Courier:
    return Courier(store, Alarms.model_validate({"webhooks": [f"http://127.0.0.1:{port}/alarm"]}))


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def test_an_alarm_is_posted_as_json(store: Store) -> None:
    with web_server() as (port, got):
        courier = to_webhook(store, port)
        courier.send(ALARM).result()
        wait_until(lambda: bool(got))
        wait_until(lambda: courier.pending() == 0)
        courier.close()
    assert got == [TOLD]


def test_it_is_tried_again_until_it_arrives(store: Store) -> None:
    with web_server(failing=2) as (port, got):
        courier = to_webhook(store, port)
        courier.send(ALARM).result()
        wait_until(lambda: bool(got))
        courier.close()
    assert got == [TOLD]


def test_it_outlives_the_station(tmp_path: Path) -> None:
    port = free_port()
    store = Store(tmp_path, SCHEMA)
    courier = to_webhook(store, port)
    courier.send(ALARM).result()
    wait_until(lambda: store.read("SELECT tries FROM outbox")[0]["tries"] > 0)
    courier.close()
    store.close()
    with web_server(port) as (_, got):
        store = Store(tmp_path, SCHEMA)
        courier = to_webhook(store, port)
        wait_until(lambda: bool(got))
        wait_until(lambda: courier.pending() == 0)
        courier.close()
        store.close()
    assert got == [TOLD]


def test_a_target_that_was_taken_out_of_the_settings_is_dropped(store: Store) -> None:
    courier = to_webhook(store, free_port())
    courier.send(ALARM).result()
    courier.close()
    courier = Courier(store, Alarms())
    wait_until(lambda: courier.pending() == 0)
    courier.close()


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
        settings = {"mqtt": {"host": "127.0.0.1", "port": port, "topic": "line/alarms"}}
        courier = Courier(store, Alarms.model_validate(settings))
        courier.send(ALARM).result()
        wait_until(lambda: bool(got))
        courier.close()
    assert json.loads(got[0]) == TOLD
