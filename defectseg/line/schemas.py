"""What the station's HTTP answers look like."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from defectseg.line.records import Decision, Inspection

Outcome = Literal["PASS", "FAIL", "REVIEW", "RETAKE", "ERROR"]
DecisionWord = Literal["agree", "overrule", "retake"]


class Problem(BaseModel):
    """Nothing was inspected, and why."""

    outcome: Literal["ERROR"] = "ERROR"
    reasons: list[str] = Field(description="what was wrong, what was expected, what to do")


class Thresholds(BaseModel):
    """Scores from which an image is REVIEW, and FAIL."""

    review: float
    fail: float


class Region(BaseModel):
    """A connected set of defect pixels; places in pixels, 0-based."""

    area_px: NonNegativeInt
    bbox_xywh: list[int] = Field(description="left, top, width, height")
    centroid_xy: list[float] = Field(description="column, row")
    semi_major: float | None
    semi_minor: float | None
    angle: float | None = Field(description="of the longer axis, radians, clockwise on the screen")
    score: float | None


class Times(BaseModel):
    """How long it took, in milliseconds, before it was recorded."""

    queue: float
    inspect: float
    total: float


class Links(BaseModel):
    """Where more is to be had; null where a picture was not kept, or is kept no longer."""

    self: str
    image: str | None
    mask: str | None
    overlay: str | None


class DecisionAnswer(BaseModel):
    """What a person decided."""

    decision: DecisionWord
    outcome: Outcome
    name: str
    note: str
    decided_at: str


class Verdict(BaseModel):
    """A recorded inspection."""

    id: int
    outcome: Outcome
    reasons: list[str]
    error: str
    final: bool = Field(description="false: the same image may be sent again")
    repeated: bool = Field(False, description="it had been recorded before, and is not anew")
    part_id: str
    camera_id: str
    product: str
    received_at: str = Field(description="UTC, ISO 8601")
    score: float | None
    thresholds: Thresholds | None
    regions: list[Region]
    defect_area_px: int | None
    sharpness: float | None
    sharpness_limit: float | None
    gate_p_value: float | None
    belief: float | None
    noise_sigma: float | None
    mean_luma: float | None
    width: int | None
    height: int | None
    image_sha256: str
    recipe: str = Field(
        description="hash of all that judged: model, limits, engine, rules, product"
    )
    model_sha256: str
    calibration_sha256: str
    engine: str
    precision: str
    times_ms: Times
    decision: DecisionAnswer | None
    links: Links


class VerdictList(BaseModel):
    """Inspections, the newest first."""

    inspections: list[Verdict]


class DecisionRequest(BaseModel):
    """A person's decision on an inspection that is REVIEW."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    decision: DecisionWord = Field(
        description="agree: it is a defect, FAIL; overrule: it is none, PASS; retake: RETAKE"
    )
    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
    note: str = Field("", max_length=1000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")


class ModelRequest(BaseModel):
    """Another bundle that is to judge."""

    model_config = ConfigDict(extra="forbid")

    bundle: str = Field(
        min_length=1,
        max_length=1000,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="a folder beside the bundle that the station was started with: its name",
    )
    insist: bool = Field(False, description="even if recent images are judged otherwise")


class Difference(BaseModel):
    """An image that two models judge otherwise."""

    id: int
    before: Outcome
    now: Outcome


class ModelAnswer(BaseModel):
    """A model took over, after both had judged recent images."""

    model: str
    sha256: str
    recent_images: int
    judged_alike: int
    differing: list[Difference]


class ModelList(BaseModel):
    """The model that judges, and the bundles that could."""

    current: str | None
    sha256: str | None
    problem: str
    bundles: list[str]


class CameraPoint(BaseModel):
    """A median of a camera's sharpness."""

    time: str
    median: float
    ewma: float | None
    limit: float | None


class CameraEvent(BaseModel):
    """Something that happened to a camera."""

    time: str
    kind: str
    message: str


class DaysLeft(BaseModel):
    """Until the limit is reached, with a 95 % interval; null: beyond telling."""

    days: float | None
    low: float | None
    high: float | None


class CameraAnswer(BaseModel):
    """How a camera is."""

    camera_id: str
    product: str
    status: str
    reason: str
    limit: float | None
    days_left: DaysLeft | None
    latest: list[tuple[str, float]]
    points: list[CameraPoint]
    events: list[CameraEvent]


class CameraList(BaseModel):
    """All cameras."""

    cameras: list[CameraAnswer]


def describe(
    inspection: Inspection,
    decision: Decision | None,
    kept: dict[str, bool],
    *,
    repeated: bool = False,
) -> Verdict:
    """Return the answer that tells an inspection.

    Parameters
    ----------
    inspection : Inspection
    decision : Decision or None
    kept : dict of str to bool
        Which of image, mask and overlay are there.
    repeated : bool
    """
    own = f"/v1/inspections/{inspection.id}"
    links: dict[str, Any] = {
        name: f"{own}/{name}" if there else None for name, there in kept.items()
    }
    thresholds = None
    if inspection.review_from is not None and inspection.fail_from is not None:
        thresholds = Thresholds(review=inspection.review_from, fail=inspection.fail_from)
    fields = {name: getattr(inspection, name) for name in _SAME}
    return Verdict(
        **fields,
        reasons=list(inspection.reasons),
        repeated=repeated,
        thresholds=thresholds,
        regions=[Region(**region) for region in inspection.regions],
        times_ms=Times(
            queue=inspection.queue_ms, inspect=inspection.inspect_ms, total=inspection.total_ms
        ),
        decision=None
        if decision is None
        else DecisionAnswer(
            **{name: getattr(decision, name) for name in DecisionAnswer.model_fields}
        ),
        links=Links(self=own, **links),
    )


# Told as they are recorded.
_SAME = sorted(
    set(Verdict.model_fields)
    - {"reasons", "repeated", "thresholds", "regions", "times_ms", "decision", "links"}
)
