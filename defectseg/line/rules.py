"""Rules of a product: where not to look, and which blemishes are allowed."""

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from defectseg.bundle import Thresholds
from defectseg.config import Settings, parse_settings, read_yaml
from defectseg.errors import ConfigError
from defectseg.inference.predictor import Inspection
from defectseg.inference.verdict import Outcome, Verdict, decide

SUFFIX = ".yaml"


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


def check_products(rules: Rules, known: Collection[str]) -> None:
    """Check that every rule is of a product that a bundle knows.

    Raises
    ------
    ConfigError
        Naming those that are not: a misspelt one would never be applied.
    """
    unknown = sorted(set(rules.products) - set(known))
    if unknown:
        raise ConfigError(
            f"There are rules for {', '.join(unknown)}; the bundle was trained on "
            f"{', '.join(known)}. Name each file after a product: PRODUCT{SUFFIX}."
        )


def blank_ignored(
    probability: npt.NDArray[np.float32], rule: Rule | None
) -> npt.NDArray[np.float32]:
    """Return an engine's ``(H, W)`` float32 answer, 0 in the rectangles that are ignored."""
    if rule is None or not rule.ignore:
        return probability
    seen = probability.copy()
    for left, top, width, height in rule.ignore:
        seen[top : top + height, left : left + width] = 0
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
        not a number.
    """
    suspect = inspection.verdict.outcome in (Outcome.FAIL, Outcome.REVIEW)
    if rule is None or not suspect or not inspection.regions or math.isnan(inspection.score):
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
