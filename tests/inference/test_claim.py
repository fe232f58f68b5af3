import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from defectseg.errors import DataError
from defectseg.inference.claim import LOCK, check_same_run, claim_output
from defectseg.inference.results import OutputError

posix = pytest.mark.skipif(os.name != "posix", reason="locks that end with their process")


@pytest.fixture
def claim(tmp_path: Path) -> Callable[..., None]:
    def claim(output: str, *, resume: bool = False) -> None:
        with claim_output(tmp_path / output, tmp_path / "in", resume=resume):
            (tmp_path / output / "result").touch()

    return claim


@pytest.mark.parametrize("output", ["empty", "new/deep", "killed"])
def test_new_and_empty_folders_are_free(
    tmp_path: Path, claim: Callable[..., None], output: str
) -> None:
    for name in ("empty", "killed"):
        (tmp_path / name).mkdir()
    (tmp_path / "killed" / LOCK).touch()  # of a run that was killed before it began
    claim(output)
    assert [path.name for path in (tmp_path / output).iterdir()] == ["result"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("full", "full is not empty; it is left as it is"),
        ("results", "results holds results of another run.*go on with that run by --resume"),
        ("killed", "killed holds results of another run.*go on with that run by --resume"),
        ("file", "file is not empty"),
        ("in/out", "in/out lies within .*in: its masks would be taken for images"),
        ("in/../in/x", "lies within"),
    ],
)
def test_folder_that_is_not_free_is_refused(
    tmp_path: Path, claim: Callable[..., None], output: str, message: str
) -> None:
    names = ("full/x", "results/predictions.csv", "killed/predictions.csv.part", "file", "in/a.png")
    for name in (*names, f"killed/{LOCK}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        claim(output)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert files - {f"killed/{LOCK}"} == {name for name in names if "." in name}
    assert not (tmp_path / "in" / "out").exists()


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path, claim: Callable[..., None]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written to: Not a directory"):
        claim("file/out")


def test_folders_that_nothing_came_to_are_gone_again(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        claim_output(tmp_path / "new" / "out", tmp_path / "in"),
    ):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@posix
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_is_claimed_once_at_a_time(
    tmp_path: Path, claim: Callable[..., None], resume: bool
) -> None:
    with claim_output(tmp_path / "out", tmp_path / "in"):
        (tmp_path / "out" / "predictions.csv.part").touch()
        before = set((tmp_path / "out").iterdir())
        with pytest.raises(DataError, match="Another run is writing to") as caught:
            claim("out", resume=resume)
        assert "--resume" not in str(caught.value)
        assert set((tmp_path / "out").iterdir()) == before
    claim("out", resume=True)


@posix
def test_a_killed_run_keeps_no_claim(tmp_path: Path, claim: Callable[..., None]) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from defectseg.inference.claim import claim_output\n"
        "with claim_output(Path(sys.argv[1]), Path('in')): os.kill(os.getpid(), signal.SIGKILL)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "out")]
    assert subprocess.run(words, check=False).returncode == -9
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]
    claim("out")


def test_what_was_killed_before_it_began_is_of_the_same_run(tmp_path: Path) -> None:
    for name in (LOCK, f".{'0' * 32}.part"):
        (tmp_path / name).touch()
    check_same_run(tmp_path, {"engine": "openvino"})
    (tmp_path / "run.json").write_text(json.dumps({"engine": "keras"}))
    with pytest.raises(DataError, match="engine was keras, now openvino"):
        check_same_run(tmp_path, {"engine": "openvino"})
