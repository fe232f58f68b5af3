import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import classification_models.weights
import h5py
import keras
import keras_applications.mobilenet_v2
import numpy as np
import pytest
from typer.testing import CliRunner

from defectseg.cli import app
from defectseg.config import ModelSettings
from defectseg.errors import ConfigError
from defectseg.segmentation.unet import build_core, find_imagenet_source
from defectseg.segmentation.weights import VARIABLE, Source, have_weights, weights_folder

CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256))
MD5 = hashlib.md5(CONTENT).hexdigest()
NARROW = (16, 16, 8, 8, 8)


class _Served(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


class _BreaksOff(BaseHTTPRequestHandler):
    """Promises a byte more than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) + 1))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *arguments: object) -> None:
        pass


def serve(handler: object) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A real server on this machine, of the files in `served`."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "w.h5").write_bytes(CONTENT)
    yield from serve(partial(_Served, directory=tmp_path / "served"))


@pytest.fixture
def breaking() -> Iterator[str]:
    yield from serve(_BreaksOff)


def source(address: str, digest: str | None = MD5, *, scheme: str = "http") -> Source:
    return Source("resnet18", "w.h5", f"{scheme}://{address}/w.h5", digest)


def test_weights_are_fetched_once_and_kept(address: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = have_weights(source(address), on_bytes=lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "cache" / "w.h5"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    # There is nobody at this address: it is not asked.
    assert have_weights(source("127.0.0.1:1")) == path


def test_without_an_own_folder_they_lie_where_keras_keeps_its(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "models"


def test_what_has_another_digest_is_refused_and_not_kept(address: str, tmp_path: Path) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ConfigError, match=f"damaged, or another file: its SHA256.*be {other}"):
        have_weights(source(address, other))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_page_in_place_of_weights_is_refused_even_where_no_digest_is_stated(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "served" / "w.h5").write_text("<html>Log in to this network")
    with pytest.raises(ConfigError, match="not HDF5"):
        have_weights(source(address, None))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("digest", [MD5, None])
def test_a_download_that_breaks_off_leaves_nothing(
    breaking: str, digest: str | None, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="broke off after 264 of 265 bytes"):  # 8 + 256
        have_weights(source(breaking, digest))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("digest", [MD5, None])
def test_a_file_that_was_damaged_on_the_way_is_fetched_anew_or_named(
    address: str, digest: str | None
) -> None:
    path = have_weights(source(address, digest))
    damaged = CONTENT[:-1] + b"?"
    path.write_bytes(damaged)
    with pytest.raises(ConfigError, match=r"resnet18 are in .*, but its .*Connection refused"):
        have_weights(source("127.0.0.1:1", digest))
    assert path.read_bytes() == damaged
    have_weights(source(address, digest))
    assert path.read_bytes() == CONTENT


def test_a_copy_without_its_noted_digest_is_not_trusted(address: str, tmp_path: Path) -> None:
    path = have_weights(source(address, None))
    note = path.with_name("w.h5.sha256")
    note.unlink()
    with pytest.raises(
        ConfigError, match=r"but w\.h5\.sha256 is not .* copy w\.h5 with w\.h5\.sha256 from"
    ):
        have_weights(source("127.0.0.1:1", None))
    have_weights(source(address, None))
    assert note.is_file()
    # Where a digest is stated there is no note to copy.
    with pytest.raises(ConfigError, match=r"copy w\.h5 from"):
        have_weights(source("127.0.0.1:1"), tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [("http", "the answer was 404 File not found"), ("https", r"SSL.*SSL_CERT_FILE")],
)
def test_what_stands_in_the_way_is_named(address: str, scheme: str, reason: str) -> None:
    url = f"{scheme}://{address}/absent.h5"
    with pytest.raises(ConfigError, match=reason):
        have_weights(Source("resnet18", "w.h5", url, MD5))


def test_without_a_network_one_message_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nobody answers, whatever the network
    settings = ModelSettings(encoder_weights="imagenet", decoder_filters=NARROW)
    with pytest.raises(ConfigError) as error:
        build_core(settings, pretrained=True)
    message = str(error.value)
    for part in (
        "weights of resnet18",
        f"not in {tmp_path / 'cache'}",
        "defectseg weights --backbone resnet18",
        "resnet18_imagenet_1000_no_top.h5",
        VARIABLE,
        "model.encoder_weights=null",
    ):
        assert part in message


def write_legacy_weights(model: keras.Model, path: Path) -> None:
    """Write weights in the HDF5 layout of Keras 2, in which the published ones are."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["keras_version"] = b"2.2.4"
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2"])
def test_a_network_begins_with_the_weights_that_were_fetched_before(
    backbone: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ModelSettings(
        backbone=backbone, encoder_weights="imagenet", decoder_filters=NARROW, channels=1
    )
    published = build_core(settings, pretrained=False)
    # The encoder alone, up to its end: what the decoder has is not published.
    end = "relu1" if backbone == "resnet18" else "out_relu"
    encoder = keras.Model(published.inputs, published.get_layer(end).output)
    file = find_imagenet_source(backbone).file
    write_legacy_weights(encoder, tmp_path / "served" / file)
    if backbone == "resnet18":
        entry = classification_models.weights._find_weights(backbone, "imagenet", False)[0]
        md5 = hashlib.md5((tmp_path / "served" / file).read_bytes()).hexdigest()
        monkeypatch.setitem(entry, "url", f"http://{address}/{file}")
        monkeypatch.setitem(entry, "md5", md5)
    else:
        module = keras_applications.mobilenet_v2
        monkeypatch.setattr(module, "BASE_WEIGHT_PATH", f"http://{address}/")

    asked = CliRunner().invoke(app, ["weights", "--backbone", backbone])
    assert (asked.exit_code, str(tmp_path / "cache") in asked.output) == (0, True), asked.output
    assert ("no checksum" in asked.output) == (backbone == "mobilenetv2")
    # The machine without a network, to which the folder was carried.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    core = build_core(settings, pretrained=True)
    for layer in filter(lambda layer: layer.weights, encoder.layers):
        for ours, theirs in zip(core.get_layer(layer.name).weights, layer.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
