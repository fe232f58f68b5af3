"""Requests as no honest client sends them: refused, with a line in the log, and work goes on.

A real station on loopback; whatever the standard client would mend goes over a bare socket.
"""

import gc
import http.client
import io
import itertools
import json
import logging
import re
import resource
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from defectseg.errors import ConfigError
from defectseg.image_io import encode_picture
from defectseg.line.assembly import Setup
from defectseg.line.server import check_access
from defectseg.line.settings import LineSettings
from tests.line.conftest import Running, draw, run_line, set_engine

# Starlette leaves the file of a form that is cut off within it to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
)

MIB = 1 << 20
COUNT = itertools.count()
TOKEN = "0123456789abcdef"

# --- Images, forms and answers -----------------------------------------------------------------


BASE = draw(0)


def new_image() -> bytes:
    """A good image that was not sent before."""
    image = BASE.copy()
    image[0, :2] = divmod(next(COUNT), 256)
    return encode_picture(image, ".png")


def short(value: object) -> str:
    """A name for a test case."""
    return repr(value)[:40]


def check_works(station: Running) -> None:
    """An image is inspected."""
    answer = station.inspect(new_image(), "after")
    assert answer.status_code == 200, answer.text
    assert answer.json()["outcome"] in {"PASS", "FAIL", "REVIEW", "RETAKE"}


def check_refused(status: int, body: bytes, expected: set[int], caplog: Any) -> None:
    """One of the statuses, a body that is no PASS, and a line in the log that is one line."""
    assert status in expected, body
    answer = json.loads(body)
    assert answer["outcome"] == "ERROR"
    assert answer["reasons"]
    assert caplog.messages
    assert all("\n" not in message and "\x1b" not in message for message in caplog.messages)


def form(*parts: tuple[bytes, bytes]) -> tuple[bytes, dict[str, str]]:
    """A form by hand, of pairs of what follows ``form-data;`` and content; with its headers."""
    lines = [
        b"--line\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    ]
    return b"".join(lines) + b"--line--\r\n", {"content-type": "multipart/form-data; boundary=line"}


FIELDS = {"part_id": "part", "product": "Class1"}
PRODUCT = (b'name="product"', b"Class1")
PART = (b'name="part_id"', b"part")


def image_part(data: bytes = b"", name: bytes = b"a.png") -> tuple[bytes, bytes]:
    return b'name="image"; filename="' + name + b'"', data or new_image()


def head(text: str, **headers: object) -> bytes:
    """The head of a request."""
    lines = [text, "Host: 127.0.0.1", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def connect(station: Running, buffer: int | None = None) -> socket.socket:
    """Open a connection; `buffer`: as many bytes as the kernel is to hold before they are read."""
    host, port = station.address.removeprefix("http://").split(":")
    connection = socket.socket()
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect((host, int(port)))
    return connection


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Read an answer; (0, b"") if the connection is closed without one."""
    answer = http.client.HTTPResponse(connection)
    try:
        answer.begin()
        return answer.status, answer.read()
    except (http.client.BadStatusLine, ConnectionError):
        return 0, b""
    finally:
        answer.close()


def ask(station: Running, *pieces: bytes) -> tuple[int, bytes]:
    """Send bytes as they are, and read the answer."""
    with connect(station) as connection:
        with suppress(ConnectionError):  # answered before all was sent
            for piece in pieces:
                connection.sendall(piece)
        return read_answer(connection)


def is_closed(connection: socket.socket) -> bool:
    """Wait for the other side to close the connection; what it says before is passed over."""
    with suppress(ConnectionError):
        while connection.recv(MIB):
            pass
    return True


# --- Stations ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_station(
    bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    settings = LineSettings(limits={"most_megabytes": 1, "receive_s": 1})
    folder = tmp_path_factory.mktemp("hostile")
    with run_line(Setup(folder, bundle=bundle_folder, settings=settings)) as running:
        yield running
    gc.collect()  # while its warnings are still passed over


@pytest.fixture
def station(shared_station: Running, caplog: pytest.LogCaptureFixture) -> Iterator[Running]:
    """A station that has to inspect an image after each test, and must not have failed within."""
    yield shared_station
    check_works(shared_station)
    assert not [own for own in caplog.records if own.exc_info or own.levelno >= logging.ERROR]


def settings(**limits: object) -> LineSettings:
    return LineSettings(limits=limits)


# --- Bodies ------------------------------------------------------------------------------------

LARGE = bytes(3 * MIB)


def test_a_body_over_the_limit_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    answer = station.inspect(LARGE, "part")
    check_refused(answer.status_code, answer.content, {413}, caplog)
    assert "limits.most_megabytes" in answer.text


def test_a_body_over_the_limit_is_refused_before_it_is_sent(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    begun = time.monotonic()
    text = head("POST /v1/inspect HTTP/1.1", Content_Length=10**9)
    check_refused(*ask(station, text), {413}, caplog)
    assert time.monotonic() - begun < 1


def test_a_chunked_body_over_the_limit_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    body, headers = form(PART, PRODUCT, image_part(LARGE))
    chunks = (body[i : i + 65536] for i in range(0, len(body), 65536))
    answer = station.client.post("/v1/inspect", content=chunks, headers=headers)
    check_refused(answer.status_code, answer.content, {413}, caplog)


def test_a_client_that_reads_only_after_all_is_sent_has_its_answer(station: Running) -> None:
    # As Python's own client does, which also asks for the connection to be closed.
    body, headers = form(PART, PRODUCT, image_part(LARGE))
    request = urllib.request.Request(f"{station.address}/v1/inspect", body, headers)
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=20)
    with closing(error.value):
        assert error.value.code == 413


@pytest.mark.parametrize(
    "length", ["-1", "x", "1e3", "0x10", "1 2", "9" * 30, "9" * 5000, "10, 11", "", "+5"]
)
def test_a_length_that_is_none_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture, length: str
) -> None:
    text = head("POST /v1/inspect HTTP/1.1", Content_Length=length)
    check_refused(*ask(station, text), {400}, caplog)


def test_a_body_shorter_than_its_length_is_waited_for_and_refused(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    body, headers = form(PART, PRODUCT, image_part())
    text = head("POST /v1/inspect HTTP/1.1", Content_Length=len(body) + 100, **headers)
    check_refused(*ask(station, text + body), {408}, caplog)


def test_a_body_longer_than_its_length_is_cut_off_and_refused(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    body, headers = form(PART, PRODUCT, image_part())
    text = head("POST /v1/inspect HTTP/1.1", Content_Length=len(body) - 5000, **headers)
    check_refused(*ask(station, text + body), {400, 422}, caplog)


@pytest.mark.parametrize(
    "framing",
    [
        b"Transfer-Encoding: gzip\r\n\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 40_000,
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    ],
    ids=short,
)
def test_framing_that_is_not_clear_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture, framing: bytes
) -> None:
    text = b"POST /v1/inspect HTTP/1.1\r\nHost: localhost\r\n" + framing
    check_refused(*ask(station, text), {400, 413, 431}, caplog)


def test_a_packed_body_is_not_unpacked(station: Running, caplog: pytest.LogCaptureFixture) -> None:
    body, headers = form(PART, PRODUCT, image_part())
    answer = station.client.post(
        "/v1/inspect",
        content=zlib.compress(body + bytes(100 * MIB)),
        headers={**headers, "content-encoding": "deflate"},
    )
    check_refused(answer.status_code, answer.content, {400}, caplog)


# --- Images ------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(height: int, width: int, rows: bytes, before: bytes = b"") -> bytes:
    """A gray PNG of any header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + before + data + chunk(b"IEND", b"")


def bmp(height: int, width: int) -> bytes:
    """A gray BMP without its pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 2000, 0, 0, 1078) + header + bytes(1024)


def tiff(height: int, width: int, *more: tuple[int, int]) -> bytes:
    """A gray TIFF without its pixels."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (277, 1)]
    strips = [] if more else [(273, 8), (278, height), (279, 10)]
    own = sorted([*tags, *strips, *more])
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in own)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(own)) + entries + bytes(4)


@pytest.mark.parametrize(
    "image",
    [
        png(50_000, 50_000, bytes(100)),
        png(2**31 - 1, 2**31 - 1, bytes(100)),
        bmp(60_000, 60_000),
        tiff(2**31, 2**31),
        tiff(100_000, 100_000),
    ],
    ids=["png", "largest png", "bmp", "largest tiff", "tiff"],
)
def test_an_image_of_billions_of_pixels_is_refused_unread(
    station: Running, caplog: pytest.LogCaptureFixture, image: bytes
) -> None:
    begun = time.monotonic()
    answer = station.inspect(image, "part")
    check_refused(answer.status_code, answer.content, {413}, caplog)
    assert "limits.most_megapixels" in answer.text
    assert time.monotonic() - begun < 1


ROWS = (b"\0" + bytes(range(64))) * 64
PACKED = zlib.compress(bytes(200 * MIB))


@pytest.mark.parametrize(
    "image",
    [
        png(64, 64, ROWS + bytes(200 * MIB)),
        png(64, 64, ROWS, chunk(b"zTXt", b"a\0\0" + PACKED)),
        png(64, 64, ROWS, chunk(b"iTXt", b"a\0\1\0\0\0" + PACKED)),
        png(64, 64, ROWS, chunk(b"iCCP", b"a\0\0" + PACKED)),
        tiff(16, 16, (322, 46_000), (323, 46_000), (324, 8), (325, 10)),
    ],
    ids=["rows", "text", "international text", "profile", "tile"],
)
def test_a_decompression_bomb_costs_neither_memory_nor_time(station: Running, image: bytes) -> None:
    before, begun = peak_memory(), time.monotonic()
    answer = station.inspect(image, f"bomb {next(COUNT)}")
    # A bomb beside the pixels may be passed over, or be an error; it is no PASS of what it hides.
    assert answer.status_code in {200, 422}, answer.text
    if answer.status_code == 422:
        assert answer.json()["outcome"] == "ERROR"
        number = answer.json()["id"]
        small = station.client.get(f"/v1/inspections/{number}/image", params={"width": 64})
        assert small.status_code == 404
    assert time.monotonic() - begun < 3
    assert peak_memory() - before < 100 * MIB


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw(3)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"no image",
        b"<!doctype html><script>alert(1)</script>",
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"\x89PNG\r\n\x1a\n",
        new_image()[:-3000],
        jpeg()[:-2000],
        b"GIF89a" + bytes(100),
        b"%PDF-1.4",
        b"PK\3\4" + bytes(100),
        bytes(100_000),
        b"",
    ],
    ids=[
        "text",
        "html",
        "svg",
        "png",
        "cut png",
        "cut jpeg",
        "gif",
        "pdf",
        "zip",
        "zeros",
        "empty",
    ],
)
def test_what_is_no_image_is_recorded_as_an_error(
    station: Running, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    answer = station.inspect(data, f"none {next(COUNT)}")
    check_refused(answer.status_code, answer.content, {422}, caplog)
    recorded = station.client.get(answer.json()["links"]["self"]).json()
    assert (recorded["outcome"], recorded["final"]) == ("ERROR", True)
    if data:
        kept = station.client.get(answer.json()["links"]["image"])
        assert kept.content == data
        # Not as a page that a browser would show.
        assert kept.headers["content-type"] in {
            "application/octet-stream",
            "image/png",
            "image/jpeg",
        }
        assert kept.headers["x-content-type-options"] == "nosniff"


# --- Fields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"part_id": "a", "image": "b"}},
        {"content": b""},
        {"data": {"part_id": "a", "image": "text", "product": "Class1"}},
        {"files": {"image": b"1"}},
        {"data": {"part_id": "a"}, "files": {"picture": b"1"}},
        {"data": {"part_id": "a", "product": "Class9"}, "files": {"image": b"1"}},
        {"data": {"part_id": "a"}, "files": {"image": b"1"}},
        {"data": {"part_id": ["a", "b"], "product": "Class1"}, "files": {"image": b"1"}},
        {"data": {**FIELDS, "camera": "left"}, "files": {"image": b"1"}},
        {"data": {**FIELDS, "camera_id": ""}, "files": {"image": b"1"}},
        {"data": FIELDS, "files": [("image", b"1"), ("image", b"2")]},
        {"data": {"product": "Class1"}, "files": {"image": b"1", "part_id": ("a.txt", b"a")}},
        {"data": {"product": "Class1", "part_id[]": "a"}, "files": {"image": b"1"}},
        {"data": {f"field {i}": "x" for i in range(900)}, "files": {"image": b"1"}},
        {"data": {f"field {i}": "x" for i in range(5000)}, "files": {"image": b"1"}},
        {"files": [("image", b"1")] * 5000},
    ],
    ids=short,
)
def test_fields_that_are_wrong_are_refused(
    station: Running, caplog: pytest.LogCaptureFixture, request_: dict[str, Any]
) -> None:
    answer = station.client.post("/v1/inspect", **request_)
    check_refused(answer.status_code, answer.content, {400, 422}, caplog)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"application/x-www-form-urlencoded", b"a=b&" * 100_000),
        (b"application/x-www-form-urlencoded", b"part_id=a&product=Class1&image=b"),
        (b"application/json", b"[" * 100_000),
        (b"multipart/form-data", b"x"),
        (b"multipart/form-data; boundary=", b"x"),
        (b"multipart/form-data; boundary=" + b"x" * 9000, b"x"),
        (b"multipart/form-data; boundary=\xff\xfe", b"x"),
        (b"multipart/form-data; boundary=line", b"--other\r\n"),
        (b"multipart/mixed; boundary=line", form(PART, PRODUCT, image_part())[0]),
        (b"text/plain", b"x"),
        (b';;;="\\', b"x"),
        (b"", b"x"),
    ],
    ids=short,
)
def test_what_is_no_form_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture, kind: bytes, content: bytes
) -> None:
    answer = station.client.post("/v1/inspect", content=content, headers={b"content-type": kind})
    check_refused(answer.status_code, answer.content, {400, 422}, caplog)


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "punycode", "unicode_escape", "idna", "x"])
def test_a_form_in_another_charset_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture, charset: str
) -> None:
    body, _ = form((b'name="part_id"', b"\\ud800" * 1000), PRODUCT, image_part())
    kind = f"multipart/form-data; boundary=line; charset={charset}"
    answer = station.client.post("/v1/inspect", content=body, headers={"content-type": kind})
    check_refused(answer.status_code, answer.content, {415}, caplog)


@pytest.mark.parametrize(
    "body",
    [
        form(PART, PRODUCT, image_part())[0][:-1000],  # cut off
        form(PART, PRODUCT, image_part())[0].replace(b"--line\r\n", b"--line", 1),
        b"--line\r\n" * 20_000,
        b"--line\r\nContent-Disposition: form-data\r\n\r\nx\r\n--line--\r\n",
        b"--line\r\n" + b"X: y\r\n" * 50_000 + b"\r\nx\r\n--line--\r\n",
        b"--line\r\nX: " + b"y" * 500_000 + b"\r\n\r\nx\r\n--line--\r\n",
        b"--line\r\nContent-Disposition: form-data; name=\"a\"; " + b"a=b;" * 50_000 + b"\r\n\r\n",
        # A form within a form, within a form ...
        b"".join(
            b"--line\r\nContent-Disposition: form-data; name=x\r\n"
            b"Content-Type: multipart/mixed; boundary=line\r\n\r\n"
            for _ in range(5000)
        ),
    ],
    ids=["cut", "open", "empty", "nameless", "headers", "header", "options", "nested"],
)  # fmt: skip
def test_forms_that_are_none_are_refused(
    station: Running, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    _, headers = form()
    begun = time.monotonic()
    answer = station.client.post("/v1/inspect", content=body, headers=headers)
    check_refused(answer.status_code, answer.content, {400, 422}, caplog)
    assert time.monotonic() - begun < 2


HOSTILE = {
    "../../etc/passwd",
    "..\\..\\windows\\system32",
    "..",
    "a\0b",
    "x" * 4000,
    "a\r\nSet-Cookie: x=y",
    "\x1b[31mred",
    "a\x7fb",
    "a\x85b",
    "part\u202egnp.exe",  # shown as partexe.png
    "a\u2066b\u2069",
    "a\u2028b",
    "   ",
}


@pytest.mark.parametrize("field", ["part_id", "camera_id", "product"])
def test_hostile_names_are_refused(
    station: Running, caplog: pytest.LogCaptureFixture, field: str
) -> None:
    for name in HOSTILE:
        given = {**FIELDS, field: name}
        parts = [(f'name="{key}"'.encode(), value.encode()) for key, value in given.items()]
        body, headers = form(*parts, image_part())
        answer = station.client.post("/v1/inspect", content=body, headers=headers)
        check_refused(answer.status_code, answer.content, {422}, caplog)
        assert field in answer.text


def test_hostile_names_of_files_are_refused(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    # Of a path with backslashes the last part alone is taken, and a line ends the header.
    for name in HOSTILE - {"..\\..\\windows\\system32", "a\r\nSet-Cookie: x=y"}:
        body, headers = form(PART, PRODUCT, image_part(name=name.encode()))
        answer = station.client.post("/v1/inspect", content=body, headers=headers)
        check_refused(answer.status_code, answer.content, {400, 422}, caplog)


@pytest.mark.parametrize("name", [b"\xed\xa0\x80", b"a\x80b", b"\xf4\x90\x80\x80"])
def test_names_that_are_no_text_are_refused(
    station: Running, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    body, headers = form((b'name="part_id"', name), PRODUCT, image_part())
    answer = station.client.post("/v1/inspect", content=body, headers=headers)
    check_refused(answer.status_code, answer.content, {422}, caplog)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "'; DROP TABLE inspections; --",
        '" OR 1=1',
        "{{ 7 * 7 }}",
        "%s%n${HOME}",
        "Gehäuse 7/12",
        "部品１",
        "😀",
    ],
)
def test_odd_names_are_recorded_as_they_are_and_do_nothing(station: Running, name: str) -> None:
    answer = station.inspect(new_image(), name, camera_id=name)
    assert answer.status_code == 200, answer.text
    found = station.client.get("/v1/inspections", params={"part_id": name, "camera_id": name})
    assert [own["part_id"] for own in found.json()["inspections"]] == [name]
    assert "<script>alert" not in station.client.get("/").text
    assert station.client.get("/metrics").status_code == 200


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/models", b'{"bundle": "\\ud800"}'),
        ("/v1/models", b'{"\\ud800": 1, "bundle": "x"}'),
        ("/v1/models", b'{"bundle": "x", "\\u001b[31m\\n": 1}'),
        ("/v1/models", b'{"bundle": 1e999}'),
        ("/v1/models", b'{"bundle": ' + b"9" * 5000 + b"}"),
        ("/v1/models", b"\xff\xfe{"),
        ("/v1/models", b"[" * 200_000),
        ("/v1/models", b'{"a":' * 100_000),
        ("/v1/models", b"null"),
        ("/v1/models", b""),
        ("/v1/models", b'{"bundle": NaN, "insist": "yes"}'),
        ("/v1/inspections/1/decision", b'{"decision": "agree", "name": "a\\u0000"}'),
        ("/v1/inspections/1/decision", b'{"decision": "PASS", "name": "a"}'),
        ("/v1/inspections/1/decision", b'{"decision": "agree", "name": "a", "outcome": "PASS"}'),
        ("/v1/inspections/1/decision", b'{"decision": "agree", "name": "a", "note": "\\u202e"}'),
        ("/v1/inspections/1/decision", json.dumps({"x" * 300: 1}).encode()),
        ("/v1/inspections/1/decision", json.dumps({str(i): 1 for i in range(50_000)}).encode()),
        ("/v1/inspections/x/decision", b"{}"),
        ("/v1/inspections/99999999999999999999/decision", b"{}"),
    ],
    ids=short,
)
def test_json_that_is_wrong_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture, path: str, content: bytes
) -> None:
    headers = {"content-type": "application/json"}
    answer = station.client.post(path, content=content, headers=headers)
    check_refused(answer.status_code, answer.content, {400, 422}, caplog)
    assert len(answer.content) < 20_000


# --- What is no HTTP, and paths that lead elsewhere --------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n\r\n",  # HTTP/0.9
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: yes\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA\0: b\r\n\r\n",
        b"GET /\x80\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 500_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        b"\r\n\r\n\r\n",
        b"\0" * 1000,
    ],
    ids=short,
)
def test_what_is_no_http_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    check_refused(*ask(station, data), {400, 403, 404, 431}, caplog)


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/../../../../etc/passwd",
        "/dashboard/..%2f..%2f..%2fetc%2fpasswd",
        "/dashboard/%2e%2e/%2e%2e/etc/passwd",
        "/dashboard/....//....//etc/passwd",
        "/dashboard/__init__.py",
        "/dashboard//etc/passwd",
        "/dashboard/line.css%00.png",
        "/static-offline-docs/../../../../etc/passwd",
        "/static-offline-docs/%2e%2e/%2e%2e/core.py",
        "/static-offline-docs/..%5c..%5ccore.py",
        "/static-offline-docs/%00",
        "/static-offline-docs/" + "x" * 5000,
        "/static-offline-docs//etc/passwd",
        "/v1/inspections/../summary",
        "/v1/inspections/..%2f..%2fledger.sqlite",
        "/v1/inspections/1/image/../../../../ledger.sqlite",
        "/v1/inspections/0",
        "/v1/inspections/-1/image",
        "/v1/inspections/9223372036854775807/image",
        "/v1/inspections/9223372036854775808",
        "/v1/inspections/" + "9" * 5000,
        "/v1/inspections/1.5",
        "/v1/inspections/%0d%0aSet-Cookie:x=y",
        "/v1/inspections/%1b%5b31m",
        "/v1/inspections?limit=1000000",
        "/v1/inspections?outcome=%00",
        "/v1/inspections?before=" + "9" * 30,
        "/v1/inspections/1/image?width=1000000000",
        "/v1/inspections/",
        "/v2/models/..%2f..%2fetc/ready",
        "/%00",
        "/%ff%fe",
        "//etc/passwd",
        "/..",
        "*",
        "http://elsewhere.example/v1/summary",
        "/" + "a/" * 5000,
    ],
)
def test_paths_lead_nowhere(station: Running, caplog: pytest.LogCaptureFixture, path: str) -> None:
    status, body = ask(station, head(f"GET {path} HTTP/1.1", Connection="close"))
    assert b"root:" not in body
    assert b"SQLite format" not in body
    assert status in {400, 404, 422}, body
    assert json.loads(body).keys() <= {"outcome", "reasons", "error"}
    assert caplog.messages
    assert all("\n" not in own and "\x1b" not in own for own in caplog.messages)


def test_nobody_chooses_the_file_of_a_picture(station: Running) -> None:
    data = new_image()
    number = station.inspect(data, "picture").json()["id"]
    for other in ("/etc/passwd", "../../../../ledger.sqlite", "mask.png"):
        for name in ("file", "path", "name"):
            answer = station.client.get(f"/v1/inspections/{number}/image", params={name: other})
            assert answer.content == data


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "LOOK"])
def test_other_methods_are_refused_and_the_right_ones_told(
    station: Running, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    allowed = {"/v1/models": "GET, POST", "/v1/inspect": "POST", "/metrics": "GET"}
    for path, others in allowed.items():
        answer = station.client.request(method, path)
        assert answer.headers["allow"] == others
        if method == "HEAD":
            assert (answer.status_code, answer.content) == (405, b"")
        else:
            check_refused(answer.status_code, answer.content, {405}, caplog)
    answer = station.client.request(method, "/static-offline-docs/x")
    assert answer.status_code == (404 if method == "HEAD" else 405)


def test_the_station_is_no_proxy(station: Running, caplog: pytest.LogCaptureFixture) -> None:
    check_refused(*ask(station, head("CONNECT 127.0.0.1:22 HTTP/1.1")), {400, 404, 405}, caplog)


def test_requests_sent_at_once_are_answered_in_their_order(station: Running) -> None:
    with connect(station) as connection:
        pages = ["/v2/health/live", "/v1/nothing", "/v2/health/ready", "/metrics"]
        connection.sendall(b"".join(head(f"GET {page} HTTP/1.1") for page in pages))
        answers = [read_answer(connection) for _ in pages[:1]]
        # `HTTPResponse` reads ahead: the others are told apart by hand.
    with connect(station) as connection:
        closing_ = head("GET /metrics HTTP/1.1", Connection="close")
        connection.sendall(b"".join(head(f"GET {page} HTTP/1.1") for page in pages[:-1]) + closing_)
        text = b""
        while piece := connection.recv(MIB):
            text += piece
    assert answers[0][0] == 200
    assert re.findall(rb"HTTP/1.1 (\d+) ", text) == [b"200", b"404", b"200", b"200"]


def test_after_a_good_request_garbage_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(station) as connection:
        connection.sendall(head("GET /v2/health/live HTTP/1.1") + b"\0\0\0garbage\r\n\r\n")
        text = b""
        while piece := connection.recv(MIB):
            text += piece
    assert re.findall(rb"HTTP/1.1 (\d+) ", text) == [b"200", b"400"]
    assert caplog.messages


def test_another_protocol_is_not_spoken(station: Running, caplog: pytest.LogCaptureFixture) -> None:
    for protocol in ("websocket", "h2c", "TLS/1.0"):
        status, _ = ask(
            station,
            head(
                "GET /v1/summary HTTP/1.1",
                Connection="Upgrade, close",
                Upgrade=protocol,
                Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
                Sec_WebSocket_Version=13,
            ),
        )
        assert status == 200  # as if it had not been asked for
    assert caplog.text.count("asked for another protocol") == 3


def test_a_client_that_waits_for_a_word_to_continue_gets_it(station: Running) -> None:
    body, headers = form(PART, PRODUCT, image_part())
    with connect(station) as connection:
        expects = {**headers, "Expect": "100-continue"}
        length = {"Content_Length": len(body)}
        connection.sendall(head("POST /v1/inspect HTTP/1.1", **length, **expects))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert read_answer(connection)[0] == 200
        # Not if the answer is known already.
        length["Content_Length"] = 10**9
        connection.sendall(head("POST /v1/inspect HTTP/1.1", **length, **expects))
        assert read_answer(connection)[0] == 413


# --- Slow and many clients ---------------------------------------------------------------------


@pytest.fixture
def start(bundle_folder: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a station with limits of its own."""
    with ExitStack() as running:

        def start(token: str | None = None, **limits: object) -> Running:
            setup = Setup(tmp_path / "station", bundle=bundle_folder, settings=settings(**limits))
            return running.enter_context(run_line(setup, token))

        yield start


def drip(connection: socket.socket, data: bytes, seconds: float) -> None:
    """Send a byte every tenth of a second, until the other side has had enough."""
    ended = time.monotonic() + seconds
    with suppress(ConnectionError):
        for byte in data:
            if time.monotonic() > ended:
                return
            connection.sendall(bytes([byte]))
            time.sleep(0.1)


def test_slow_clients_are_cut_off_and_others_served_meanwhile(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    station = start(receive_s=0.5)
    body, headers = form(PART, PRODUCT, image_part())
    whole = head("POST /v1/inspect HTTP/1.1", Content_Length=len(body), **headers)
    chunked = head("POST /v1/inspect HTTP/1.1", Transfer_Encoding="chunked", **headers)
    unread = head("GET /v2/health/live HTTP/1.1", Content_Length=1000)
    # What is sent at once, and what drips.
    slow = {
        "silent": (b"", b""),
        "headers": (b"", whole),
        "a header": (b"GET / HTTP/1.1\r\nX: ", b"x" * 1000),
        "body": (whole, body),
        "no body": (whole, b""),
        "chunks": (chunked, b"1\r\n-\r\n" * 1000),
        "a body that nobody reads": (unread, bytes(1000)),
        "the next request": (head("GET /v2/health/live HTTP/1.1"), whole),
    }

    def send(data: tuple[bytes, bytes]) -> tuple[int, float]:
        begun = time.monotonic()
        with connect(station) as connection:
            connection.sendall(data[0])
            drip(connection, data[1], 6)
            status, _ = read_answer(connection)
            is_closed(connection)
        return status, time.monotonic() - begun

    with ThreadPoolExecutor(len(slow)) as pool:
        ends = {name: pool.submit(send, data) for name, data in slow.items()}
        while not all(own.done() for own in ends.values()):
            check_works(station)
    found = {name: own.result() for name, own in ends.items()}
    assert {name for name, (status, _) in found.items() if status == 200} == {
        "a body that nobody reads",
        "the next request",
    }
    assert {status for status, _ in found.values()} == {200, 408}
    # Headers and body have their time each, then a connection that is done waits for 5 s at most.
    assert all(seconds < 7 for _, seconds in found.values()), found
    assert caplog.text.count("408") >= 6


def test_a_client_that_does_not_read_its_answer_is_cut_off(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    station = start(receive_s=1.5)
    large = np.random.default_rng(0).bytes(12_000_000)  # more than the kernel takes in
    number = station.inspect(large, "large").json()["id"]
    with connect(station, buffer=4096) as connection:
        connection.sendall(head(f"GET /v1/inspections/{number}/image HTTP/1.1"))
        deadline = time.monotonic() + 10
        while "its answer is not read" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "its answer is not read" in caplog.text
    # One that reads slowly, but does, gets all of it.
    with connect(station) as connection:
        connection.sendall(head(f"GET /v1/inspections/{number}/image HTTP/1.1", Connection="close"))
        read = b""
        while piece := connection.recv(MIB):
            read += piece
            time.sleep(0.05)
    assert read.endswith(large)


def test_a_stream_of_news_is_not_cut_off(start: Callable[..., Running]) -> None:
    station = start(receive_s=0.3)
    with connect(station) as connection:
        connection.sendall(head("GET /v1/stream HTTP/1.1"))
        time.sleep(1.2)
        check_works(station)
        told = b""
        while b"event: inspection" not in told:
            piece = connection.recv(MIB)
            assert piece, told
            told += piece


@contextmanager
def many_files(count: int) -> Iterator[None]:
    """Allow this process so many open files: it holds both ends of each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_crowd_is_refused_and_those_within_are_served(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    most, count = 256, 1000
    with many_files(4 * count + 500), ExitStack() as opened:
        station = start(most_connections=most, receive_s=60)
        crowd = []
        for number in range(count):
            if number % 100 == 0:
                check_works(station)  # by the same connection each time
            crowd.append(opened.enter_context(connect(station)))
        check_works(station)
        # All but those within are told so; one place is the honest client's.
        answers = [read_answer(own) for own in crowd[most - 1 :]]
        assert {status for status, _ in answers} == {429}
        check_refused(*answers[0], {429}, caplog)
        check_refused(*ask(station, head("GET /v2/health/live HTTP/1.1")), {429}, caplog)
        check_works(station)
        for own in crowd:
            own.close()
        deadline, status = time.monotonic() + 10, 429
        while status == 429 and time.monotonic() < deadline:
            status, _ = ask(station, head("GET /v2/health/live HTTP/1.1"))
        assert status == 200
        check_works(station)


def test_clients_that_hang_up_do_no_harm(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    body, headers = form(PART, PRODUCT, image_part())
    whole = head("POST /v1/inspect HTTP/1.1", Content_Length=len(body), **headers) + body
    stream = head("GET /v1/stream HTTP/1.1")
    for data in (b"", b"GET", whole[:50], whole[:-100], whole, whole * 3, stream):
        for _ in range(20):
            with connect(station) as connection:
                # With an RST instead of an orderly end.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.sendall(data)
    deadline = time.monotonic() + 5
    while station.line.news._listeners and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not station.line.news._listeners


def test_bodies_together_have_a_limit_too(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    station = start(most_megabytes=1, queue=2, receive_s=2)  # so 2 MB at once
    body, headers = form(PART, PRODUCT, image_part(bytes(900_000)))
    part = head("POST /v1/inspect HTTP/1.1", Content_Length=len(body), **headers) + body[:-1]
    with ExitStack() as opened:
        for _ in range(2):
            opened.enter_context(connect(station)).sendall(part)
        time.sleep(0.3)
        check_refused(*ask(station, part + body[-1:]), {429}, caplog)
    check_works(station)


# --- Who may come in ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "127.0.0.1.elsewhere.example", "[", "", "a b"]
)
def test_requests_by_another_name_are_refused(
    station: Running, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    # A page whose name is made to point here.
    answer = station.client.get("/v1/summary", headers={"host": host})
    check_refused(answer.status_code, answer.content, {403}, caplog)


def test_names_of_this_machine_are_known(station: Running) -> None:
    for host in ("localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:1", "[::1]:8000"):
        assert station.client.get("/v1/summary", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://elsewhere.example", "null", "http://[", "http://127.0.0.1", "file://", "x"]
)
def test_pages_of_others_may_change_nothing(
    station: Running, caplog: pytest.LogCaptureFixture, origin: str
) -> None:
    for path in ("/v1/inspect", "/v1/models", "/v1/inspections/1/decision", "/login"):
        answer = station.client.post(path, headers={"origin": origin})
        check_refused(answer.status_code, answer.content, {403}, caplog)
    answer = station.client.get("/v1/summary", headers={"origin": origin})
    assert "access-control-allow-origin" not in answer.headers
    own = station.client.post("/v1/inspect", headers={"origin": station.address})
    assert own.status_code == 422


def test_a_token_is_asked_for(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    station = start(TOKEN)
    stranger = httpx.Client(base_url=station.address, headers={"host": "elsewhere.example"})
    with stranger:
        wrong = [
            {},
            {"authorization": "Bearer"},
            {"authorization": f"Bearer {TOKEN[:-1]}"},
            {"authorization": f"Bearer {TOKEN}x"},
            {"authorization": f"Basic {TOKEN}"},
            {"authorization": TOKEN},
            {"authorization": b"Bearer \xff\xfe"},
            {"cookie": f"defectseg={TOKEN}"},
            {"cookie": "defectseg="},
            {"cookie": ";;;=;" * 500},
        ]
        for headers in wrong:
            for path in ("/", "/v1/summary", "/v1/stream", "/metrics", "/openapi.json", "/nothing"):
                answer = stranger.get(path, headers=headers)
                check_refused(answer.status_code, answer.content, {401}, caplog)
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/v1/inspect", "/v1/models", "/v2/models/bundle/infer"):
            assert stranger.post(path).status_code == 401
        # Only whether it is up, and the way in.
        assert stranger.get("/v2/health/live").status_code == 200
        assert stranger.get("/v2/health/ready").status_code == 200
        page = stranger.get("/", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        assert stranger.post("/login", data={"token": "x" * 16}).status_code == 401
        answer = stranger.post("/login", data={"token": "x" * 20_000})
        check_refused(answer.status_code, answer.content, {413}, caplog)
        entered = stranger.post("/login", data={"token": TOKEN})
        assert entered.status_code == 303
        cookie = entered.headers["set-cookie"].lower()
        assert TOKEN not in cookie
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert stranger.get("/v1/summary").status_code == 200
    assert TOKEN not in caplog.text
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"authorization": f"{scheme}  {TOKEN}", "host": "["}
        assert httpx.get(f"{station.address}/v1/nothing", headers=headers).status_code == 404
    check_works(station)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "station.example", ""])
def test_others_are_let_in_by_a_token_only(host: str) -> None:
    with pytest.raises(ConfigError, match="token is required"):
        check_access(host, None)
    check_access(host, TOKEN)
    for weak in ("", "short", "ü" * 20):
        with pytest.raises(ConfigError, match=r"letters; expected 16"):
            check_access(host, weak)


def test_this_machine_needs_no_token() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        check_access(host, None)


# --- The same image, all at once, too late, or not at all --------------------------------------


def test_the_same_image_of_another_part_is_refused(
    station: Running, caplog: pytest.LogCaptureFixture
) -> None:
    data = new_image()
    first = station.inspect(data, "one").json()
    again = station.inspect(data, "one")
    assert again.status_code == 200
    assert again.json() == {**first, "repeated": True}
    for part, camera in (("two", "camera"), ("one", "other")):
        answer = station.inspect(data, part, camera_id=camera)
        check_refused(answer.status_code, answer.content, {409}, caplog)
        assert "may be frozen" in answer.text


def test_the_same_request_at_once_is_one_inspection(station: Running) -> None:
    data, count = new_image(), 8
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda _: station.inspect(data, "at once"), range(count)))
    assert {own.status_code for own in answers} == {200}
    assert len({own.json()["id"] for own in answers}) == 1
    found = station.client.get("/v1/inspections", params={"part_id": "at once"}).json()
    assert len(found["inspections"]) == 1


class Hindered:
    """An engine that waits, or fails, before it answers."""

    def __init__(self, engine: Any, hinder: Callable[[], None]) -> None:
        self._engine = engine
        self._hinder = hinder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def probability(self, image: Any) -> Any:
        self._hinder()
        return self._engine.probability(image)


@contextmanager
def hindered(station: Running, hinder: Callable[[], None]) -> Iterator[None]:
    model = station.line.models.current
    assert model is not None
    engine = model.predictor.engine
    set_engine(model, Hindered(engine, hinder))
    try:
        yield
    finally:
        set_engine(model, engine)


def test_a_full_queue_is_never_a_pass(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    station, count = start(queue=1), 24
    images = [new_image() for _ in range(count)]
    with hindered(station, lambda: time.sleep(0.3)), ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda i: station.inspect(images[i], f"{i}"), range(count)))
    refused = [own for own in answers if own.status_code != 200]
    assert 0 < len(refused) < count
    for own in refused:
        check_refused(own.status_code, own.content, {503}, caplog)
        assert own.headers["retry-after"] == "1"
        assert "limits.queue" in own.text
    assert station.inspect(
        images[answers.index(refused[0])], f"{answers.index(refused[0])}"
    ).is_success
    metrics = station.client.get("/metrics").text
    assert f'defectseg_refused_total{{reason="queue_full"}} {len(refused)}.0' in metrics


def test_a_verdict_that_comes_too_late_is_an_error_and_the_image_inspected_anew(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    station, data = start(timeout_s=0.3), new_image()
    with hindered(station, lambda: time.sleep(1.5)):
        begun = time.monotonic()
        answer = station.inspect(data, "late")
        assert time.monotonic() - begun < 1.4
        check_refused(answer.status_code, answer.content, {503}, caplog)
        assert answer.json()["final"] is False
        assert "not inspected within 0.3 s" in answer.text
        time.sleep(1)  # the engine answers, and nobody listens
    again = station.inspect(data, "late")
    assert again.status_code == 200
    assert again.json()["final"] is True
    assert again.json()["id"] != answer.json()["id"]
    found = station.client.get("/v1/inspections", params={"part_id": "late"}).json()
    assert [own["outcome"] for own in found["inspections"]] == [again.json()["outcome"], "ERROR"]


def test_an_engine_that_fails_is_an_error_and_the_image_inspected_anew(
    start: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise MemoryError("of the device")

    station, data = start(), new_image()
    with hindered(station, fail):
        answer = station.inspect(data, "failed")
        assert answer.status_code == 503
        assert answer.json()["outcome"] == "ERROR"
        assert answer.json()["final"] is False
        assert "MemoryError" in answer.json()["error"]
    assert "MemoryError" in caplog.text
    again = station.inspect(data, "failed")
    assert (again.status_code, again.json()["repeated"]) == (200, False)


def test_without_a_model_nothing_passes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with run_line(Setup(tmp_path / "station", bundle=tmp_path / "missing")) as station:
        answer = station.inspect(new_image(), "part")
        check_refused(answer.status_code, answer.content, {503}, caplog)
        assert "There is no model" in answer.text
        assert station.client.get("/v2/health/live").status_code == 200
        assert station.client.get("/v2/health/ready").status_code == 503
        assert station.client.get("/v2/models/bundle/ready").status_code == 404
        assert station.client.post("/v1/models", json={"bundle": "missing"}).status_code == 409
        assert station.client.get("/v1/summary").json()["model"] is None
        assert station.client.get("/v1/models").json()["current"] is None


# --- A disk that cannot record -----------------------------------------------------------------

SERVE = """
import sys
from pathlib import Path
from defectseg.line.assembly import Line, Setup
from defectseg.line.server import serve
line = Line(Setup(Path(sys.argv[1]), bundle=Path(sys.argv[2])))
serve(line, host="127.0.0.1", port=0, token=None, on_start=lambda own: print(own, flush=True))
"""


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process as Linux does")
def test_what_cannot_be_recorded_is_no_pass_and_the_station_recovers_by_itself(
    bundle_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "station"
    words = [sys.executable, "-c", SERVE, str(folder), str(bundle_folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as own:
        try:
            assert own.stdout is not None
            address = own.stdout.readline().strip()
            with httpx.Client(base_url=address, timeout=30) as client:
                station = Running(None, address, client)  # type: ignore[arg-type]
                for _ in range(5):
                    check_works(station)
                # Files may grow to this size. The log that the ledger is written to first is as
                # large already, and pictures are smaller; then nothing may be written at all.
                check_recovery(station, own.pid, (folder / "ledger.sqlite-wal").stat().st_size)
                check_recovery(station, own.pid, 100)
        finally:
            own.terminate()
            own.communicate(timeout=30)


def check_recovery(station: Running, process: int, largest: int) -> None:
    def is_ready() -> bool:
        return station.client.get("/v2/health/ready").status_code == 200

    soft, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (largest, hard))
    data = new_image()
    for _ in range(3):
        answer = station.inspect(data, "full")
        assert answer.status_code == 503, answer.text
        assert answer.json()["outcome"] == "ERROR"
        assert not is_ready()
    shown = station.client.get("/v1/summary")
    assert shown.status_code == 200
    assert shown.json()["problems"]
    resource.prlimit(process, resource.RLIMIT_FSIZE, (soft, hard))
    deadline = time.monotonic() + 15
    while not is_ready() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert is_ready()
    again = station.inspect(data, "full")
    assert again.status_code == 200, again.text
    assert again.json()["final"] is True
