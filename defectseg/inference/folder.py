"""Prediction of a folder: a row for every file, whatever it holds."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from defectseg import __version__
from defectseg.atomic import write_atomically
from defectseg.bundle import CALIBRATION, Bundle
from defectseg.checksums import file_sha256
from defectseg.config import EngineKind
from defectseg.errors import ConfigError, DataError
from defectseg.image_io import FoundFile, printable, require_images
from defectseg.inference.claim import check_same_run, claim_output
from defectseg.inference.pipeline import Inspected, inspect_files, is_unchanged
from defectseg.inference.predictor import Predictor, open_predictor
from defectseg.inference.report import WorstFirst, write_report
from defectseg.inference.results import RUN, SHARDS, Results, Row, name_pictures

if TYPE_CHECKING:  # an extra
    from defectseg.inference.ray_job import RayJob

REPORT = "report.html"

EngineChoice = EngineKind | Literal["auto", "ray"]
TableFormat = Literal["csv", "parquet"]
File = tuple[FoundFile, str | None]


@dataclass(frozen=True)
class FolderResult:
    """What came of a folder.

    Attributes
    ----------
    output : Path
    outcomes : Counter of str
        How many images had each outcome.
    resumed : int
        How many of them an interrupted run had inspected before.
    ignored : tuple of str
        Files that are no images, by name and by content; what is not Unicode is escaped.
    seconds : float
    """

    output: Path
    outcomes: Counter[str]
    resumed: int
    ignored: tuple[str, ...]
    seconds: float


def predict_folder(
    bundle: Bundle,
    source: Path,
    output: Path,
    *,
    product: str | None = None,
    engine: EngineChoice = "auto",
    table: TableFormat = "csv",
    resume: bool = False,
    on_image: Callable[[Row, int], None] = lambda row, total: None,
    on_wait: Callable[[str], None] = lambda why: None,
) -> FolderResult:
    """Inspect every image below a folder and write the results.

    Parameters
    ----------
    bundle : Bundle
    source : Path
        Folder of images, searched with its subfolders.
    output : Path
        New or empty, unless it is resumed.
    product : str or None
        What the images show. By default the bundle's only product or, where it has several, the
        one that a folder in the image's path is named after.
    engine : str
        See `engines.choose_engine`; or ``"ray"``, see `ray_job.open_ray_job`.
    table : str
        ``"csv"``: two tables, masks and overlays. ``"parquet"``: the nodes of a Ray cluster write
        rows with their regions and masks; see `shards`.
    resume : bool
        Go on with an interrupted run: what it inspected stays, if the file is still the same.
    on_image : callable
        Called after each image with its row and the number of all images; on a cluster in the
        order in which they are done.
    on_wait : callable
        Called with a sentence for the user where a cluster that is busy keeps the job from its
        start.

    Raises
    ------
    ConfigError
        If Ray is not installed, or Parquet is to be written without it.
    DataError
        Before anything is written: if there are no images, the output folder is not free, another
        run is writing to it, it was made otherwise, or the product of an image cannot be told.
    OutputError
        If results cannot be written any more; what is done is kept.
    """
    started = time.monotonic()
    if table == "parquet" and engine != "ray":
        raise ConfigError(
            "--format parquet is for what is too much for one disk: the nodes of a cluster write "
            f"it. Expected --engine ray beside it, or --format csv; found --engine {engine}."
        )
    found, ignored = require_images(source)
    products = _tell_products(found, list(bundle.calibration.gate.products), product)
    files = list(zip(found, products, strict=True))
    worst = WorstFirst()

    def note(row: Row) -> None:
        worst.add(row)
        on_image(row, len(found))

    with claim_output(output, source, resume=resume):
        with _open_inspector(bundle, engine, source, len(found), on_wait) as inspector:
            run = {
                "defectseg": __version__,
                "bundle": str(bundle.folder),
                "model_sha256": bundle.calibration.model_sha256,
                "calibration_sha256": file_sha256(bundle.folder / CALIBRATION),
                "engine": inspector.engine,
                "precision": inspector.precision,
                "product": product,
                "input": str(source.absolute()),
                "table": table,
            }
            if resume:
                check_same_run(output, run)
            # Before any table: whatever a kill leaves, it is told how it was made.
            _write_run(output, run | {"finished": None})
            fill = _fill_shards if table == "parquet" else _fill_tables
            resumed, overlay_path = fill(files, inspector, output, resume, note)
        write_report(output / REPORT, worst, overlay_path, bundle=bundle.folder.name)
        seconds = time.monotonic() - started
        _write_run(
            output,
            run
            | {
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(seconds, 1),
                "calibrated": bundle.calibration.created,
                "thresholds": bundle.calibration.thresholds.model_dump(),
                "outcomes": dict(worst.count),
                "ignored": list(ignored),
            },
        )
    shown = tuple(map(printable, ignored))
    return FolderResult(output, worst.count, resumed, shown, seconds)


class LocalInspector:
    """Inspects files in this process; what it offers, a `ray_job.RayJob` offers too.

    Attributes
    ----------
    engine, precision : str
        Of the network that runs.
    in_order : bool
        Whether rows come in the order of the files.
    """

    in_order = True

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.engine = predictor.engine.name
        self.precision = predictor.engine.precision

    def inspect(self, files: Sequence[File], results: Results) -> Iterator[Inspected]:
        """Inspect files, write their pictures, and yield what came of each."""
        return inspect_files(files, self._predictor, results.write_pictures)


@contextmanager
def _open_inspector(
    bundle: Bundle,
    engine: EngineChoice,
    source: Path,
    count: int,
    on_wait: Callable[[str], None],
) -> Iterator["LocalInspector | RayJob"]:
    if engine == "ray":
        from defectseg.inference.ray_job import open_ray_job

        with open_ray_job(bundle, source, on_wait) as job:
            yield job
    else:
        # A single image is answered soonest by all cores together.
        streams = 1 if count == 1 else None
        yield LocalInspector(open_predictor(bundle, engine, streams=streams))


def _fill_tables(
    files: Sequence[File],
    inspector: "LocalInspector | RayJob",
    output: Path,
    resume: bool,
    note: Callable[[Row], None],
) -> tuple[int, Callable[[str], Path]]:
    """Write tables and pictures; return how many images were done, and where overlays are."""
    names = name_pictures(file.relative for file, _ in files)
    with Results(output, names, resume=resume) as results:
        left = files
        if resume:
            done = results.done()
            left = [own for own in files if not _is_done(own[0], done, results, note)]
        for inspected in inspector.inspect(left, results):
            results.add(inspected.row, inspected.regions)
            note(inspected.row)
        order = [printable(file.relative) for file, _ in files]
        results.publish(None if inspector.in_order and not resume else order)
    return len(files) - len(left), results.overlay_path


def _fill_shards(
    files: Sequence[File],
    inspector: "LocalInspector | RayJob",
    output: Path,
    resume: bool,
    note: Callable[[Row], None],
) -> tuple[int, Callable[[str], Path]]:
    """Have the nodes write shards; returns as `_fill_tables`, though there are no overlays."""
    assert not isinstance(inspector, LocalInspector), "Parquet was asked of this process."
    resumed = 0
    for returned in inspector.write_shards(files, output / SHARDS, resume=resume):
        resumed += returned.resumed
        note(returned.inspected.row)
    return resumed, lambda image: output / "overlays" / image


def _is_done(
    file: FoundFile, done: Mapping[str, Row], results: Results, note: Callable[[Row], None]
) -> bool:
    """Tell whether an interrupted run has inspected a file, which is still the same."""
    row = done.get(printable(file.relative))
    if row is None:
        return False
    inspected = row["outcome"] != "ERROR"
    if not is_unchanged(file, row["sha256"]):
        return False
    if inspected and not results.mask_path(file.relative).exists():
        return False
    note(row | {"image": file.relative})
    return True


def _write_run(output: Path, run: Mapping[str, Any]) -> None:
    text = json.dumps(run, indent=2, ensure_ascii=False) + "\n"
    write_atomically(output / RUN, text.encode("utf-8", "backslashreplace"))


def _tell_products(
    found: Sequence[FoundFile], known: Sequence[str], product: str | None
) -> Sequence[str | None]:
    """Return the product of each file, None where its path does not tell; raise if none does."""
    if product is not None and product not in known:
        raise DataError(f"--product {product}: the bundle was trained on {', '.join(known)}.")
    if product is None and len(known) == 1:
        product = known[0]
    if product is not None:
        return [product] * len(found)
    told = [product_in_path(file.relative, known) for file in found]
    if not any(told):
        raise DataError(
            f"The bundle knows {len(known)} products ({', '.join(known)}), and which one the "
            f"images show cannot be told, such as {printable(found[0].relative)}. Name it by "
            "--product, or put the images in folders named after their products."
        )
    return told


def product_in_path(relative: str, known: Sequence[str]) -> str | None:
    """Return the product that the innermost folder in a path is named after, if one is."""
    folders = [folder.removesuffix("_def") for folder in relative.split("/")[:-1]]
    return next((folder for folder in reversed(folders) if folder in known), None)
