"""The model of a station, and how another takes its place while it is at work."""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.bundle import CALIBRATION, Bundle, load_bundle
from defectseg.checksums import SUMS, file_sha256
from defectseg.errors import DefectsegError
from defectseg.inference.engines import choose_engine
from defectseg.inference.predictor import Inspection, Predictor, open_predictor
from defectseg.line.comparison import Comparison, Recent, compare_on_recent
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
    bundle_sha256 : str
        Of all the bundle's parts, also of the networks that were made of the trained one.
    recipes : dict of str to str
        By product: the hash of all that judges its images.
    """

    bundle: Bundle
    predictor: Predictor
    alone: Predictor
    rules: Rules
    calibration_sha256: str
    bundle_sha256: str
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
        self,
        image: npt.NDArray[np.uint8],
        product: str,
        *,
        is_alone: Callable[[], bool] = lambda: False,
    ) -> Inspection:
        """Inspect an image of ``(H, W)`` or ``(H, W, 3)`` uint8, by the product's rule.

        It is answered sooner if it is told to be alone, more are answered in the same time if not.
        """
        rule = self.rules.products.get(product)
        if is_alone():
            with ThreadPoolExecutor(1) as beside:
                judged = beside.submit(self.alone.judge, image, product)
                probability = self.alone.engine.probability(image)
            quality = judged.result()
        else:
            quality = self.predictor.judge(image, product)
            probability = self.predictor.engine.probability(image)
        inspection = self.predictor.conclude(blank_ignored(probability, rule), quality, product)
        return apply_rule(inspection, rule, self.bundle.calibration.thresholds)


def open_model(folder: Path, rules: Rules) -> Model:
    """Load a bundle, check that it is whole, and inspect one image of each product with it.

    Raises
    ------
    DefectsegError
        If it is not whole, cannot be run, or the rules do not fit its products and their images.
    """
    sums = folder / SUMS
    # Before all else: should the files change meanwhile, these are not taken for the new ones.
    bundle_sha256 = file_sha256(sums) if sums.is_file() else ""
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
    model = Model(bundle, predictor, alone, rules, calibration_sha256, bundle_sha256, recipes)
    for product, gate in calibration.gate.products.items():
        shape = (gate.heights_px[1], gate.widths_px[1])
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        model.inspect(noise, product, is_alone=lambda: True)
        model.inspect(noise, product, is_alone=lambda: False)
    return model


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
    remember : callable
        Told the hash of every bundle that takes over, which `start` is to know the next time.
    """

    def __init__(
        self,
        rules: Rules,
        recent: Callable[[], Sequence[Recent]],
        least_agreement: float,
        report: Callable[[str, str], object],
        remember: Callable[[str], object] = lambda bundle_sha256: None,
    ) -> None:
        self._rules = rules
        self._recent = recent
        self._least_agreement = least_agreement
        self._report = report
        self._remember = remember
        self._changing = threading.Lock()
        self._tried: FolderState = ()  # of the bundle that was tried last
        self._seen: FolderState = ()
        self._accepted = ""  # hash of the bundle that took over last
        self.folder: Path | None = None
        self.current: Model | None = None
        self.problem = "No model was given yet."

    def start(self, folder: Path, *, accepted: str = "", remark: str = "") -> None:
        """Take the first model; where it cannot be used, `problem` says why.

        Parameters
        ----------
        folder : Path
            A bundle.
        accepted : str
            Hash of the bundle that judged before: any other is compared on recent images, as if
            it had come while the station was at work.
        remark : str
            A sentence on how the folder was chosen, which is told, too.
        """
        with self._changing:
            self.folder = folder
            self._tried = _read_state(folder)
            self._accepted = accepted
            try:
                self._take(folder, insist=False, remark=remark)
            except Exception as error:
                self._refuse(error, remark)
                log.error("the model cannot be used: %s", self.problem)

    def change(self, folder: Path, *, insist: bool = False) -> Comparison:
        """Put another model in the place of the one in use, which judges until then.

        Parameters
        ----------
        folder : Path
            A bundle.
        insist : bool
            Even if it judges recent images otherwise, or cannot judge them.

        Raises
        ------
        DefectsegError
            If it cannot be used, or `SwapRefusedError`; the one in use stays.
        """
        with self._changing:
            try:
                return self._take(folder, insist=insist)
            except Exception as error:
                message = self._refuse(error)
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

    def _take(self, folder: Path, *, insist: bool, remark: str = "") -> Comparison:
        state = _read_state(folder)
        model = open_model(folder, self._rules)
        found, told = Comparison(), "as before"
        # Started again, the bundle that judged before has nothing to show.
        if self.current is not None or model.bundle_sha256 != self._accepted:
            found = compare_on_recent(
                lambda image, product: model.inspect(image, product).verdict.outcome,
                self._recent(),
            )
            told = found.describe()
            objections = found.find_objections(self._least_agreement)
            if objections and not insist:
                raise SwapRefusedError(_explain(model, found, objections))
            if objections:
                told += ", which was insisted on"
        self.current = model
        self.folder = folder
        self._tried = state
        self.problem = ""
        self._accepted = model.bundle_sha256
        self._remember(model.bundle_sha256)
        message = f"{_describe(model)} judges from now on; {told}"
        self._report("MODEL", f"{message}. {remark}" if remark else message)
        return found

    def _refuse(self, error: Exception, remark: str = "") -> str:
        """Tell that a model does not take over, and return why."""
        message = f"{_tell(error)} {remark}".rstrip()
        self._report("MODEL_REFUSED", message)
        if self.current is None:
            self.problem = message
        return message


def _explain(model: Model, found: Comparison, objections: Sequence[str]) -> str:
    how = json.dumps({"bundle": model.name, "insist": True})
    return (
        f"{model.name} does not take over: {found.describe()}; {'; '.join(objections)}. If that "
        f"is right, POST {how} to /v1/models; before, look at {found.show()}."
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
