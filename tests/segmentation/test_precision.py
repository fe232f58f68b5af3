from pathlib import Path

import pytest
import tensorflow as tf

from defectseg.segmentation import precision
from defectseg.segmentation.precision import choose_precision, cpu_has_bfloat16


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
def test_what_is_named_is_taken(wanted: str) -> None:
    assert choose_precision(wanted) == wanted


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse2 avx512f avx512_bf16 sha", True),
        ("fpu avx2 amx_bf16 amx_tile", True),
        ("fpu avx512f avx512_vnni", False),
        ("fpu avx512_bf16x", False),
        ("", False),
    ],
)
def test_a_processor_is_asked_for_its_instructions(flags: str, expected: bool) -> None:
    assert cpu_has_bfloat16(f"model name\t: A CPU\nflags\t\t: {flags}\n") is expected


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "float32"), ((8, 0), "bfloat16"), (None, "float32")]
)
def test_a_gpu_is_asked_for_its_generation(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None, expected: str
) -> None:
    details = {"compute_capability": capability} if capability else {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one", "two"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert choose_precision("auto") == expected


@pytest.mark.parametrize(("flags", "expected"), [("avx512_bf16", "bfloat16"), ("", "float32")])
def test_without_a_gpu_the_processor_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, expected: str
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "cpuinfo")
    assert choose_precision("auto") == "float32"  # of an unknown processor
    (tmp_path / "cpuinfo").write_text(f"flags : fpu {flags}\n")
    assert choose_precision("auto") == expected
