"""The machine: processor, memory, disk, and whether a station could listen."""

import errno
import os
import platform
import re
import shutil
import socket
from pathlib import Path

from defectseg.config import INSTALLED
from defectseg.doctor.findings import Finding
from defectseg.processor import BFLOAT16, INT8, count_cores, find_instructions, read_cpu_info
from defectseg.segmentation.weights import VARIABLE, weights_folder

MACHINE, FILES = "machine", "files"
_GB = 1e9
_LITTLE_MEMORY_GB = 4  # a training of configs/demo.yaml takes 2 to 3
_LITTLE_DISK_GB = 5
_PORT = 8000  # of `defectseg line`
_MEMORY = Path("/proc/meminfo")
# Of a container: what it may take, what it has taken, and of what kind that is.
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MEMORY_TAKEN = Path("/sys/fs/cgroup/memory.current")
_MEMORY_KINDS = Path("/sys/fs/cgroup/memory.stat")
_SHARED_MEMORY = Path("/dev/shm")


def examine_machine() -> list[Finding]:
    """Look at the machine; nothing of it is required, but for Python."""
    info = read_cpu_info()
    return [
        Finding(MACHINE, "Python", "ok", f"{platform.python_version()}, {platform.platform()}"),
        Finding(MACHINE, "processor", "ok", f"{_processor(info)}, {count_cores()} cores"),
        _precision(
            "bfloat16",
            find_instructions(info, BFLOAT16),
            "train.precision=auto means float32",
            info,
        ),
        _precision(
            "int8",
            find_instructions(info, INT8),
            "networks in int8 are slower, and may answer otherwise than where they were made",
            info,
        ),
        _memory(),
        _disk(),
        _shared_memory(),
        _port(),
    ]


def examine_files() -> list[Finding]:
    """Look for the files that commands need beside those they are given."""
    configs = sorted(path.name for path in INSTALLED.glob("*.yaml"))
    found = f"{INSTALLED}: {', '.join(configs)}"
    settings = Finding(FILES, "settings", "ok", found)
    if "demo.yaml" not in configs:
        advice = "install defectseg anew: configs/demo.yaml belongs to it"
        settings = Finding(FILES, "settings", "fault", f"{INSTALLED} has no demo.yaml", advice)
    return [settings, _weights()]


def _weights() -> Finding:
    folder = weights_folder()
    held = sorted(path.name for path in folder.glob("*notop.h5"))
    held += sorted(path.name for path in folder.glob("*no_top.h5"))
    if held:
        return Finding(FILES, "ImageNet weights", "ok", f"{folder}: {', '.join(held)}")
    advice = (
        "only for model.encoder_weights=imagenet: defectseg weights --backbone resnet18, on a "
        f"machine that is connected; {VARIABLE} names another folder"
    )
    return Finding(FILES, "ImageNet weights", "note", f"none in {folder}", advice)


def _processor(info: str) -> str:
    named = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _precision(name: str, instructions: list[str], without: str, info: str) -> Finding:
    if instructions:
        return Finding(MACHINE, name, "ok", f"fast: {', '.join(instructions)}")
    found = "no instructions for it" if info else "the system does not tell its instructions"
    return Finding(MACHINE, name, "note", f"{found}: {without}")


def _memory() -> Finding:
    kib = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _read(_MEMORY), re.MULTILINE))
    if "MemTotal" not in kib:
        return Finding(MACHINE, "memory", "note", "the system does not tell")
    total, free = (int(kib[key]) * 1024 / _GB for key in ("MemTotal", "MemAvailable"))
    limit = _read(_MEMORY_LIMIT).strip()
    if limit.isdecimal():
        total = min(total, int(limit) / _GB)
        free = min(free, max(0.0, (int(limit) - _taken_bytes()) / _GB))
    found = f"{free:.1f} of {total:.1f} GB free"
    if free < _LITTLE_MEMORY_GB:
        advice = "enough to predict, little to train: lower train.batch_size and train.cache_mb"
        return Finding(MACHINE, "memory", "note", found, advice)
    return Finding(MACHINE, "memory", "ok", found)


def _taken_bytes() -> int:
    """Return what a container has taken, less what the system gives back when it is needed."""
    taken = _read(_MEMORY_TAKEN).strip()
    files = re.search(r"^inactive_file (\d+)$", _read(_MEMORY_KINDS), re.MULTILINE)
    return int(taken) - (int(files[1]) if files else 0) if taken.isdecimal() else 0


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / _GB
    found = f"{free:.1f} GB free in {Path.cwd()}"
    if free < _LITTLE_DISK_GB:
        advice = "a station that cannot record passes nothing: make room"
        return Finding(MACHINE, "disk", "note", found, advice)
    return Finding(MACHINE, "disk", "ok", found)


def _shared_memory() -> Finding:
    if not _SHARED_MEMORY.is_dir():
        return Finding(MACHINE, "shared memory", "ok", f"no {_SHARED_MEMORY} here")
    free = shutil.disk_usage(_SHARED_MEMORY).free / _GB
    return Finding(MACHINE, "shared memory", "ok", f"{free:.2f} GB free in {_SHARED_MEMORY}")


def _port() -> Finding:
    with socket.socket() as listener:
        # As the station's own server does: what it left in the system a minute ago is no hindrance.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", _PORT))
        except OSError as error:
            reason = "in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
            advice = "another station? Choose another for this one: defectseg line --port 8001"
            return Finding(MACHINE, f"port {_PORT}", "note", reason, advice)
    return Finding(MACHINE, f"port {_PORT}", "ok", "free: a station can listen")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
