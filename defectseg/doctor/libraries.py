"""The libraries: what `defectseg` asks for, what is installed, and whether it can be loaded."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
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
    "ray": "ray.data",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    # It is loaded by this module alone, which sets it up first.
    "segmentation-models": "defectseg.segmentation.unet",
}
# What others load, and fail where it does.
_LOADED_BY = {"keras": ["tensorflow"], "segmentation-models": ["tensorflow", "keras"]}


def examine_libraries() -> list[Finding]:
    """Look for every library that is required or of an extra, and load it."""
    try:
        wanted = _read_requirements(metadata.requires("defectseg") or [])
    except metadata.PackageNotFoundError:
        advice = "pip install -r requirements.txt, then pip install --no-deps -e ."
        found = "it runs from a folder, so that what it needs is not known"
        return [Finding(LIBRARY, "defectseg", "note", found, advice)]
    required = wanted.pop("", [])
    optional = [own for extra in wanted.values() for own in extra]
    installed = {own.name: _version(own.name) for own in (*required, *optional)}
    modules = {module_of(name): name for name, version in installed.items() if version}
    problems = {modules[own]: problem for own, problem in load_modules(list(modules)).items()}
    findings = [_judge(own, installed, problems) for own in required]
    return [*findings, *(_extra(name, own, problems) for name, own in wanted.items())]


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


def _judge(
    wanted: Requirement, installed: Mapping[str, str], problems: Mapping[str, str]
) -> Finding:
    """Return what is to be said of a required library."""
    version = installed[wanted.name]
    install = f"pip install '{wanted.name}{wanted.specifier}'"
    if not version:
        return Finding(LIBRARY, wanted.name, "fault", "missing", install)
    if not wanted.specifier.contains(version, prereleases=True):
        found = f"{version}; expected {wanted.specifier}"
        return Finding(LIBRARY, wanted.name, "fault", found, install)
    if wanted.name in problems:
        causes = [
            name
            for name in _LOADED_BY.get(wanted.name, [])
            if name in problems or installed.get(name) == ""
        ]
        advice = f"first see {causes[0]}, which it loads" if causes else _reinstall(wanted.name)
        found = f"{version} is broken: {problems[wanted.name]}"
        return Finding(LIBRARY, wanted.name, "fault", found, advice)
    return Finding(LIBRARY, wanted.name, "ok", version)


def _reinstall(library: str) -> str:
    return f"pip install --force-reinstall --no-deps '{library}=={_version(library)}'"


def _extra(extra: str, wanted: Sequence[Requirement], problems: Mapping[str, str]) -> Finding:
    """Return what is to be said of libraries that one use alone needs."""
    missing = [own for own in wanted if not _is_whole(own)]
    found = ", ".join(
        f"{_named(own)} {'missing' if own in missing else _version(own.name)}"
        + (f" is broken: {problems[own.name]}" if own.name in problems else "")
        for own in wanted
    )
    broken = [own.name for own in wanted if own.name in problems and own not in missing]
    ways = [f"pip install {named}"] if (named := _words(missing)) else []
    ways += map(_reinstall, broken)
    if not ways:
        return Finding(EXTRA, extra, "ok", found)
    return Finding(EXTRA, extra, "note", found, f"only if it is wanted: {'; '.join(ways)}")


def _words(wanted: Sequence[Requirement]) -> str:
    return " ".join(f"'{_named(own)}{own.specifier}'" for own in wanted)


def _named(wanted: Requirement) -> str:
    return wanted.name + (f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else "")


def _is_whole(wanted: Requirement) -> bool:
    """Tell whether a library is installed, with those that its own extras add."""
    if not _version(wanted.name):
        return False
    added = _read_requirements(metadata.requires(wanted.name) or [])
    return all(_version(own.name) for extra in wanted.extras for own in added.get(extra, []))
