"""The whole way on synthetic images, by the same commands that real data takes."""

import shlex
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from defectseg.commands import data, prediction, training
from defectseg.config import INSTALLED, load_config
from defectseg.console import bold, out, print_table
from defectseg.dataset.manifest import read_manifest
from defectseg.errors import DataError
from defectseg.image_io import read_image, write_gray, write_picture
from defectseg.pictures import contact_sheet

PRODUCTS = ("Class1", "Class4", "Class5")
_MARK = ".defectseg-demo"
_BLUR_SIGMA = 2.0
_BLURRED_EACH = 4
_WANTED = {"defective": "FAIL", "good": "PASS", "blurred": "RETAKE"}


def run_demo(output: Path, config_path: Path) -> list[dict[str, object]]:
    """Run the demo into a folder, print what came of it, and return that table."""
    raw, prepared, run = output / "raw", output / "prepared", output / "bundle"
    test, results = output / "test", output / "results"
    config = load_config(config_path, data=prepared, run=run)
    if output.exists():
        if any(output.iterdir()) and not (output / _MARK).exists():
            raise DataError(f"{output} was not made by the demo; it is left as it is.")
        shutil.rmtree(output)
    output.mkdir(parents=True)
    (output / _MARK).touch()

    images = {"good": 60, "defective": 40, "size": 256, "seed": 0}
    _say("1. Draw images with ellipse labels", "synth", output=raw, product=PRODUCTS, **images)
    data.synth(raw, products=PRODUCTS, **images)
    shares = {"val": 0.15, "test": 0.2}
    _say("2. Turn labels into masks", "prepare", input=raw, output=prepared, **shares)
    data.prepare(
        raw, prepared, layout="auto", leave_out_unmatched=False, defect_labels=(), **shares
    )
    _say("3. Train", "train", config=_short(config_path), data=prepared, run=run)
    training.train(config, resume=False)
    truth = _write_test_folder(prepared, test)
    title = "4. Predict a folder that also holds blurred copies"
    _say(title, "predict", model=run, input=test, output=results)
    prediction.predict(run, test, results)

    rows = pd.read_csv(results / "predictions.csv").set_index("image", drop=False)
    figures = _count_outcomes(rows, truth)
    out.print()
    print_table("What came of it", figures)
    write_picture(output / "demo.jpg", _picture(rows, truth, results))
    out.print(f"\nLook at {bold(results / 'report.html')} first.")
    return figures


def _short(config_path: Path) -> Path:
    """Return the name by which settings are found, wherever the demo is run."""
    if not config_path.is_relative_to(INSTALLED):
        return config_path
    return Path("configs", config_path.relative_to(INSTALLED))


def _say(title: str, command: str, **options: object) -> None:
    """Print a step's title, and the command that does the same."""
    words = ["defectseg", command]
    for name, value in options.items():
        for single in value if isinstance(value, tuple) else (value,):
            words += [f"--{name}", str(single)]
    out.print(f"\n[bold]{title}[/]\n[dim]$ {shlex.join(words)}[/]")


def _write_test_folder(prepared: Path, folder: Path) -> dict[str, str]:
    """Copy the test images, and blur a few; return what each one is."""
    truth: dict[str, str] = {}
    blurred: Counter[tuple[str, bool]] = Counter()
    for sample in read_manifest(prepared):
        if sample.split != "test":
            continue
        kind = "defective" if sample.defective else "good"
        image = read_image(sample.image)
        name = f"{sample.product}/{kind}-{sample.image.stem}.png"
        write_gray(folder / name, image)
        truth[name] = kind
        if blurred[sample.product, sample.defective] < _BLURRED_EACH:
            blurred[sample.product, sample.defective] += 1
            name = f"{sample.product}/{kind}-{sample.image.stem}-blurred.png"
            soft = cv2.GaussianBlur(image, (0, 0), _BLUR_SIGMA)
            write_gray(folder / name, np.asarray(soft, np.uint8))
            truth[name] = "blurred"
    return truth


def _count_outcomes(rows: pd.DataFrame, truth: dict[str, str]) -> list[dict[str, object]]:
    table: list[dict[str, object]] = []
    for kind, wanted in _WANTED.items():
        count = Counter(rows["outcome"][rows["image"].map(truth) == kind])
        others = {name: number for name, number in count.items() if name != wanted}
        table.append(
            {
                "test images": kind,
                "count": count.total(),
                "wanted": wanted,
                "got": count[wanted],
                "others": ", ".join(f"{name} {number}" for name, number in others.items()) or "—",
            }
        )
    return table


def _picture(rows: pd.DataFrame, truth: dict[str, str], results: Path) -> npt.NDArray[np.uint8]:
    """Lay out the first image of each product and kind, defects outlined, with its verdict."""
    chosen = [
        next(name for name in truth if truth[name] == kind and name.startswith(product))
        for kind in _WANTED
        for product in PRODUCTS
    ]
    tiles = [read_image(results / "overlays" / Path(name).with_suffix(".jpg")) for name in chosen]
    captions = [f"{rows['outcome'][name]}  {Path(name).stem}" for name in chosen]
    return contact_sheet(tiles, captions, columns=len(PRODUCTS))
