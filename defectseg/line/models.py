"""The model of a station, and how another takes its place while it is at work."""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.bundle import CALIBRATION, Bundle, load_bundle
from defectseg.checksums import file_sha256
from defectseg.errors import DefectsegError, ImageReadError
from defectseg.image_io import read_image
from defectseg.inference.engines import choose_engine
from defectseg.inference.predictor import Inspection, Predictor, open_predictor
from defectseg.inference.verdict import Outcome
from defectseg.line.rules import Rules, apply_rule, blank_ignored, check_rules

FolderState = tuple[tuple[str, int, int], ...]

log = logging.getLogger(__name__)


class SwapRefusedError(DefectsegError):
    """Another model is not good enough to take over."""


@dataclass(frozen=True)
class Model:
    """A bundle that inspects, by the rules of its products.

    Attributes
    ----------
    bundle : Bundle
    predictor : Predictor
        For many images at once: each is answered by one core.
    alone : Predictor
        The same for a single image, which all cores answer together.
    rules : Rules
    calibration_sha256 : str
    recipes : dict of str to str
        By product: the hash of all that judges its images.
    """

    bundle: Bundle
    predictor: Predictor
    alone: Predictor
    rules: Rules
    calibration_sha256: str
    recipes: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the bundle's folder."""
        return self.bundle.folder.resolve().name

    @property
    def sha256(self) -> str:
        """Hash of the trained network."""
        return self.bundle.calibration.model_sha256

    @property
    def products(self) -> tuple[str, ...]:
        """What the model was trained on."""
        return tuple(self.bundle.calibration.gate.products)

    def inspect(
        self, image: npt.NDArray[np.uint8], product: str, *, alone: bool = False
    ) -> Inspection:
        """Inspect an image of ``(H, W)`` or ``(H, W, 3)`` uint8, by the product's rule.

        It is answered sooner if it is `alone`, more are answered in the same time if it is not.
        """
        predictor = self.alone if alone else self.predictor
        rule = self.rules.products.get(product)
        quality = predictor.judge(image, product)
        probability = blank_ignored(predictor.engine.probability(image), rule)
        inspection = predictor.conclude(probability, quality, product)
        return apply_rule(inspection, rule, self.bundle.calibration.thresholds)


def open_model(folder: Path, rules: Rules) -> Model:
    """Load a bundle, check that it is whole, and inspect one image of each product with it.

    Raises
    ------
    DefectsegError
        If it is not whole, cannot be run, or the rules do not fit its products and their images.
    """
    bundle = load_bundle(folder)
    calibration = bundle.calibration
    check_rules(rules, calibration.gate)
    calibration_sha256 = file_sha256(folder / CALIBRATION)
    kind = choose_engine(bundle, "auto")
    predictor = open_predictor(bundle, kind)
    # On a GPU they are the same.
    alone = predictor if kind == "keras" else open_predictor(bundle, kind, streams=1)
    judged_by = [
        calibration.model_sha256,
        calibration_sha256,
        predictor.engine.name,
        predictor.engine.precision,
        rules.sha256,
    ]
    recipes = {
        product: hashlib.sha256(json.dumps([*judged_by, product]).encode()).hexdigest()
        for product in calibration.gate.products
    }
    model = Model(bundle, predictor, alone, rules, calibration_sha256, recipes)
    for product, gate in calibration.gate.products.items():
        shape = (gate.heights_px[1], gate.widths_px[1])
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        for by_itself in (True, False):
            model.inspect(noise, product, alone=by_itself)
    return model


@dataclass(frozen=True)
class Recent:
    """An image that the model in use has judged: its file, its product, what became of it."""

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
    same : int
        Of them, those with the same outcome.
    differing : tuple of (int, str, str)
        The others: id of the inspection, outcome then, outcome by the other model.
    """

    images: int
    same: int
    differing: tuple[tuple[int, str, str], ...]


def compare_on_recent(model: Model, recent: Sequence[Recent]) -> Comparison:
    """Judge recent images by another model.

    Raises
    ------
    SwapRefusedError
        If it knows a product no more, or fails on an image.
    """
    unknown = {own.product for own in recent} - set(model.products)
    if unknown:
        raise SwapRefusedError(
            f"The model does not know {', '.join(sorted(unknown))}, which came in lately; it was "
            f"trained on {', '.join(model.products)}."
        )
    differing, images = [], 0
    for own in recent:
        try:
            image = read_image(own.path)
        except ImageReadError:
            continue  # removed in the meantime
        images += 1
        try:
            outcome = model.inspect(image, own.product).verdict.outcome
        except Exception as error:  # an engine may raise anything
            raise SwapRefusedError(f"The model fails on inspection {own.id}: {error!r}.") from error
        if outcome != own.outcome:
            differing.append((own.id, own.outcome, outcome.value))
    return Comparison(images, images - len(differing), tuple(differing))


class ModelSlot:
    """Holds the model that a station judges by, and changes it.

    Parameters
    ----------
    rules : Rules
    recent : callable
        Returns the images that another model is compared on.
    least_agreement : float
        Share of them that must have the same outcome.
    report : callable
        Told of every change, and of every change that was refused: kind and message.
    """

    def __init__(
        self,
        rules: Rules,
        recent: Callable[[], Sequence[Recent]],
        least_agreement: float,
        report: Callable[[str, str], object],
    ) -> None:
        self._rules = rules
        self._recent = recent
        self._least_agreement = least_agreement
        self._report = report
        self._changing = threading.Lock()
        self._tried: FolderState = ()  # of the bundle that was tried last
        self._seen: FolderState = ()
        self.folder: Path | None = None
        self.current: Model | None = None
        self.problem = "No model was given yet."

    def start(self, folder: Path) -> None:
        """Take the first model; where it cannot be used, `problem` says why."""
        with self._changing:
            self.folder = folder
            self._tried = _read_state(folder)
            try:
                self.current = open_model(folder, self._rules)
                self.problem = ""
            except Exception as error:
                self.problem = _tell(error)
                log.error("the model cannot be used: %s", self.problem)
                self._report("MODEL_REFUSED", self.problem)
                return
            self._report("MODEL", f"{_describe(self.current)} judges from now on")

    def change(self, folder: Path, *, insist: bool = False) -> Comparison:
        """Put another model in the place of the one in use, which judges until then.

        Parameters
        ----------
        folder : Path
            A bundle.
        insist : bool
            Even if it judges recent images otherwise.

        Raises
        ------
        DefectsegError
            If it cannot be used, or `SwapRefusedError`; the one in use stays.
        """
        with self._changing:
            try:
                return self._change(folder, insist)
            except Exception as error:
                message = _tell(error)
                self._report("MODEL_REFUSED", message)
                if self.current is None:
                    self.problem = message
                if isinstance(error, DefectsegError):
                    raise
                raise SwapRefusedError(message) from error

    def look(self) -> None:
        """Change to what is in the model's folder, if that has changed."""
        if self.folder is None:
            return
        before, self._seen = self._seen, _read_state(self.folder)
        # The same twice: nobody is copying files into it any more.
        if self._seen != before or self._seen == self._tried:
            return
        self._tried = self._seen
        try:
            self.change(self.folder)
        except DefectsegError as error:
            log.error("the changed bundle is not used: %s", error)

    def close(self) -> None:
        """Judge no more, and let go of the networks: what else knows of the slot may outlive it."""
        with self._changing:
            self.folder = self.current = None
            self.problem = "The station has ended."

    def _change(self, folder: Path, insist: bool) -> Comparison:
        state = _read_state(folder)
        model = open_model(folder, self._rules)
        before = self.current
        found = compare_on_recent(model, self._recent() if before else ())
        if found.same < self._least_agreement * found.images and not insist:
            raise SwapRefusedError(_explain(found, self._least_agreement))
        self.current = model
        self.folder = folder
        self._tried = state
        self.problem = ""
        agreement = f"{found.same} of {found.images} recent images are judged alike"
        self._report("MODEL", f"{_describe(model)} judges from now on; {agreement}")
        return found


def _explain(found: Comparison, least: float) -> str:
    shown = ", ".join(f"{then} → {now} ({number})" for number, then, now in found.differing[:5])
    escapes = sum(now == Outcome.PASS and then != Outcome.PASS for _, then, now in found.differing)
    return (
        f"The model judges only {found.same} of {found.images} recent images as they were judged; "
        f"expected {100 * least:g} %. {escapes} would now PASS. Such as {shown}. Look at them, and "
        'send it again with "insist": true if it is right.'
    )


def _describe(model: Model) -> str:
    engine = model.predictor.engine
    return f"{model.name} (network {model.sha256[:12]}, {engine.precision} by {engine.name})"


def _tell(error: Exception) -> str:
    return str(error) if isinstance(error, DefectsegError) else f"{error!r}"


def _read_state(folder: Path) -> FolderState:
    """Return what tells one state of a folder from another: names, sizes and times."""
    try:
        return tuple(
            (path.relative_to(folder).as_posix(), own.st_size, own.st_mtime_ns)
            for path in sorted(folder.rglob("*"))
            if not path.is_dir()
            for own in (path.stat(),)
        )
    except OSError:  # while it is being replaced
        return ()
