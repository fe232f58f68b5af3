import importlib
import os
from importlib import metadata
from pathlib import Path

import pytest

from defectseg.doctor import libraries
from defectseg.doctor.findings import Finding
from defectseg.doctor.libraries import examine_libraries, load_modules, module_of

NUMPY = metadata.version("numpy")


def examine(
    monkeypatch: pytest.MonkeyPatch, requires: list[str], problem: str = ""
) -> dict[str, Finding]:
    """What is found where defectseg requires this, and all of it loads or has this problem."""
    real = metadata.requires
    monkeypatch.setattr(
        metadata, "requires", lambda name: requires if name == "defectseg" else real(name)
    )
    monkeypatch.setattr(
        libraries,
        "load_modules",
        lambda modules: dict.fromkeys(modules, problem) if problem else {},
    )
    return {finding.name: finding for finding in examine_libraries()}


def test_every_library_that_is_required_is_known_by_what_is_imported() -> None:
    for line in metadata.requires("defectseg") or []:
        if "extra ==" not in line:
            name = libraries.Requirement(line).name
            importlib.import_module(module_of(name))


def test_what_is_there_is_told_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examine(monkeypatch, ["numpy>=1"])["numpy"]
    assert (found.state, found.found) == ("ok", NUMPY)


@pytest.mark.parametrize(
    ("line", "problem", "found", "advice"),
    [
        ("nosuch-library>=2", "", "missing", "pip install 'nosuch-library>=2'"),
        ("numpy>=99", "", f"{NUMPY}; expected >=99", "pip install 'numpy>=99'"),
        (
            "numpy>=1",
            "ImportError: no libfoo",
            f"{NUMPY} is broken: ImportError: no libfoo",
            f"pip install --force-reinstall --no-deps 'numpy=={NUMPY}'",
        ),
    ],
)
def test_what_is_required_and_does_not_work_is_a_fault_with_the_way_out(
    line: str, problem: str, found: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finding,) = examine(monkeypatch, [line], problem).values()
    assert (finding.state, finding.found, finding.advice) == ("fault", found, advice)


def test_an_extra_that_is_missing_is_a_note_and_other_machines_are_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = examine(
        monkeypatch,
        [
            'nosuch-one>=2; extra == "one"',
            'numpy; extra == "one"',
            'numpy; extra == "two"',
            'nosuch-dev; extra == "dev"',
            'nosuch-windows; sys_platform == "none"',
        ],
    )
    assert set(found) == {"one", "two"}
    assert found["two"].state == "ok"
    assert (found["one"].state, found["one"].found) == (
        "note",
        f"nosuch-one missing, numpy {NUMPY}",
    )
    assert found["one"].advice.endswith("pip install 'nosuch-one>=2'")


def test_without_an_installation_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    (finding,) = examine_libraries()
    assert (finding.name, finding.state) == ("defectseg", "note")


def test_a_library_that_crashes_is_named_and_the_next_ones_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sound_one.py").write_text("print('{ a greeting')")
    (tmp_path / "broken_one.py").write_text("raise ImportError('no libfoo\\nat all')")
    (tmp_path / "crashing_one.py").write_text("import os, signal; os.kill(os.getpid(), 4)")
    (tmp_path / "leaving_one.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *os.sys.path]))
    modules = ["sound_one", "broken_one", "crashing_one", "leaving_one", "json"]
    assert load_modules(modules) == {
        "broken_one": "ImportError: no libfoo",
        "crashing_one": "it crashed by SIGILL",
        "leaving_one": "SystemExit: 3",
    }
