"""The libraries: what `defectseg` asks for, what is installed, and whether it can be loaded."""

import re
from collections import defaultdict
from collections.abc import Sequence
from importlib import metadata

from packaging.requirements import Requirement

from defectseg.doctor.children import BrokenError, run_child
from defectseg.doctor.findings import Finding

LIBRARY, EXTRA = "library", "extra"
_NO_EXTRAS = {"dev"}
# What is imported, where it is not called as what is installed.
_MODULES = {
    "mlflow-skinny": "mlflow",
    "opencv-python-headless": "cv2",
    "paho-mqtt": "paho.mqtt",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    # It is loaded by this module alone, which sets it up first.
    "segmentation-models": "defectseg.segmentation.unet",
}


def examine_libraries() -> list[Finding]:
    """Look for every library that is required, and load it; then for those of extras."""
    try:
        wanted = _read_requirements(metadata.requires("defectseg") or [])
    except metadata.PackageNotFoundError:
        advice = "pip install -r requirements.txt, then pip install --no-deps -e ."
        found = "it runs from a folder, so that what it needs is not known"
        return [Finding(LIBRARY, "defectseg", "note", found, advice)]
    required = wanted.pop("", [])
    installed = {own.name: _version(own.name) for own in required}
    there = [own for own in required if installed[own.name]]
    problems = load_modules([module_of(own.name) for own in there])
    findings = [
        _judge(own, installed[own.name], problems.get(module_of(own.name), "")) for own in required
    ]
    return [*findings, *(_extra(name, own) for name, own in wanted.items())]


def _read_requirements(lines: Sequence[str]) -> dict[str, list[Requirement]]:
    """Return what is required on this machine, by extra; those of all under an empty name."""
    wanted = defaultdict(list)
    for line in lines:
        own = Requirement(line)
        named = re.search(r"extra == ['\"]([\w-]+)['\"]", str(own.marker or ""))
        extra = named[1] if named else ""
        if extra in _NO_EXTRAS or (own.marker and not own.marker.evaluate({"extra": extra})):
            continue
        wanted[extra].append(own)
    return wanted


def module_of(library: str) -> str:
    """Return what is imported of a library."""
    return _MODULES.get(library, library.replace("-", "_"))


def load_modules(modules: Sequence[str]) -> dict[str, str]:
    """Import modules in a process of its own; return what is wrong with those that fail.

    After a crash it goes on with the next one in another process.
    """
    problems: dict[str, str] = {}
    left = list(modules)
    while left:
        try:
            for report in run_child("libraries", left):
                left.remove(report["module"])
                if report["error"]:
                    problems[report["module"]] = report["error"]
        except BrokenError as error:
            if not left:
                break  # at the very end, with everything loaded
            problems[left.pop(0)] = str(error)
    return problems


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _judge(wanted: Requirement, version: str, problem: str) -> Finding:
    """Return what is to be said of a required library."""
    install = f"pip install '{wanted.name}{wanted.specifier}'"
    if not version:
        return Finding(LIBRARY, wanted.name, "fault", "missing", install)
    if not wanted.specifier.contains(version, prereleases=True):
        found = f"{version}; expected {wanted.specifier}"
        return Finding(LIBRARY, wanted.name, "fault", found, install)
    if problem:
        advice = f"pip install --force-reinstall --no-deps '{wanted.name}=={version}'"
        return Finding(LIBRARY, wanted.name, "fault", f"{version} is broken: {problem}", advice)
    return Finding(LIBRARY, wanted.name, "ok", version)


def _extra(extra: str, wanted: Sequence[Requirement]) -> Finding:
    """Return what is to be said of libraries that one use alone needs."""
    missing = [own for own in wanted if not _is_whole(own)]
    found = ", ".join(
        f"{_named(own)} {'missing' if own in missing else _version(own.name)}" for own in wanted
    )
    if not missing:
        return Finding(EXTRA, extra, "ok", found)
    named = " ".join(f"'{_named(own)}{own.specifier}'" for own in missing)
    return Finding(EXTRA, extra, "note", found, f"only if it is wanted: pip install {named}")


def _named(wanted: Requirement) -> str:
    return wanted.name + (f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else "")


def _is_whole(wanted: Requirement) -> bool:
    """Tell whether a library is installed, with those that its own extras add."""
    if not _version(wanted.name):
        return False
    added = _read_requirements(metadata.requires(wanted.name) or [])
    return all(_version(own.name) for extra in wanted.extras for own in added.get(extra, []))
