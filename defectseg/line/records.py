"""The rows of the ledger: inspections, decisions, events."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from defectseg.inference.verdict import Outcome

# Of which more is kept than their rows: names come from clients, and each costs memory for ever.
MOST_CAMERAS = 200
DECISIONS = {"agree": Outcome.FAIL, "overrule": Outcome.PASS, "retake": Outcome.RETAKE}


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What became of an image.

    Attributes
    ----------
    id : int
        From 1 on, without a gap.
    received_at : str
        UTC, ISO 8601.
    part_id, camera_id, product : str
    source : str
        ``"http"`` or ``"folder"``.
    name : str
        Of the file.
    image_sha256 : str
        Of the file's bytes; empty if it could not be read.
    recipe : str
        Hash of all that judges: network, limits, engine, rules, product.
    model_sha256, calibration_sha256, rules_sha256, engine, precision, version : str
    outcome : str
    final : bool
        Whether this is the answer for good: an image is inspected again if it was not answered in
        time or the engine failed.
    reasons : tuple of str
    error : str
    score, review_from, fail_from : float or None
        None where there is none, or it is not a number.
    regions : tuple of dict
        Strongest first: area_px, bbox_xywh, centroid_xy, semi_major, semi_minor, angle, score.
    defect_area_px : int or None
    sharpness, sharpness_limit, gate_p_value, belief, noise_sigma, mean_luma : float or None
        Of `quality.gate.ImageQuality`.
    width, height : int or None
    queue_ms, inspect_ms, total_ms : float
        Waiting, from there to the verdict, and together; before it was recorded.
    pictures : str
        Folder of image, mask and overlay below the station's; empty if none was kept.
    """

    id: int = 0
    received_at: str
    part_id: str
    camera_id: str
    product: str
    source: str
    name: str = ""
    image_sha256: str = ""
    recipe: str = ""
    model_sha256: str = ""
    calibration_sha256: str = ""
    rules_sha256: str = ""
    engine: str = ""
    precision: str = ""
    version: str = ""
    outcome: str = Outcome.ERROR.value
    final: bool = False
    reasons: tuple[str, ...] = ()
    error: str = ""
    score: float | None = None
    review_from: float | None = None
    fail_from: float | None = None
    regions: tuple[dict[str, Any], ...] = ()
    defect_area_px: int | None = None
    sharpness: float | None = None
    sharpness_limit: float | None = None
    gate_p_value: float | None = None
    belief: float | None = None
    noise_sigma: float | None = None
    mean_luma: float | None = None
    width: int | None = None
    height: int | None = None
    queue_ms: float = 0.0
    inspect_ms: float = 0.0
    total_ms: float = 0.0
    pictures: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a person decided on an inspection that was REVIEW.

    Attributes
    ----------
    id : int
    decided_at : str
        UTC, ISO 8601.
    inspection_id : int
    decision : str
        ``"agree"``: there is a defect; ``"overrule"``: there is none; ``"retake"``.
    outcome : str
        That follows: FAIL, PASS or RETAKE.
    name, note : str
        Whose decision, and what they wrote.
    """

    id: int = 0
    decided_at: str
    inspection_id: int
    decision: str
    outcome: str
    name: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What else a person should be able to look up: starts, models, cameras, faults.

    Attributes
    ----------
    id : int
    time : str
        UTC, ISO 8601.
    kind : str
    camera_id : str
        Empty if it is of no camera.
    message : str
    """

    id: int = 0
    time: str
    kind: str
    camera_id: str = ""
    message: str


def now() -> str:
    """Return the time, UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
