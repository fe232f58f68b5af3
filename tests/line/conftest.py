"""Stations at work: with a small trained bundle, on loopback, in this process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from defectseg.dataset.synthetic import generate_sample
from defectseg.image_io import encode_picture
from defectseg.line.assembly import Line, Setup
from defectseg.line.models import Model
from defectseg.line.server import make_server


def draw(seed: int, *, defective: bool = False, product: str = "Class1") -> npt.NDArray[np.uint8]:
    """A synthetic image of the size that the small bundle knows."""
    rng = np.random.default_rng(1000 + seed)
    return generate_sample(product, defective=defective, rng=rng, size=128)[0]


def draw_file(seed: int, *, defective: bool = False, product: str = "Class1") -> bytes:
    """The same, as the bytes of a PNG."""
    return encode_picture(draw(seed, defective=defective, product=product), ".png")


def set_engine(model: Model, engine: Any) -> None:
    """Have another engine answer, for single images and for many."""
    model.predictor.engine = model.alone.engine = engine


def wait_until(true: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass
class Running:
    """A station that answers at an address."""

    line: Line
    address: str
    client: httpx.Client

    def inspect(self, data: bytes, part_id: str, **fields: str) -> httpx.Response:
        """Send an image of Class1."""
        form = {"part_id": part_id, "product": "Class1", **fields}
        return self.client.post("/v1/inspect", files={"image": ("a.png", data)}, data=form)


@contextmanager
def run_line(setup: Setup, token: str | None = None) -> Iterator[Running]:
    """Run a station in a thread, as `defectseg line` runs it in a process."""
    line = Line(setup)
    address: list[str] = []
    ready = threading.Event()

    def tell(own: str) -> None:
        address.append(own)
        ready.set()

    server = make_server(line, host="127.0.0.1", port=0, token=token, on_start=tell)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(30)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(base_url=address[0], headers=headers, timeout=30) as client:
            yield Running(line, address[0], client)
    finally:
        server.should_exit = True
        line.news.close()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def start_line(bundle_folder: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a station of the small bundle; settings are those of `Setup`."""
    with ExitStack() as running:

        def start(token: str | None = None, **setup: object) -> Running:
            own = {"folder": tmp_path / "station", "bundle": bundle_folder, **setup}
            return running.enter_context(run_line(Setup(**own), token))

        yield start
