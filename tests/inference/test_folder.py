"""Folders of every kind, through the bundle that `conftest` trains."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from defectseg.bundle import load_bundle
from defectseg.cli import app
from defectseg.dataset.manifest import read_manifest
from defectseg.dataset.synthetic import generate_sample
from defectseg.errors import DataError
from defectseg.image_io import read_image, read_mask, write_gray
from defectseg.inference.folder import predict_folder

ROOT = Path(__file__).parents[2]
# Not valid UTF-8; Python keeps the byte as a surrogate, the tables write that escaped.
CAFE = os.fsdecode(b"caf\xe9.png")

Array = npt.NDArray[np.uint8]


def draw(product: str, seed: int, *, defective: bool = False, size: int = 128) -> Array:
    rng = np.random.default_rng([99, seed])
    return generate_sample(product, defective=defective, rng=rng, size=size)[0]


def encode(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


GRAY = draw("Class1", 0, defective=True)
PICTURE = Image.fromarray(GRAY)
PNG = encode(PICTURE, "PNG")
PALETTE = Image.fromarray(GRAY).convert("P")
PALETTE.putpalette([level for value in range(256) for level in (value, value, value)])

# One and the same picture, in files of many kinds.
SAME = {
    "base.png": PNG,
    "sub/deep/again.png": PNG,
    "no suffix": PNG,
    "two words, größer.png": PNG,
    "new\nline.png": PNG,
    CAFE: PNG,
    "wrongly_named.jpg": encode(PICTURE, "BMP"),
    "same_stem.bmp": encode(PICTURE, "BMP"),
    "same_stem.tif": encode(PICTURE, "TIFF"),
    "same_stem.png.png": PNG,
    "same_stem.png": encode(PICTURE.convert("RGB"), "PNG"),
    "palette.png": encode(PALETTE, "PNG"),
    "alpha.png": encode(Image.fromarray(np.dstack([GRAY] * 3 + [255 - GRAY])), "PNG"),
    "16_bit.png": encode(Image.fromarray(GRAY.astype(np.uint16) * 257), "PNG"),
    "cmyk.tif": encode(
        Image.merge("CMYK", [Image.new("L", PICTURE.size)] * 3 + [Image.fromarray(255 - GRAY)]),
        "TIFF",
    ),
}
OTHER = {
    "black_and_white.png": encode(Image.fromarray(GRAY >= 128), "PNG"),
    "one_pixel.png": encode(Image.fromarray(GRAY[:1, :1]), "PNG"),
    "narrow.png": encode(Image.fromarray(GRAY[:, :3]), "PNG"),
    "oblong.png": encode(Image.fromarray(GRAY[:50, :97]), "PNG"),
}
BROKEN = {
    "cut.png": PNG[:3000],
    "empty.png": b"",
    "text.png": b"no image at all",
}
# Why each row of these is an ERROR.
PROBLEMS = {
    "cut.png": "cannot be decoded",
    "empty.png": "the file is empty (0 bytes)",
    "text.png": "cannot identify image file",
    "folder.png": "is a folder with the name of an image",
    "broken_link.png": "cannot be opened: No such file",
    "n" * 255: "File name too long",  # an image, whose mask's name has no room for its suffix
}


@dataclass(frozen=True)
class Results:
    source: Path
    output: Path
    status: int
    printed: str

    def rows(self, table: str = "predictions.csv") -> list[dict[str, str]]:
        with (self.output / table).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def row(self, image: str) -> dict[str, str]:
        return next(row for row in self.rows() if row["image"] == shown(image))


def shown(name: str) -> str:
    """Return a file name as the tables write it."""
    return name.encode("utf-8", "backslashreplace").decode()


@pytest.fixture(scope="module")
def hostile(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of a folder of every kind of file, by ``python predict.py``."""
    source = tmp_path_factory.mktemp("hostile")
    for name, data in {**SAME, **OTHER, **BROKEN, "n" * 255: PNG, "notes.txt": b"x"}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    (source / os.fsdecode(b"notes\xe9.txt")).write_text("x")
    (source / "folder.png").mkdir()
    (source / "broken_link.png").symlink_to("absent")
    output = tmp_path_factory.mktemp("results") / "new" / "out"
    words = ["--model", bundle_folder, "--input", source, "--output", output, "--product", "Class1"]
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "predict.py", *map(str, words)],
        cwd=ROOT,
        # As in most terminals: what is not Unicode cannot be printed.
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Results(source, output, run.returncode, run.stdout + run.stderr)


def predict(bundle: Path, source: Path, output: Path, *options: str) -> tuple[int, str]:
    """Run ``defectseg predict`` in this process; return its exit status and what it printed."""
    words = ["predict", "--model", bundle, "--input", source, "--output", output, *options]
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_some_unreadable_images_give_status_1_and_no_traceback(hostile: Results) -> None:
    assert hostile.status == 1, hostile.printed
    assert "Traceback" not in hostile.printed
    assert f"ERROR {len(PROBLEMS)}" in hostile.printed
    assert "2 other file(s) were left alone" in hostile.printed


def test_every_image_has_its_row_in_sorted_order(hostile: Results) -> None:
    expected = sorted([*SAME, *OTHER, *PROBLEMS])
    assert [row["image"] for row in hostile.rows()] == [shown(name) for name in expected]


def test_what_cannot_be_read_is_an_error_with_its_reason(hostile: Results) -> None:
    errors = {row["image"]: row for row in hostile.rows() if row["outcome"] == "ERROR"}
    assert errors.keys() == PROBLEMS.keys()
    for name, problem in PROBLEMS.items():
        assert problem in errors[name]["error"]
        assert errors[name]["defect_score"] == errors[name]["width"] == ""
    assert errors["cut.png"]["sha256"] == hashlib.sha256(BROKEN["cut.png"]).hexdigest()
    assert not any(row["error"] for row in hostile.rows() if row["outcome"] != "ERROR")


@pytest.mark.parametrize("name", SAME)
def test_the_same_picture_has_the_same_answer_whatever_the_file(
    hostile: Results, name: str
) -> None:
    base, row = hostile.row("base.png"), hostile.row(name)
    for column in ("outcome", "defect_score", "defect_regions", "defect_area_px", "sharpness"):
        assert row[column] == base[column], column
    assert (row["width"], row["height"]) == ("128", "128")
    assert row["sha256"] == hashlib.sha256(SAME[name]).hexdigest()


def test_every_inspected_image_has_a_mask_and_an_overlay_of_its_size(hostile: Results) -> None:
    stems = Counter(name.removesuffix(Path(name).suffix) for name in [*SAME, *OTHER, *PROBLEMS])
    for name, data in {**SAME, **OTHER}.items():
        stem = name.removesuffix(Path(name).suffix)
        # Where two images differ by the suffix alone, or by it and ".png", it is kept.
        kept = name if stems[stem] > 1 or stem == "same_stem.png" else stem
        size = Image.open(io.BytesIO(data)).size[::-1]
        mask = read_image(hostile.output / "masks" / f"{kept}.png")
        assert mask.shape == size
        assert set(np.unique(mask)) <= {0, 255}
        assert read_image(hostile.output / "overlays" / f"{kept}.jpg").shape[:2] == size
        assert np.count_nonzero(mask) == int(hostile.row(name)["defect_area_px"])
    masks = [path for path in (hostile.output / "masks").rglob("*") if path.is_file()]
    assert len(masks) == len(SAME) + len(OTHER)


def test_defects_agree_with_predictions(hostile: Results) -> None:
    defects = hostile.rows("defects.csv")
    for row in hostile.rows():
        own = [defect for defect in defects if defect["image"] == row["image"]]
        assert len(own) == int(row["defect_regions"] or 0)
        assert [defect["region"] for defect in own] == [str(i + 1) for i in range(len(own))]
        assert sum(int(defect["area_px"]) for defect in own) == int(row["defect_area_px"] or 0)
        scores = [float(defect["score"]) for defect in own]
        assert scores == sorted(scores, reverse=True)
        # The strongest region is where the image's own score comes from.
        assert all(score <= float(row["defect_score"]) for score in scores)
        if row["outcome"] == "PASS":
            assert not own
    assert {defect["image"] for defect in defects} <= {row["image"] for row in hostile.rows()}


def test_outcomes_follow_from_the_rows_own_figures(hostile: Results, bundle_folder: Path) -> None:
    thresholds = load_bundle(bundle_folder).calibration.thresholds
    for row in hostile.rows():
        if row["outcome"] == "ERROR":
            continue
        score = float(row["defect_score"])
        if row["outcome"] == "RETAKE":
            assert row["reasons"]
            continue
        if score >= thresholds.fail:
            expected = "FAIL"
        else:
            expected = "REVIEW" if score >= thresholds.review else "PASS"
        assert row["outcome"] == expected, row
    assert hostile.row("one_pixel.png")["outcome"] == "RETAKE"


def test_run_says_what_was_done_and_adds_up(hostile: Results, bundle_folder: Path) -> None:
    run = json.loads((hostile.output / "run.json").read_text("utf-8"))
    rows = hostile.rows()
    assert run["outcomes"] == Counter(row["outcome"] for row in rows)
    assert sum(run["outcomes"].values()) == len(rows)
    assert run["ignored"] == ["notes.txt", os.fsdecode(b"notes\xe9.txt")]
    calibration = load_bundle(bundle_folder).calibration
    assert run["model_sha256"] == calibration.model_sha256
    assert run["thresholds"] == calibration.thresholds.model_dump()
    assert run["engine"] == "openvino"
    assert run["precision"] == calibration.engine
    assert run["finished"]
    assert run["input"] == str(hostile.source)
    assert Path(run["input"]).is_absolute()


def test_report_shows_every_row_and_reaches_for_nothing_outside(hostile: Results) -> None:
    text = (hostile.output / "report.html").read_text("utf-8")
    rows = hostile.rows()
    assert text.count("<figure") == len(rows)
    assert f"<h1>{len(rows)} images" in text
    counts = dict(re.findall(r"<b>(\w+)</b>\s*<strong>(\d+)</strong>", text))
    assert {name: int(count) for name, count in counts.items() if count != "0"} == Counter(
        row["outcome"] for row in rows
    )
    assert not re.search(r"https?://|src=\"(?!data:)|url\(|<link", text)


def test_nothing_but_the_results_is_written(hostile: Results) -> None:
    expected = {"masks", "overlays", "predictions.csv", "defects.csv", "report.html", "run.json"}
    assert {path.name for path in hostile.output.iterdir()} == expected


def fill(folder: Path, product: str, *, blur: float = 0) -> None:
    for seed in range(4):
        image = draw(product, seed)
        if blur:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.uint8)
        folder.mkdir(parents=True, exist_ok=True)
        write_gray(folder / f"{seed}.png", image)


def test_blurred_images_are_retaken_and_never_passed(
    bundle_folder: Path, prepared: Path, tmp_path: Path
) -> None:
    trained_on = [s for s in read_manifest(prepared) if s.split == "train" and not s.defective]
    for sample in trained_on:
        folder = tmp_path / "in" / "sharp" / sample.product
        write_gray(folder / sample.image.name, read_image(sample.image))
    for product in ("Class1", "Class5"):
        for sigma in (1.5, 3, 8):
            fill(tmp_path / "in" / f"blurred_{sigma}" / product, product, blur=sigma)
    bundle = load_bundle(bundle_folder)
    rows = []
    result = predict_folder(
        bundle, tmp_path / "in", tmp_path / "out", on_image=lambda row, total: rows.append(row)
    )
    blurred = [row for row in rows if row["image"].startswith("blurred")]
    sharp = [row for row in rows if row["image"].startswith("sharp")]
    assert len(rows) == result.outcomes.total() == 24 + len(trained_on)
    assert [row["outcome"] for row in blurred] == ["RETAKE"] * 24
    assert sum("defocus or motion" in row["reasons"] for row in blurred) > 18
    # The gate does not simply refuse everything.
    assert sum(row["outcome"] == "RETAKE" for row in sharp) <= len(sharp) / 4
    # A mask is written of an image that is not believed, too.
    assert read_mask(tmp_path / "out" / "masks" / "blurred_3" / "Class1" / "0.png").shape == (
        128,
        128,
    )


def test_product_is_told_from_the_folder(bundle_folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "in" / "Class1", "Class1")
    fill(tmp_path / "in" / "line 2" / "Class5_def", "Class5")
    status, printed = predict(bundle_folder, tmp_path / "in", tmp_path / "out")
    assert status == 0, printed
    assert "8 images in" in printed
    gates = load_bundle(bundle_folder).calibration.gate.products
    results = Results(tmp_path / "in", tmp_path / "out", status, printed)
    for row in results.rows():
        product = "Class1" if row["image"].startswith("Class1/") else "Class5"
        limit = gates[product].sharpness_limit
        assert float(row["sharpness_limit"]) == pytest.approx(limit, abs=1e-4)


def test_images_whose_product_cannot_be_told_are_errors_and_the_rest_goes_on(
    bundle_folder: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "in" / "Class1", "Class1")
    fill(tmp_path / "in" / "Class7", "Class1")
    (tmp_path / "in" / "x.png").mkdir()
    status, printed = predict(bundle_folder, tmp_path / "in", tmp_path / "out")
    assert status == 1
    rows = Results(tmp_path / "in", tmp_path / "out", status, printed).rows()
    outcomes = {row["image"]: row["outcome"] for row in rows}
    assert outcomes.pop("x.png") == "ERROR"
    assert len(outcomes) == 8
    for name, outcome in outcomes.items():
        assert (outcome == "ERROR") == name.startswith("Class7/")
    assert "named after a product (Class1, Class5)" in rows[-2]["error"]


def test_products_of_which_none_can_be_told_are_a_usage_error(
    bundle_folder: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "in" / "Class7", "Class1")
    status, printed = predict(bundle_folder, tmp_path / "in", tmp_path / "out")
    assert status == 2
    assert "cannot be told, such as Class7/0.png" in printed
    assert not (tmp_path / "out").exists()


def test_unknown_product_is_an_error_before_anything_is_written(
    bundle_folder: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "in", "Class1")
    options = ("--product", "Class2")
    status, printed = predict(bundle_folder, tmp_path / "in", tmp_path / "out", *options)
    assert status == 2
    assert "--product Class2: the bundle was trained on Class1, Class5" in printed
    assert not (tmp_path / "out").exists()


def test_output_with_something_in_it_is_left_as_it_is(bundle_folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "in", "Class1")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    options = ("--product", "Class1")
    status, printed = predict(bundle_folder, tmp_path / "in", tmp_path / "out", *options)
    assert status == 2
    assert "is not empty; it is left as it is" in printed
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("source", "message"),
    [("in", "holds no images (PNG, JPEG, BMP or TIFF); 1 other file(s)"), ("absent", "is not a")],
)
def test_folder_without_images_is_an_error(
    bundle_folder: Path, tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    status, printed = predict(bundle_folder, tmp_path / source, tmp_path / "out")
    assert status == 2
    assert message in printed
    assert not (tmp_path / "out").exists()


def test_output_within_the_input_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    fill(tmp_path, "Class1")
    with pytest.raises(DataError, match="lies within"):
        predict_folder(load_bundle(bundle_folder), tmp_path, tmp_path / "out", product="Class1")
    assert not (tmp_path / "out").exists()


def test_prediction_starts_without_tensorflow() -> None:
    code = (
        "import sys, defectseg.cli, defectseg.inference.folder\n"
        "print([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


@pytest.mark.slow
def test_large_image_is_inspected_at_its_own_size(bundle_folder: Path, tmp_path: Path) -> None:
    tile = np.tile(draw("Class1", 1, size=512), (3, 4))[:1500, :2000]
    (tmp_path / "in").mkdir()
    write_gray(tmp_path / "in" / "large.png", tile)
    bundle = load_bundle(bundle_folder)
    result = predict_folder(bundle, tmp_path / "in", tmp_path / "out", product="Class1")
    assert not result.outcomes["ERROR"]
    assert read_image(tmp_path / "out" / "masks" / "large.png").shape == (1500, 2000)
    assert read_image(tmp_path / "out" / "overlays" / "large.jpg").shape[:2] == (1500, 2000)


def test_a_run_is_gone_on_with_by_the_same_folders_named_otherwise(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gray(tmp_path / "one" / "a.png", draw("Class1", 1))
    monkeypatch.chdir(tmp_path)
    Path("model").symlink_to(bundle_folder)
    own, out = load_bundle(Path("model")), Path("out")
    predict_folder(own, Path("one"), out, product="Class1")
    record = json.loads((out / "run.json").read_text())
    for before in (record, record | {"input": "one"}):  # earlier versions wrote it as it was given
        (out / "run.json").write_text(json.dumps(before))
        same = tmp_path / "one"
        result = predict_folder(
            load_bundle(bundle_folder), same, out, product="Class1", resume=True
        )
        assert result.resumed == 1
    shutil.copytree("one", "other")
    with pytest.raises(DataError, match="input was"):
        predict_folder(own, Path("other"), out, product="Class1", resume=True)


@pytest.mark.skipif(os.name != "posix", reason="locks that end with their process")
def test_a_second_run_into_a_folder_is_refused_from_the_first_s_start_to_its_end(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from defectseg.inference import folder

    for name in "abc":
        write_gray(tmp_path / "in" / f"{name}.png", draw("Class1", 1))
    refused = []

    def run_another(*words: object) -> None:
        for resume in ((), ("--resume",)):
            options = ("--product", "Class1", *resume)
            status, printed = predict(bundle_folder, tmp_path / "in", tmp_path / "out", *options)
            assert "Another run is writing to" in printed
            assert "is not empty" not in printed
            refused.append(status)

    def open_late(*words: Any, **named: Any) -> Any:
        run_another()
        return open_predictor(*words, **named)

    open_predictor = folder.open_predictor
    monkeypatch.setattr(folder, "open_predictor", open_late)
    bundle = load_bundle(bundle_folder)
    out = tmp_path / "out"
    predict_folder(bundle, tmp_path / "in", out, product="Class1", on_image=run_another)
    assert refused == [2] * 8
    with (out / "predictions.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["a.png", "b.png", "c.png"]
    assert not list(out.glob(".*"))
