"""``SHA256SUMS``: what a folder held when it was finished, as ``sha256sum --check`` reads it."""

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from defectseg.atomic import write_atomically

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path, parts: Iterable[str]) -> None:
    """Write the hashes of files, and of all files below folders.

    Parameters
    ----------
    folder : Path
    parts : iterable of str
        Files and folders in it.
    """
    files = sorted(
        file.relative_to(folder).as_posix()
        for part in parts
        for file in (folder / part, *(folder / part).rglob("*"))
        if file.is_file()
    )
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in files]
    write_atomically(folder / SUMS, "".join(lines))


def find_altered(folder: Path, needed: Iterable[str]) -> list[str]:
    """Return what is not as `write_sums` saw it, in words.

    Parameters
    ----------
    folder : Path
    needed : iterable of str
        Files, and folders with files, that must be among the listed.

    Returns
    -------
    list of str
        Empty if all is well.
    """
    text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    listed = {match[2]: match[1] for line in text.splitlines() if (match := _LINE.fullmatch(line))}
    problems = [
        f"{name} is not listed in {SUMS}"
        for name in needed
        if name not in listed and not any(own.startswith(f"{name}/") for own in listed)
    ]
    if len(listed) != len(text.splitlines()) or not text.endswith("\n"):
        problems.append(f"{SUMS} is damaged")
    there = {name: folder / name for name in listed if (folder / name).is_file()}
    with ThreadPoolExecutor() as pool:  # a bundle has some hundred megabytes
        found = dict(zip(there, pool.map(file_sha256, there.values()), strict=True))
    for name, sha256 in listed.items():
        if name not in found:
            problems.append(f"{name} is missing")
        elif found[name] != sha256:
            problems.append(f"{name} was changed (its hash differs)")
    return problems


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
