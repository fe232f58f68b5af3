from contextlib import suppress
from pathlib import Path

import pytest

from defectseg.atomic import staged_folder, write_atomically


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones included, with its text."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in files}


def test_file_is_written_into_new_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.txt"
    write_atomically(path, b"old")
    write_atomically(path, "größer")
    assert contents(tmp_path) == {"a/b/x.txt": "größer"}


def test_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("n" * 255), "x")
    assert contents(tmp_path) == {"n" * 255: "x"}


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "x.txt", "\udce9")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", "new")
    assert contents(tmp_path) == {"x.txt": "old"}


def test_staged_folder_takes_the_place_of_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "new parent" / "target"
    for name in ("first", "second"):
        with staged_folder(target) as stage:
            (stage / name).write_text("x")
            # Until the end of the block the target is as it was.
            assert (name == "second") == target.exists()
        assert contents(tmp_path) == {f"new parent/target/{name}": "x"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_stage_leaves_the_target_as_it_was(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("x")
    with suppress(error), staged_folder(target) as stage:
        (stage / "half").write_text("y")
        raise error
    assert contents(tmp_path) == {"target/old": "x"}
    assert list(tmp_path.iterdir()) == [target]
