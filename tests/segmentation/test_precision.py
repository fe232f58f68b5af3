import pytest
import tensorflow as tf

from defectseg.segmentation import precision
from defectseg.segmentation.precision import choose_precision


@pytest.mark.parametrize("wanted", ["float32", "bfloat16", "float16"])
def test_what_is_named_is_taken(wanted: str) -> None:
    assert choose_precision(wanted) == wanted


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
    monkeypatch: pytest.MonkeyPatch, flags: str, expected: str
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision, "read_cpu_info", lambda: "")
    assert choose_precision("auto") == "float32"  # of an unknown processor
    monkeypatch.setattr(precision, "read_cpu_info", lambda: f"flags : fpu {flags}\n")
    assert choose_precision("auto") == expected
