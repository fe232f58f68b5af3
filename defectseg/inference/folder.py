"""Prediction of a folder: a row for every file, whatever it holds."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from defectseg import __version__
from defectseg.atomic import write_atomically
from defectseg.bundle import Bundle
from defectseg.errors import DataError, DefectsegError, ImageReadError
from defectseg.image_io import FoundFile, decode_image, read_bytes, require_images
from defectseg.inference.predictor import Predictor, open_predictor
from defectseg.inference.report import write_report
from defectseg.inference.results import (
    ResultsWriter,
    Row,
    check_output,
    make_error_row,
    make_row,
    name_pictures,
)

REPORT = "report.html"
RUN = "run.json"


@dataclass(frozen=True)
class FolderResult:
    """What came of a folder.

    Attributes
    ----------
    output : Path
    outcomes : Counter of str
        How many images had each outcome.
    ignored : tuple of str
        Files that are no images, by name and by content; what is not Unicode is escaped.
    seconds : float
    """

    output: Path
    outcomes: Counter[str]
    ignored: tuple[str, ...]
    seconds: float


def predict_folder(
    bundle: Bundle,
    source: Path,
    output: Path,
    *,
    product: str | None = None,
    on_image: Callable[[Row, int], None] = lambda row, total: None,
) -> FolderResult:
    """Inspect every image below a folder and write the results.

    Parameters
    ----------
    bundle : Bundle
    source : Path
        Folder of images, searched with its subfolders.
    output : Path
        New or empty.
    product : str or None
        What the images show. By default the bundle's only product or, where it has several, the
        one that a folder in the image's path is named after.
    on_image : callable
        Called after each image with its row and the number of all images.

    Raises
    ------
    DataError
        Before anything is written: if there are no images, the output folder is not free, or the
        product of an image cannot be told.
    """
    started = time.monotonic()
    found, ignored = require_images(source)
    check_output(output, source)
    products = _tell_products(found, list(bundle.calibration.gate.products), product)
    predictor = open_predictor(bundle)
    names = name_pictures(file.relative for file in found)
    rows: list[Row] = []
    with ResultsWriter(output, names) as writer:
        for file, own_product in zip(found, products, strict=True):
            row = _predict_file(predictor, writer, file, own_product)
            rows.append(row)
            on_image(row, len(found))
    outcomes = Counter(str(row["outcome"]) for row in rows)
    seconds = time.monotonic() - started
    run = _describe_run(bundle, predictor, source, outcomes, ignored, seconds)
    write_report(output / REPORT, rows, writer.overlay_path, bundle=bundle.folder.name)
    text = json.dumps(run, indent=2, ensure_ascii=False) + "\n"
    write_atomically(output / RUN, text.encode("utf-8", "backslashreplace"))
    return FolderResult(output, outcomes, tuple(map(_printable, ignored)), seconds)


def _predict_file(
    predictor: Predictor, writer: ResultsWriter, file: FoundFile, product: str | None
) -> Row:
    started = time.monotonic()
    sha256 = ""
    try:
        if file.problem:
            raise ImageReadError(file.problem)
        if product is None:
            known = ", ".join(predictor.calibration.gate.products)
            raise DataError(f"no folder in its path is named after a product ({known})")
        data = read_bytes(file.path)
        sha256 = hashlib.sha256(data).hexdigest()
        image = decode_image(data)
        inspection = predictor.inspect(image, product)
        elapsed_ms = 1000 * (time.monotonic() - started)
        row = make_row(file.relative, inspection, image.shape[:2], sha256, elapsed_ms)
        writer.write_inspection(row, image, inspection)
    except Exception as error:
        # An engine may raise anything, a name may be too long to write to; one image never stops
        # a folder.
        message = str(error) if isinstance(error, DefectsegError) else repr(error)
        elapsed_ms = 1000 * (time.monotonic() - started)
        row = make_error_row(file.relative, " ".join(message.split()), elapsed_ms, sha256)
        writer.write_row(row)
    return row


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
    told = [_product_in_path(file, known) for file in found]
    if not any(told):
        raise DataError(
            f"The bundle knows {len(known)} products ({', '.join(known)}), and which one the "
            f"images show cannot be told, such as {_printable(found[0].relative)}. Name it by "
            "--product, or put the images in folders named after their products."
        )
    return told


def _product_in_path(file: FoundFile, known: Sequence[str]) -> str | None:
    folders = [folder.removesuffix("_def") for folder in file.relative.split("/")[:-1]]
    return next((folder for folder in reversed(folders) if folder in known), None)


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _describe_run(
    bundle: Bundle,
    predictor: Predictor,
    source: Path,
    outcomes: Counter[str],
    ignored: Sequence[str],
    seconds: float,
) -> dict[str, object]:
    return {
        "defectseg": __version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "bundle": str(bundle.folder),
        "model_sha256": bundle.calibration.model_sha256,
        "calibrated": bundle.calibration.created,
        "thresholds": bundle.calibration.thresholds.model_dump(),
        "engine": predictor.engine.name,
        "precision": predictor.engine.precision,
        "input": str(source),
        "outcomes": dict(outcomes),
        "ignored": list(ignored),
    }
