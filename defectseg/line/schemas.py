"""What the station's HTTP answers look like."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import UploadFile
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt
from pydantic.json_schema import SkipJsonSchema

from defectseg.line.records import Decision, Inspection

Outcome = Literal["PASS", "FAIL", "REVIEW", "RETAKE", "ERROR"]
DecisionWord = Literal["agree", "overrule", "retake"]

# What a name that a client sends may be: one line that is not blank, without signs that turn the
# direction of writing, and without two dots in a row. It is shown and recorded, and names no file.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
NAME_PATTERN = rf"^\.?[^.\s{_UNSEEN}](?:\.?[^.{_UNSEEN}])*\.?$"
LONGEST_NAME = 200
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=NAME_PATTERN)]
_LINES_PATTERN = rf"^(?:[\t\n]|[^{_UNSEEN}])*$"  # the same of a text of several lines

LARGEST_ID = 2**63 - 1  # of SQLite
InspectionId = Annotated[int, Field(ge=1, le=LARGEST_ID, description="of an inspection")]

# What any request may be answered.
REFUSALS = {
    400: "The request is no HTTP form or JSON that can be read",
    401: "The token is missing or wrong",
    403: "Not from this machine, or from a page of another site",
    408: "The body came too slowly",
    413: "The body or the image is too large",
    415: "The text is not UTF-8",
    422: "A field is wrong, missing or not known",
    429: "Too much at once",
    503: "The ledger cannot be read, or nothing can be inspected or recorded now",
}
_MOST_REASONS = 20  # that are told of one request
_LONGEST_REASON = 500


class Problem(BaseModel):
    """Nothing was inspected, and why."""

    outcome: Literal["ERROR"] = "ERROR"
    reasons: list[str] = Field(description="what was wrong, what was expected, what to do")


ABSENT: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "Not there"}}


class Fault(BaseModel):
    """Nothing was inspected, and why, as the open inference protocol has it."""

    error: str


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


def _check_file_name(file: UploadFile) -> UploadFile:
    name = file.filename or ""
    if name and (len(name) > LONGEST_NAME or not re.fullmatch(NAME_PATTERN, name)):
        raise ValueError(
            f"the file's name is {name[:LONGEST_NAME]!r}; expected at most {LONGEST_NAME} letters "
            "that can be seen, and no two dots in a row"
        )
    return file


class InspectForm(BaseModel):
    """An image, and what it shows."""

    model_config = ConfigDict(extra="forbid")

    image: Annotated[UploadFile, AfterValidator(_check_file_name)] = Field(
        description="a PNG, JPEG, BMP or TIFF file"
    )
    part_id: Name
    camera_id: Name = "camera"
    product: Name | SkipJsonSchema[None] = Field(
        default=None, description="needed where the model knows several"
    )


class DecisionRequest(BaseModel):
    """A person's decision on an inspection that is REVIEW."""

    model_config = ConfigDict(extra="forbid")

    decision: DecisionWord = Field(
        description="agree: it is a defect, FAIL; overrule: it is none, PASS; retake: RETAKE"
    )
    name: str = Field(min_length=1, max_length=100, pattern=NAME_PATTERN)
    note: str = Field("", max_length=1000, pattern=_LINES_PATTERN)


class ModelRequest(BaseModel):
    """Another bundle that is to judge."""

    model_config = ConfigDict(extra="forbid")

    bundle: Name = Field(
        description="a folder beside the bundle that the station was started with: its name"
    )
    insist: bool = Field(
        False, description="even if recent images are judged otherwise, or cannot be judged"
    )


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
    comparison: str = Field(description="the same in words; also that none was compared")


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


class ModelState(BaseModel):
    """The model that judges, and how it runs."""

    name: str
    sha256: str
    calibration_sha256: str
    engine: str
    precision: str
    products: list[str]


class ActiveAlarm(BaseModel):
    """What is wrong now."""

    kind: str
    camera_id: str


class Hour(BaseModel):
    """How many images had each outcome within an hour."""

    hour: str = Field(description="UTC, as 2026-01-31T08")
    PASS: NonNegativeInt = 0
    FAIL: NonNegativeInt = 0
    REVIEW: NonNegativeInt = 0
    RETAKE: NonNegativeInt = 0
    ERROR: NonNegativeInt = 0


class LedgerEvent(BaseModel):
    """Something that happened: a start, another model, an alarm."""

    id: int
    time: str
    kind: str
    camera_id: str
    message: str


class Summary(BaseModel):
    """How the line is."""

    time: str = Field(description="UTC, ISO 8601")
    started_at: str
    problems: list[str] = Field(description="why no image can be inspected; empty if all is well")
    watched_folder: str | None
    model: ModelState | None
    waiting: NonNegativeInt = Field(description="images")
    most_waiting: int
    reviews_waiting: NonNegativeInt = Field(description="for a person")
    alarms: list[ActiveAlarm]
    alarms_not_delivered: NonNegativeInt
    hours: list[Hour] = Field(description="of the last 24, those in which images came")
    totals: dict[Outcome, NonNegativeInt] = Field(description="of the last 24 hours")
    yield_: float | None = Field(
        alias="yield", description="PASS among PASS, FAIL and REVIEW; null if there were none"
    )
    events: list[LedgerEvent] = Field(description="the last ones")


def one_line(text: str, most: int = LONGEST_NAME) -> str:
    """Return a text, or its beginning, as one line: what would not be seen is written out."""
    return "".join(own if own.isprintable() else repr(own)[1:-1] for own in text[:most])


def describe_problem(path: str, reasons: Sequence[str]) -> dict[str, Any]:
    """Return the body of an error, in the form that is expected at a path."""
    told = [one_line(reason, _LONGEST_REASON) for reason in reasons[:_MOST_REASONS]]
    if path.startswith("/v2"):
        return Fault(error=" ".join(told)).model_dump()
    return Problem(reasons=told).model_dump()


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
