"""Recent images, judged by a model that is to take over: whether it sees what was seen."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.errors import ImageReadError
from defectseg.image_io import read_image
from defectseg.inference.verdict import Outcome

Judge = Callable[[npt.NDArray[np.uint8], str], Outcome]

_SUSPECT = (Outcome.FAIL, Outcome.REVIEW)
_SHOWN = 3  # of those that are judged otherwise
_LONGEST_FAILURE = 100  # in characters: an answer by HTTP has room for some hundred


@dataclass(frozen=True)
class Recent:
    """An image that was judged: its file, its product, what became of it."""

    path: Path
    product: str
    outcome: str
    id: int


@dataclass(frozen=True)
class Comparison:
    """How another model judges recent images.

    Attributes
    ----------
    images : int
    suspects : int
        Of them, those that were FAIL or REVIEW.
    differing : tuple of (int, str, str)
        Those that are judged otherwise: id of the inspection, outcome then, outcome by the other
        model; ERROR where it cannot judge.
    failure : str
        Why it cannot judge the first such image.
    """

    images: int = 0
    suspects: int = 0
    differing: tuple[tuple[int, str, str], ...] = ()
    failure: str = ""

    @property
    def same(self) -> int:
        """How many have the same outcome."""
        return self.images - len(self.differing)

    def find_objections(self, least_agreement: float) -> list[str]:
        """Return why the other model should not take over, in words; empty if it may.

        Parameters
        ----------
        least_agreement : float
            Share of the images that must have the same outcome. Whatever the share, none may PASS
            that was FAIL or REVIEW, and none may be left without a verdict.
        """
        # Not those that were RETAKE: no defect was seen there, and a gate that rightly believes
        # more images is a reason to change. They count in the share, and are told.
        escapes = sum(now == Outcome.PASS and then in _SUSPECT for _, then, now in self.differing)
        errors = sum(now == Outcome.ERROR for _, _, now in self.differing)
        found = []
        if escapes:
            found.append(f"{escapes} that were FAIL or REVIEW would PASS")
        if errors:
            found.append(f"{errors} cannot be judged ({self.failure[:_LONGEST_FAILURE]})")
        if self.same < least_agreement * self.images:
            found.append(f"expected {100 * least_agreement:g} % alike")
        return found

    def describe(self) -> str:
        """Return what was found, in words."""
        if not self.images:
            return "no recent image was compared"
        text = f"{self.same} of {self.images} recent images are judged alike"
        if not self.suspects:
            text += ", none of which was FAIL or REVIEW"
        kinds = Counter(f"{then} → {now}" for _, then, now in self.differing)
        if kinds:
            text += f" ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})"
        return text

    def show(self) -> str:
        """Return some of the images that are judged otherwise, the worst first, in words."""
        worst = sorted(self.differing, key=lambda own: own[2] != Outcome.PASS)[:_SHOWN]
        return ", ".join(f"inspection {number} ({then} → {now})" for number, then, now in worst)


def choose_recent(images: Sequence[Recent], count: int) -> list[Recent]:
    """Choose images to compare by: half of them FAIL or REVIEW, if there are so many.

    By the newest alone, a model that finds no defect any more would judge nearly all alike where
    defects are rare.
    """
    newest = sorted(images, key=lambda own: own.id, reverse=True)
    suspects = [own for own in newest if own.outcome in _SUSPECT][: (count + 1) // 2]
    chosen = set(suspects)
    others = [own for own in newest if own not in chosen]
    return suspects + others[: count - len(suspects)]


def compare_on_recent(judge: Judge, recent: Sequence[Recent]) -> Comparison:
    """Judge recent images by another model.

    Parameters
    ----------
    judge : callable
        Returns the outcome of an image of ``(H, W)`` or ``(H, W, 3)`` uint8 and of a product.
    recent : sequence of Recent
        What can no longer be read is passed over.
    """
    images, suspects, differing, failure = 0, 0, [], ""
    for own in recent:
        try:
            image = read_image(own.path)
        except ImageReadError:
            continue  # removed in the meantime
        images += 1
        suspects += own.outcome in _SUSPECT
        try:
            outcome = judge(image, own.product)
        except Exception as error:  # an engine may raise anything
            outcome = Outcome.ERROR
            failure = failure or str(error) or repr(error)
        if outcome != own.outcome:
            differing.append((own.id, own.outcome, outcome.value))
    return Comparison(images, suspects, tuple(differing), failure)
