"""Who may come in, and how the server ends; what clients may do is in `test_hostile`."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from defectseg.errors import ConfigError, DefectsegError
from defectseg.line.assembly import Line, Setup
from defectseg.line.guard import cookie_for
from defectseg.line.ledger import open_ledger
from defectseg.line.schemas import NAME_PATTERN, one_line
from defectseg.line.server import make_server, read_token, serve
from tests.line.conftest import Running
from tests.line.test_hostile import SERVE, connect, head, new_image

# --- Names and lines ---------------------------------------------------------------------------


@given(st.text())
@example("a\nb\x1b[31m\u202e\ud800")
def test_a_line_of_the_log_is_one_line_of_letters_that_are_seen(text: str) -> None:
    assert one_line(text).isprintable()
    assert one_line(text, 10**6).count("\n") == 0


def test_what_is_seen_stays_as_it_is() -> None:
    assert one_line("Gehäuse 7/12 部品 😀") == "Gehäuse 7/12 部品 😀"
    assert one_line("a\nb\0\x1b\u202e") == r"a\nb\x00\x1b\u202e"
    assert one_line("x" * 1000, 10) == "x" * 10


@given(st.from_regex(NAME_PATTERN, fullmatch=True))
def test_a_name_is_one_line_without_two_dots(name: str) -> None:
    assert ".." not in name
    assert name.strip()
    assert len(name.splitlines()) == 1
    assert not {unicodedata.category(letter) for letter in name} & {"Cc", "Zl", "Zp"}
    assert not any(unicodedata.bidirectional(letter) in DIRECTIONS for letter in name)


# What embeds, overrides, isolates or ends a direction of writing.
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    "name", ["1", "part 7", "a.b.c", ".hidden", "end.", "A/B-7_c", "Gehäuse", "部品", "x" * 200]
)
def test_ordinary_names_are_names(name: str) -> None:
    assert re.fullmatch(NAME_PATTERN, name)


# --- Tokens ------------------------------------------------------------------------------------


def test_the_token_comes_from_a_file_or_else_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("  from the file \n")
    assert read_token(file, "from the environment") == "from the file"
    assert read_token(None, "from the environment") == "from the environment"
    assert read_token(None, "") is None
    assert read_token(None, None) is None


def test_a_token_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        with pytest.raises(ConfigError, match="--token-file"):
            read_token(file, "never in its place")


def test_the_cookie_does_not_tell_the_token() -> None:
    token = "0123456789abcdef"
    assert token not in cookie_for(token)
    assert cookie_for(token) == cookie_for(token)
    assert cookie_for(token) != cookie_for(token + "0")


# --- The server's beginning and end ------------------------------------------------------------


def test_an_address_in_use_is_a_clear_error(
    start_line: Callable[..., Running], tmp_path: Path
) -> None:
    port = int(start_line().address.rpartition(":")[2])
    other = Line(Setup(tmp_path / "other"))
    try:
        with pytest.raises(DefectsegError, match=f"127.0.0.1:{port} cannot be used.*--port"):
            serve(other, host="127.0.0.1", port=port, token=None)
    finally:
        other.close()


def test_a_station_listens_on_ipv6_too(tmp_path: Path) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    address: list[str] = []
    ready = threading.Event()

    def tell(own: str) -> None:
        address.append(own)
        ready.set()

    line = Line(Setup(tmp_path / "station"))
    server = make_server(line, host="::1", port=0, token=None, on_start=tell)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(30)
        assert address[0].startswith("http://[::1]:")
        assert httpx.get(f"{address[0]}/v2/health/live").status_code == 200
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_station_though_clients_hang_on(
    bundle_folder: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    words = [sys.executable, "-c", SERVE, str(tmp_path / "station"), str(bundle_folder)]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ignored by all that is started in the background of a shell, as these tests may be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            with httpx.Client(base_url=address, timeout=30) as client:
                station = Running(None, address, client)  # type: ignore[arg-type]
                number = station.inspect(new_image(), "before the end").json()["id"]
                with (
                    connect(station),  # says nothing
                    connect(station) as half,
                    connect(station) as listener,
                    connect(station) as unread,
                ):
                    half.sendall(b"GET /v1/summary HTTP/1.1\r\nHost: ")
                    listener.sendall(head("GET /v1/stream HTTP/1.1"))
                    unread.sendall(head(f"GET /v1/inspections/{number}/image HTTP/1.1"))
                    assert listener.recv(4096).startswith(b"HTTP/1.1 200")
                    begun = time.monotonic()
                    process.send_signal(sent)
                    _, printed = process.communicate(timeout=30)  # what it says if it fails
                    assert time.monotonic() - begun < 5
        finally:
            process.kill()
    # The signal is handed on, once all is closed and recorded.
    assert process.returncode in {-sent, 1, 130}, printed
    with closing(open_ledger(tmp_path / "station")) as ledger:
        events = [row["kind"] for row in ledger.execute("SELECT kind FROM events ORDER BY id")]
    assert events[-1] == "STOPPED"
