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
    monkeypatch: pytest.MonkeyPatch, requires: list[str], problem: str = "", works: str = ""
) -> dict[str, Finding]:
    """What is found where defectseg requires this, and all but one have this problem, or none."""
    real = metadata.requires
    monkeypatch.setattr(
        metadata, "requires", lambda name: requires if name == "defectseg" else real(name)
    )
    monkeypatch.setattr(
        libraries,
        "load_modules",
        lambda modules: {own: problem for own in modules if problem and own != works},
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


def test_an_extra_that_is_there_and_does_not_load_is_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = examine(monkeypatch, ['numpy; extra == "one"'], "ImportError: no libfoo")["one"]
    assert (found.state, found.found) == (
        "note",
        f"numpy {NUMPY} is broken: ImportError: no libfoo",
    )
    assert found.advice.endswith(f"pip install --force-reinstall --no-deps 'numpy=={NUMPY}'")


def test_what_tensorflow_breaks_is_not_to_be_installed_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requires = ["keras", "segmentation-models", "tensorflow"]
    found = examine(monkeypatch, requires, "ImportError: no libfoo")
    assert {name for name, own in found.items() if "pip install" in own.advice} == {"tensorflow"}
    for name in ("keras", "segmentation-models"):
        assert found[name].advice == "first see tensorflow, which it loads"
    # But where TensorFlow works, it is their own fault.
    found = examine(monkeypatch, requires, "ImportError: no libfoo", works="tensorflow")
    assert "'keras==" in found["keras"].advice
    assert found["segmentation-models"].advice == "first see keras, which it loads"


def test_without_an_installation_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    (finding,) = examine_libraries()
    assert (finding.name, finding.state) == ("defectseg", "note")


def test_a_library_that_crashes_is_named_and_the_next_ones_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeting = "import os; print('{ a greeting'); os.write(1, b'{ a native one\\n')"
    (tmp_path / "sound_one.py").write_text(greeting)
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


def test_a_library_that_hangs_is_named_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging_one.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *os.sys.path]))
    monkeypatch.setattr("defectseg.doctor.children._PATIENCE_S", 3)
    assert load_modules(["json", "hanging_one", "csv"]) == {"hanging_one": "no answer within 3 s"}
