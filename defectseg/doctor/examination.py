"""The whole examination."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import util
from pathlib import Path

from defectseg.doctor.children import BrokenError, run_child
from defectseg.doctor.findings import Finding
from defectseg.doctor.libraries import examine_libraries
from defectseg.doctor.machine import examine_files, examine_machine

_ENGINES = {"keras": "Keras", "openvino": "OpenVINO"}  # by check
_AT_ONCE = 2  # each takes a core, and some hundred megabytes


def examine(model: Path | None = None) -> list[Finding]:
    """Examine the machine, the libraries, the engines, and a bundle if one is named.

    Parameters
    ----------
    model : Path or None
        A bundle.

    Returns
    -------
    list of Finding
        By topic.
    """
    parts: list[Callable[[], list[Finding]]] = [
        examine_machine,
        examine_libraries,
        *(partial(_engine, check, name) for check, name in _ENGINES.items()),
        _onnx_runtime,
        examine_files,
    ]
    if model is not None:
        parts.append(partial(_bundle, model))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = pool.map(lambda part: part(), parts)
        return [finding for findings in done for finding in findings]


def _engine(check: str, name: str) -> list[Finding]:
    advice = "see the libraries above; what needs it does not work"
    return list(_run(check, [], Finding("engine", name, "fault", "", advice)))


def _onnx_runtime() -> list[Finding]:
    if not all(util.find_spec(name) for name in ("onnx", "onnxruntime")):
        found = "not installed; only networks that are exported for others need it"
        return [Finding("engine", "ONNX Runtime", "ok", found)]
    advice = "nothing of defectseg but the export as ONNX needs it"
    return list(_run("onnx", [], Finding("engine", "ONNX Runtime", "note", "", advice)))


def _bundle(model: Path) -> list[Finding]:
    advice = "see the libraries above; what needs it does not work"
    return list(_run("bundle", [str(model)], Finding("bundle", "its engines", "fault", "", advice)))


def _run(check: str, words: list[str], broken: Finding) -> Iterator[Finding]:
    """Yield the findings of a check; `broken`, with the reason, if it does not come to its end."""
    try:
        for report in run_child(check, words):
            yield Finding(**report)
    except BrokenError as error:
        yield Finding(broken.topic, broken.name, broken.state, str(error), broken.advice)
