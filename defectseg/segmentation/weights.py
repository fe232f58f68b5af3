"""ImageNet weights of encoders: fetched once, and kept in a folder that can be carried."""

import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from defectseg.atomic import staged_file, write_atomically
from defectseg.checksums import file_sha256
from defectseg.errors import ConfigError

VARIABLE = "DEFECTSEG_WEIGHTS"
_TIMEOUT_S = 30  # without a byte
_BLOCK = 1 << 20
_HDF5 = b"\x89HDF\r\n\x1a\n"  # how every such file begins
_MD5_DIGITS = 32
_PROXY_ASKS = 407


@dataclass(frozen=True)
class Source:
    """Where the weights of a backbone come from.

    Attributes
    ----------
    backbone : str
    file : str
        Its name.
    url : str
    digest : str or None
        MD5 or SHA-256, in hexadecimal, that its maker states. For MobileNet none is stated.
    """

    backbone: str
    file: str
    url: str
    digest: str | None


def weights_folder() -> Path:
    """Return the folder of weights: what `VARIABLE` names, or that of Keras itself."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"


def have_weights(
    source: Source,
    folder: Path | None = None,
    on_bytes: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Return the file of a backbone's weights; fetch it, if it is not there or damaged.

    Parameters
    ----------
    source : Source
    folder : Path or None
        None: `weights_folder`.
    on_bytes : callable
        Called with the bytes that came so far, and their total; 0 if it is not known.

    Raises
    ------
    ConfigError
        If they can not be had. Nothing half fetched is left.
    """
    folder = folder or weights_folder()
    path = folder / source.file
    there = path.is_file()
    damage = find_damage(path, source.digest) if there else ""
    if there and not damage:
        return path
    try:
        _fetch(source, path, on_bytes)
    except (OSError, http.client.HTTPException, ValueError) as error:
        files = source.file if source.digest else f"{source.file} with {_note(path).name}"
        state = f"in {folder}, but {damage}" if there else f"not in {folder}"
        raise ConfigError(
            f"The ImageNet weights of {source.backbone} are {state}, and could not be "
            f"fetched from {source.url}: {_explain(error)}. On a "
            f"machine that is connected run: defectseg weights --backbone {source.backbone}, and "
            f"copy {files} from the folder that it names to {folder} (or have the "
            f"environment variable {VARIABLE} name another). Or train without them: "
            "model.encoder_weights=null."
        ) from error
    return path


def find_damage(path: Path, digest: str | None) -> str:
    """Return what is wrong with a file of weights, in words; empty if nothing is.

    Where no digest is stated, it is held against the one that was noted when it was fetched.
    """
    if digest is None:
        return _differs_from_note(path)
    with path.open("rb") as file:
        kind = "md5" if len(digest) == _MD5_DIGITS else "sha256"
        found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    if found.hexdigest() != digest:
        return f"its {kind.upper()} is {found.hexdigest()}, and should be {digest}"
    return ""


def _differs_from_note(path: Path) -> str:
    note = _note(path)
    if not note.is_file():
        return f"{note.name} is not beside it"
    if note.read_text(errors="replace").split()[:1] != [file_sha256(path)]:
        return f"its SHA-256 is not that of {note.name}"
    return ""


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _fetch(source: Source, path: Path, on_bytes: Callable[[int, int], None]) -> None:
    with staged_file(path) as stage:
        with (
            urllib.request.urlopen(source.url, timeout=_TIMEOUT_S) as answer,
            stage.open("wb") as file,
        ):
            total = int(answer.headers.get("Content-Length") or 0)
            while block := answer.read(_BLOCK):
                file.write(block)
                on_bytes(file.tell(), total)
            if total and file.tell() != total:
                raise OSError(f"it broke off after {file.tell():,} of {total:,} bytes")
        with stage.open("rb") as file:
            if file.read(len(_HDF5)) != _HDF5:
                raise OSError("what came is not HDF5, the format of weights")
        if source.digest is None:
            write_atomically(_note(path), f"{file_sha256(stage)}  {path.name}\n")
        elif damage := find_damage(stage, source.digest):
            raise OSError(f"what came is damaged, or another file: {damage}")


def _explain(error: Exception) -> str:
    """Return why nothing came, and what helps against it on the way."""
    if isinstance(error, urllib.error.HTTPError):
        reason: object = f"the answer was {error.code} {error.reason}"
    else:
        reason = getattr(error, "reason", error)
    through_proxy = getattr(error, "code", None) == _PROXY_ASKS or isinstance(reason, ssl.SSLError)
    hint = " (a proxy is named by HTTPS_PROXY, its certificate by SSL_CERT_FILE)"
    return f"{str(reason) or type(error).__name__}{hint if through_proxy else ''}"
