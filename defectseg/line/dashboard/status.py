"""How the station is, in words to be read from afar; the page and its script show the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from defectseg.line.records import Inspection

_STILL_S = 15 * 60  # without an image, after which "is inspecting" would say too much

_ALARMS = {
    "RETAKE_RATE": "too many images of camera {camera} are too poor to be believed",
    "DEGRADING": "camera {camera} is losing sharpness",
    "LOW": "camera {camera} is less sharp than its limit",
    "BASELINE_STALE": "camera {camera} is no longer as it was when it was learned",
    "QUEUE_FULL": "images came faster than they can be inspected, and some were refused",
    "MODEL_LOST": "the model that was chosen last is gone, and another one judges",
    "REVIEWS": "many images wait for a person",
}
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


@dataclass(frozen=True)
class Status:
    """What is said at the top.

    Attributes
    ----------
    tone : str
        ``"good"``, ``"idle"``, ``"warn"`` or ``"bad"``.
    headline : str
    details : tuple of str
        Sentences.
    """

    tone: str
    headline: str
    details: tuple[str, ...] = ()


def tell_status(summary: Mapping[str, Any], last: Inspection | None) -> Status:
    """Say how a station is.

    Parameters
    ----------
    summary : mapping
        Of `Line.summarise`.
    last : Inspection or None
        The last one; None if there was none ever.
    """
    if summary["problems"]:
        meanwhile = "Until this is mended, no part passes."
        return Status("bad", "The station is not inspecting.", (*summary["problems"], meanwhile))
    # NOT_READY tells of the problems above, and outlasts them by a moment.
    alarms = [own for own in summary["alarms"] if own["kind"] != "NOT_READY"]
    doing, pause = "is inspecting", ""
    if last is None:
        doing, pause = "is ready", "No image has come yet."
    else:
        still_s = _seconds_between(last.received_at, summary["time"])
        if still_s >= _STILL_S and not summary["waiting"]:
            doing, pause = "is ready", f"No image has come for {_say_duration(still_s)}."
    pauses = (pause,) if pause else ()
    if alarms:
        told = tuple(f"Alarm: {_say_alarm(**own)}." for own in alarms)
        return Status("warn", f"The station {doing}, but needs attention.", told + pauses)
    if last is None:
        return Status("idle", f"The station {doing}.", (*pauses, _invite(summary)))
    if pauses:
        return Status("idle", f"The station {doing}.", pauses)
    return Status("good", f"The station {doing}.", ("No alarm is active.",))


def _invite(summary: Mapping[str, Any]) -> str:
    folder = summary["watched_folder"]
    watched = f"Put images into {folder}, or send them" if folder else "Send images"
    return f"{watched} to POST /v1/inspect."


def _say_alarm(kind: str, camera_id: str) -> str:
    words = _ALARMS.get(kind)
    if words is None:
        return f"{kind} {camera_id}".strip()
    return words.format(camera=camera_id)


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _say_duration(seconds: float) -> str:
    """Return a duration of a minute or more in words, rounded down."""
    name, length = next((unit for unit in _UNITS if seconds >= unit[1]), _UNITS[-1])
    count = int(seconds // length)
    return f"{count} {name}{'' if count == 1 else 's'}"
