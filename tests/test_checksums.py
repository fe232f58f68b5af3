import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from defectseg.checksums import SUMS, file_sha256, find_altered, write_sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "one.txt").write_text("1")
    (tmp_path / "sub" / "two words.bin").write_bytes(b"\0\1")
    (tmp_path / "sub" / "deep" / "three").write_text("3")
    (tmp_path / "other").write_text("no part")
    write_sums(tmp_path, ["one.txt", "sub", "absent"])
    return tmp_path


def test_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_sums_name_the_files_and_those_below_folders(folder: Path) -> None:
    lines = (folder / SUMS).read_text().splitlines()
    assert [line[66:] for line in lines] == ["one.txt", "sub/deep/three", "sub/two words.bin"]
    assert lines[0][:64] == hashlib.sha256(b"1").hexdigest()
    assert find_altered(folder, ["one.txt", "sub"]) == []


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum on this machine")
def test_sha256sum_reads_them(folder: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", SUMS]
    assert subprocess.run(command, cwd=folder).returncode == 0


def test_everything_that_changed_is_named(folder: Path) -> None:
    (folder / "one.txt").write_text("one")
    (folder / "sub" / "deep" / "three").unlink()
    (folder / "other").write_text("still no part")
    assert find_altered(folder, ["one.txt", "other"]) == [
        f"other is not listed in {SUMS}",
        "one.txt was changed (its hash differs)",
        "sub/deep/three is missing",
    ]


@pytest.mark.parametrize("cut", [1, 10, 70, 90])
def test_cut_sums_are_damaged(folder: Path, cut: int) -> None:
    path = folder / SUMS
    path.write_bytes(path.read_bytes()[:-cut])
    assert f"{SUMS} is damaged" in find_altered(folder, ["one.txt"])


def test_what_is_no_list_of_sums_is_damaged(folder: Path) -> None:
    (folder / SUMS).write_bytes(b"\xff\xfe nothing\n")
    assert find_altered(folder, []) == [f"{SUMS} is damaged"]
