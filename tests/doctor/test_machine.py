import socket
from pathlib import Path

import pytest

from defectseg.doctor import machine
from defectseg.doctor.findings import Finding
from defectseg.doctor.machine import examine_files, examine_machine
from defectseg.segmentation.weights import VARIABLE


def find(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def test_nothing_of_a_machine_is_a_fault() -> None:
    found = examine_machine()
    assert {finding.state for finding in found} <= {"ok", "note"}
    assert len({finding.name for finding in found}) == len(found)


@pytest.mark.parametrize(("flags", "state"), [("avx2 avx512_vnni", "ok"), ("avx2", "note")])
def test_the_processor_decides_what_int8_is_worth(
    flags: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = f"model name\t: A CPU\nflags\t\t: fpu {flags}\n"
    monkeypatch.setattr(machine, "read_cpu_info", lambda: info)
    found = examine_machine()
    assert find(found, "int8").state == state
    assert find(found, "processor").found.startswith("A CPU, ")
    assert find(found, "bfloat16").found.endswith("train.precision=auto means float32")


@pytest.mark.parametrize(
    ("limit", "taken", "expected", "state"),
    [
        ("max", "1500000000", "12.0 of 20.0 GB free", "ok"),
        ("2000000000", "", "2.0 of 2.0 GB free", "note"),
        # Of 3.5 GB taken, 0.5 GB are files that were read and are not needed any more.
        ("6000000000", "3500000000", "3.0 of 6.0 GB free", "note"),
        ("6000000000", "6600000000", "0.0 of 6.0 GB free", "note"),
    ],
)
def test_a_containers_memory_is_what_it_may_take(
    limit: str,
    taken: str,
    expected: str,
    state: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 20e9 / 1024 and 12e9 / 1024 KiB.
    (tmp_path / "info").write_text("MemTotal:  19531250 kB\nMemAvailable:  11718750 kB\n")
    (tmp_path / "limit").write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "_MEMORY", tmp_path / "info")
    (tmp_path / "kinds").write_text("file 700000000\ninactive_file 500000000\n")
    (tmp_path / "taken").write_text(f"{taken}\n")
    monkeypatch.setattr(machine, "_MEMORY_LIMIT", tmp_path / "limit")
    monkeypatch.setattr(machine, "_MEMORY_TAKEN", tmp_path / "taken")
    monkeypatch.setattr(machine, "_MEMORY_KINDS", tmp_path / "kinds")
    found = find(examine_machine(), "memory")
    assert (found.found, found.state) == (expected, state)


def test_where_the_system_tells_nothing_it_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_MEMORY", "_MEMORY_LIMIT", "_SHARED_MEMORY"):
        monkeypatch.setattr(machine, name, tmp_path / "absent")
    monkeypatch.setattr(machine, "read_cpu_info", lambda: "")
    found = examine_machine()
    assert find(found, "memory").state == "note"
    assert "does not tell" in find(found, "int8").found


def test_a_port_that_is_taken_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(machine, "_PORT", port)
        found = find(examine_machine(), f"port {port}")
    assert (found.state, found.found) == ("note", "in use")
    assert "--port" in found.advice


def test_weights_are_found_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    found = find(examine_files(), "ImageNet weights")
    assert (found.state, "defectseg weights" in found.advice) == ("note", True)
    (tmp_path / "resnet18_imagenet_1000_no_top.h5").touch()
    found = find(examine_files(), "ImageNet weights")
    assert (found.state, "resnet18_imagenet" in found.found) == ("ok", True)


def test_settings_that_are_missing_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(examine_files(), "settings").state == "ok"
    monkeypatch.setattr(machine, "INSTALLED", tmp_path)
    assert find(examine_files(), "settings").state == "fault"
