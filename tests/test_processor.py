from pathlib import Path

import pytest

from defectseg.processor import BFLOAT16, INT8, find_instructions, read_cpu_info


@pytest.mark.parametrize(
    ("flags", "wanted", "expected"),
    [
        ("fpu sse2 avx512f avx512_bf16 sha", BFLOAT16, ["avx512_bf16"]),
        ("fpu avx2 amx_bf16 amx_tile", BFLOAT16, ["amx_bf16"]),
        ("fpu avx512f avx512_vnni", BFLOAT16, []),
        ("fpu avx512f avx512_vnni", INT8, ["avx512_vnni"]),
        ("fpu avx512_bf16x", BFLOAT16, []),
        ("", INT8, []),
    ],
)
def test_a_processor_is_asked_for_its_instructions(
    flags: str, wanted: frozenset[str], expected: list[str]
) -> None:
    info = f"model name\t: A CPU\nflags\t\t: {flags}\n"
    assert find_instructions(info, wanted) == expected


def test_where_the_system_does_not_tell_nothing_is_known(tmp_path: Path) -> None:
    assert read_cpu_info(tmp_path / "absent") == ""
