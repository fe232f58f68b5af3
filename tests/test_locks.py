import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from defectseg.locks import locked, open_locked

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks that end with their process")


def test_a_lock_is_had_once_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(2):
        with locked(path):
            with pytest.raises(BlockingIOError):
                open_locked(path)
            assert path.exists()
        assert not path.exists()


def test_a_killed_process_leaves_a_file_that_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, signal, sys; from pathlib import Path; from defectseg.locks import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.exists()
    open_locked(path).close()


def test_a_file_that_its_holder_removes_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from defectseg import locks

    path = tmp_path / "lock"
    lock = locks._lock
    calls = []

    def lock_late(file: IO[bytes]) -> None:
        calls.append(file)
        if len(calls) == 1:  # it was opened; now whoever had it goes
            path.unlink()
        lock(file)

    monkeypatch.setattr(locks, "_lock", lock_late)
    with open_locked(path) as file:
        assert os.fstat(file.fileno()).st_ino == path.stat().st_ino
    assert len(calls) == 2


def test_where_a_file_is_never_the_one_of_its_name_only_who_needs_a_lock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.samestat", lambda one, other: False)
    with locked(tmp_path / "lock"):
        pass
    with pytest.raises(OSError, match=r"[Nn]o locks"):
        open_locked(tmp_path / "lock")


def test_who_is_denied_the_lock_is_told_that_another_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from defectseg import locks

    def deny(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(locks.fcntl, "flock", deny)
    with pytest.raises(BlockingIOError), locked(tmp_path / "lock"):
        pass


def test_where_there_are_no_locks_only_who_needs_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from defectseg import locks

    monkeypatch.setattr(locks, "fcntl", None)
    with locked(tmp_path / "lock"), locked(tmp_path / "lock"):
        pass
    with pytest.raises(OSError, match="not supported"):
        open_locked(tmp_path / "lock")
