"""Rules of a product: where not to look, and which blemishes are allowed."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from defectseg.bundle import Gate, Thresholds
from defectseg.config import Settings, parse_settings, read_yaml
from defectseg.errors import ConfigError
from defectseg.inference.predictor import Inspection
from defectseg.inference.verdict import Outcome, Verdict, decide

SUFFIX = ".yaml"
_MOST_IGNORED = 0.5  # share of an image: beyond it the part was not inspected


class Rule(Settings):
    """``PRODUCT.yaml``: what of a product's defects does not count."""

    ignore: tuple[tuple[int, int, int, int], ...] = Field(
        default=(),
        description="rectangles that are not looked at: left, top, width, height, in pixels",
    )
    least_area_px: int = Field(default=0, ge=0, description="smaller regions do not count")
    most_regions: int = Field(default=0, ge=0, description="so many regions are allowed")
    largest_area_px: int | None = Field(
        default=None, ge=1, description="that an allowed region may have"
    )

    @model_validator(mode="after")
    def _rectangles_have_an_area(self) -> Self:
        wrong = [own for own in self.ignore if min(own[:2]) < 0 or min(own[2:]) < 1]
        if wrong:
            raise ValueError(
                f"ignore = {wrong}: expected left and top of at least 0, width and height of at "
                "least 1"
            )
        return self

    @model_validator(mode="after")
    def _allowed_regions_have_a_size(self) -> Self:
        if self.most_regions and self.largest_area_px is None:
            raise ValueError(
                f"most_regions = {self.most_regions} would allow defects of any size; name "
                "largest_area_px, too"
            )
        return self


@dataclass(frozen=True)
class Rules:
    """The rules of all products.

    Attributes
    ----------
    products : mapping of str to Rule
        Of those that have one.
    sha256 : str
        Of the rules, in hexadecimal: another is another way of judging.
    """

    products: Mapping[str, Rule]
    sha256: str


def load_rules(folder: Path | None) -> Rules:
    """Read the rules of a folder, ``PRODUCT.yaml`` for each product that has one.

    Raises
    ------
    ConfigError
        If it is no folder, or naming every wrong setting of a file.
    """
    rules = {}
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder; expected one with PRODUCT{SUFFIX}.")
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            rules[path.stem] = parse_settings(Rule, read_yaml(path), str(path))
    text = ";".join(f"{name}={rule.model_dump_json()}" for name, rule in rules.items())
    return Rules(rules, hashlib.sha256(text.encode()).hexdigest())


def check_rules(rules: Rules, gate: Gate) -> None:
    """Check that every rule is of a product that a bundle knows, and fits its images.

    Parameters
    ----------
    rules : Rules
    gate : Gate
        The bundle's, which knows the sizes of each product's images.

    Raises
    ------
    ConfigError
        Naming every product that is not known, whose rule would never be applied; every rectangle
        that reaches beyond the images; and every rule that leaves less than half of one to be seen.
    """
    unknown = sorted(set(rules.products) - set(gate.products))
    problems = []
    if unknown:
        problems.append(
            f"There are rules for {', '.join(unknown)}; the bundle was trained on "
            f"{', '.join(gate.products)}. Name each file after a product: PRODUCT{SUFFIX}."
        )
    for name, rule in rules.products.items():
        if rule.ignore and name in gate.products:
            problems += _find_misplaced(name, rule, gate)
    if problems:
        raise ConfigError(" ".join(problems))


def _find_misplaced(name: str, rule: Rule, gate: Gate) -> list[str]:
    """Return what is wrong with the rectangles of a product, in words."""
    own = gate.products[name]
    height, width = own.heights_px[1], own.widths_px[1]
    outside = [
        list(box) for box in rule.ignore if box[0] + box[2] > width or box[1] + box[3] > height
    ]
    problems = []
    if outside:
        problems.append(
            f"{name}{SUFFIX}: ignore = {outside} reaches beyond the images, which are at most "
            f"{height} px high and {width} wide; expected left, top, width and height within them."
        )
    sizes = product(set(own.heights_px), set(own.widths_px))
    share, (high, wide) = max((measure_ignored(rule, size), size) for size in sizes)
    if share > _MOST_IGNORED:
        problems.append(
            f"{name}{SUFFIX}: ignore covers {_percent(share)} of an image that is {high} px high "
            f"and {wide} wide; expected at most {_percent(_MOST_IGNORED)}, as a part that is not "
            "seen must not pass."
        )
    return problems


@lru_cache  # the images of a line have few sizes
def measure_ignored(rule: Rule, shape_hw: tuple[int, int]) -> float:
    """Return the share of an image, of some height and width, that its product's rule ignores."""
    if not rule.ignore:
        return 0.0
    ignored = np.zeros(shape_hw, bool)
    for rectangle in _to_slices(rule):
        ignored[rectangle] = True
    return float(ignored.mean())


def blank_ignored(
    probability: npt.NDArray[np.float32], rule: Rule | None
) -> npt.NDArray[np.float32]:
    """Return an engine's ``(H, W)`` float32 answer, 0 in the rectangles that are ignored."""
    if rule is None or not rule.ignore:
        return probability
    seen = probability.copy()
    for rectangle in _to_slices(rule):
        seen[rectangle] = 0
    return seen


def apply_rule(inspection: Inspection, rule: Rule | None, thresholds: Thresholds) -> Inspection:
    """Return an inspection as the rule of its product sees it.

    Parameters
    ----------
    inspection : Inspection
        Of `blank_ignored`. Its score, mask and regions stay: what is allowed is seen all the same.
    rule : Rule or None
    thresholds : Thresholds

    Returns
    -------
    Inspection
        The outcome is that of the strongest region that counts. A PASS with its reason if all are
        too small, or few and small enough. RETAKE stays what it is, and so does a score that is
        not a number. What was not looked at is among the reasons, whatever the outcome; if that is
        more than half of the image, RETAKE takes the place of a PASS.
    """
    if rule is None:
        return inspection
    height, width = inspection.mask.shape
    return _tell_ignored(
        _allow(inspection, rule, thresholds), measure_ignored(rule, (height, width))
    )


def _allow(inspection: Inspection, rule: Rule, thresholds: Thresholds) -> Inspection:
    """Return an inspection without the regions that do not count."""
    suspect = inspection.verdict.outcome in (Outcome.FAIL, Outcome.REVIEW)
    if not suspect or not inspection.regions or math.isnan(inspection.score):
        return inspection
    counted = [own for own in inspection.regions if own.area_px >= rule.least_area_px]
    small = len(inspection.regions) - len(counted)
    few = len(counted) <= rule.most_regions
    if few and all(own.area_px <= (rule.largest_area_px or 0) for own in counted):
        verdict = Verdict(Outcome.PASS, inspection.quality.remarks)
        allowed = counted
    else:
        verdict = decide(max(own.score for own in counted), inspection.quality, thresholds)
        allowed = []
    parts = [f"{small} of less than {rule.least_area_px} px"] if small else []
    parts += [f"{len(allowed)} of at most {rule.largest_area_px} px"] if allowed else []
    if not parts:
        return inspection
    reason = f"regions that the product's rule allows: {' and '.join(parts)}"
    return replace(inspection, verdict=Verdict(verdict.outcome, (reason, *verdict.reasons)))


def _tell_ignored(inspection: Inspection, share: float) -> Inspection:
    """Return an inspection whose reasons name the share of the image that was ignored."""
    if share == 0:
        return inspection
    outcome, reasons = inspection.verdict.outcome, inspection.verdict.reasons
    reason = f"{_percent(share)} of the image is ignored by the product's rule"
    # Only of an image that is smaller than the known ones, for which the rule was checked.
    if share > _MOST_IGNORED and outcome is Outcome.PASS:
        outcome = Outcome.RETAKE
        reason += ", which allows no more than half of it"
    return replace(inspection, verdict=Verdict(outcome, (*reasons, reason)))


def _to_slices(rule: Rule) -> list[tuple[slice, slice]]:
    """Return the rectangles that are ignored, as rows and columns."""
    return [
        (slice(top, top + height), slice(left, left + width))
        for left, top, width, height in rule.ignore
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
