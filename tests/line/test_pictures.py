"""Pictures to look at: made small without filling the memory, and never another's."""

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.image_io import decode_image, encode_picture
from defectseg.line import pictures
from defectseg.line.archive import OVERLAY, PICTURES
from tests.line.conftest import Running, draw, draw_file
from tests.line.test_ledger import row


def test_pictures_are_made_small(start_line: Callable[..., Running]) -> None:
    station = start_line()
    image, mask = draw(1), np.zeros((128, 128), np.uint8)
    # Where nothing is drawn, there is no overlay: it is made of the image.
    for number, drawn in enumerate((False, True), 1):
        mask[40:60, 40:60] = drawn
        own = row(image_sha256=str(number))
        kept = station.line.archive.keep(encode_picture(image, ".png"), image, mask, own)
        assert (station.line.archive.path(kept, OVERLAY) is not None) == drawn
        station.line.ledger.record(replace(own, pictures=kept)).result()
        for name in ("image", "mask", "overlay"):
            path = f"/v1/inspections/{number}/{name}"
            picture = station.client.get(path, params={"width": 32})
            assert picture.headers["content-type"] == "image/jpeg"
            small = decode_image(picture.content)
            assert small.shape[:2] == (32, 32)
            if name == "mask":
                assert abs(float(small.mean()) - 255 * mask.mean()) < 2
            elif not drawn:
                assert abs(float(small.mean()) - float(image.mean())) < 2


def test_large_images_are_made_small_one_at_a_time(
    start_line: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    station = start_line()
    links = [station.inspect(draw_file(n), f"part {n}").json()["links"] for n in range(6)]
    at_work, most, lock = 0, 0, threading.Lock()

    def decode(data: bytes) -> npt.NDArray[np.uint8]:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.03)
        with lock:
            at_work -= 1
        return decode_image(data)

    monkeypatch.setattr(pictures, "decode_image", decode)
    monkeypatch.setattr(pictures, "_LARGE_PX", 128 * 128 - 1)

    def show(own: dict[str, str]) -> int:
        return station.client.get(own["image"], params={"width": 32}).status_code

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(show, links)) == {200}
    assert most == 1


def test_a_browser_asks_whether_its_picture_is_the_right_one(
    start_line: Callable[..., Running],
) -> None:
    station = start_line()
    links = station.inspect(draw_file(1, defective=True), "a").json()["links"]
    others = station.inspect(draw_file(2, defective=True), "b").json()["links"]
    known = {}
    for name in ("image", "mask", "overlay"):
        first = station.client.get(links[name], params={"width": 32})
        assert first.headers["cache-control"] == "private, no-cache"
        known = {"if-none-match": first.headers["etag"]}
        again = station.client.get(links[name], params={"width": 32}, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        # As by the same id at another station.
        assert station.client.get(others[name], headers=known).status_code == 200
    shutil.rmtree(station.line.setup.folder / PICTURES)
    assert station.client.get(links["image"], headers=known).status_code == 404
