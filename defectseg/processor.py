"""What the processor has: cores, and instructions that make a precision fast."""

import os
from pathlib import Path

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
# Products of 8-bit numbers summed in 32 bits; without them sums of pairs are cut off at 16.
INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
CPU_INFO = Path("/proc/cpuinfo")  # of Linux; elsewhere nothing is known


def count_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_cpu_info(path: Path = CPU_INFO) -> str:
    """Return what the system tells of its processors; empty where it does not."""
    return path.read_text(errors="replace") if path.is_file() else ""


def find_instructions(cpu_info: str, wanted: frozenset[str]) -> list[str]:
    """Return which of the wanted instructions ``/proc/cpuinfo`` names."""
    return sorted(wanted.intersection(cpu_info.split()))
