import csv
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.manifest import COLUMNS, read_manifest
from defectseg.dataset.masks import rasterise
from defectseg.dataset.prepare import ProductSummary, prepare
from defectseg.errors import ConfigError, DataError
from defectseg.image_io import read_image, read_mask, write_gray
from defectseg.pictures import RED
from tests.annotations import test_cvat, test_labelme
from tests.annotations.folders import HEIGHT, WIDTH, noise, refused, write_images, write_lines

TILTED = Ellipse(6, 3, 0.6, 20, 9)
ROWS = ("1 6 3 0.6 20 9", "2 4 2 0 3 12", "2 2 2 0 20 12")
"""Image 1 has `TILTED`; image 2 has an ellipse that crosses the left border, and one that does not:
its columns are 2 - 4 to 2 + 4."""


def make(root: Path, *more_rows: str, product: str = "gear") -> Path:
    write_images(root / product, "1.png", "2.png", "3.png")
    write_images(root / f"{product}_def", "1.png", "2.png")
    write_lines(root / f"{product}_def" / "labels.txt", *ROWS, *more_rows)
    return root


def rows_of(output: Path) -> list[dict[str, str]]:
    with (output / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def copy_as_bmp(image: Path, copy: Path) -> None:
    """Write equal pixels as other bytes."""
    Image.open(image).save(copy)
    assert copy.read_bytes() != image.read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_folder_holds_manifest_masks_and_audit_sheet_and_nothing_else(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    layout, _ = prepare(raw, tmp_path / "out")
    assert layout == "article"
    masks = {"masks/gear/1.png", "masks/gear/2.png"}
    assert set(contents(tmp_path / "out")) == masks | {"manifest.csv", "audit.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "out"}


def test_manifest_has_a_row_an_image_with_what_is_known_of_it(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    prepare(raw, tmp_path / "deep" / "out", val=0, test=0)
    rows = rows_of(tmp_path / "deep" / "out")
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 5
    row = next(row for row in rows if row["image"] == "../../raw/gear_def/1.png")
    assert row == {
        "image": "../../raw/gear_def/1.png",
        "mask": "masks/gear/1.png",
        "product": "gear",
        "defective": "1",
        "split": "train",
        "width": "32",
        "height": "24",
        "sha256": hashlib.sha256((raw / "gear_def" / "1.png").read_bytes()).hexdigest(),
    }
    good = next(row for row in rows if row["image"] == "../../raw/gear/3.png")
    assert (good["mask"], good["defective"]) == ("", "0")


def test_masks_are_0_and_255_in_the_size_of_the_image(tmp_path: Path) -> None:
    prepare(make(tmp_path / "raw"), tmp_path / "out")
    mask = read_image(tmp_path / "out" / "masks" / "gear" / "1.png")
    np.testing.assert_array_equal(mask, 255 * rasterise([TILTED], (HEIGHT, WIDTH)))


def test_audit_sheet_has_its_line_on_the_border_of_the_defect(tmp_path: Path) -> None:
    prepare(make(tmp_path / "raw"), tmp_path / "out")
    sheet = read_image(tmp_path / "out" / "audit.png")
    # The first tile lies 8 pixels from the corner and is not shrunk.
    tile = sheet[8 : 8 + HEIGHT, 8 : 8 + WIDTH]
    red = (tile == RED).all(axis=2)
    mask = np.pad(rasterise([TILTED], (HEIGHT, WIDTH)), 1)
    beside = [mask[:-2, 1:-1], mask[2:, 1:-1], mask[1:-1, :-2], mask[1:-1, 2:]]
    # On the defect, with a neighbour that is not.
    border = (mask[1:-1, 1:-1] == 1) & (np.min(beside, axis=0) == 0)
    np.testing.assert_array_equal(red, border)


def test_data_can_be_moved_together_with_its_prepared_folder(tmp_path: Path) -> None:
    make(tmp_path / "here" / "raw")
    prepare(tmp_path / "here" / "raw", tmp_path / "here" / "out")
    shutil.move(tmp_path / "here", tmp_path / "there")
    samples = read_manifest(tmp_path / "there" / "out")
    assert len(samples) == 5
    assert all(sample.image.is_file() for sample in samples)


def test_summary_counts_by_product(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    make(raw, product="bolt")
    # A second file of equal pixels but other bytes.
    copy_as_bmp(raw / "bolt" / "1.png", raw / "bolt" / "4.bmp")
    calls: list[int] = []
    _, summary = prepare(raw, tmp_path / "out", val=0, test=0, on_image=calls.append)
    gear = ProductSummary(
        product="gear",
        good=3,
        defective=2,
        train=5,
        val=0,
        test=0,
        duplicates=0,
        empty_masks=0,
        ellipses_crossing_border=1,
        rows_without_image=0,
        images_without_row=0,
    )
    bolt = ProductSummary("bolt", 4, 2, 6, 0, 0, 1, 0, 1, 0, 0)
    assert summary == [bolt, gear]
    assert calls == [11] * 11


@pytest.mark.parametrize(
    ("labels", "good", "pixels"),
    [([], 1, {"1.png", "2.png"}), (["scratch"], 2, {"1.png"}), (["scratch", "stain"], 1, None)],
)
def test_shapes_of_some_labels_alone_are_defects(
    tmp_path: Path, labels: list[str], good: int, pixels: set[str] | None
) -> None:
    # Image 1 has a scratch and a stain, image 2 a stain, image 3 nothing.
    raw = test_cvat.make(tmp_path / "raw")
    _, (gear,) = prepare(raw, tmp_path / "out", val=0, test=0, defect_labels=labels)
    assert gear.shapes == {"scratch": 1, "stain": 2}
    assert (gear.good, gear.defective) == (good, 3 - good)
    masks = {path.name for path in (tmp_path / "out" / "masks" / "gear").iterdir()}
    assert masks == (pixels or {"1.png", "2.png"})
    mask = read_mask(tmp_path / "out" / "masks" / "gear" / "1.png")
    # The scratch has 123 pixels (π·9.5·4 = 119.4), the stain 16.
    assert mask.sum() == (123 if labels == ["scratch"] else 139)


def test_label_that_no_shape_has_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    raw = test_cvat.make(tmp_path / "raw")
    with pytest.raises(
        ConfigError, match=r"the label 'dent'; expected some of scratch, seen, stain\."
    ):
        prepare(raw, tmp_path / "out", defect_labels=["stain", "dent"])
    with pytest.raises(ConfigError, match="the label 'dent'; none has a name"):
        prepare(make(tmp_path / "plain"), tmp_path / "out", defect_labels=["dent"])
    assert not (tmp_path / "out").exists()


def test_masks_of_images_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_images(raw / "gear", "good.png")
    ellipses = {"x": "5,3,0,10,10", "y": "3,5,0,20,10", "z": "4,4,0,15,12"}
    for folder in ellipses:
        # Also the pictures of y and z are equal.
        write_gray(raw / "gear" / folder / "1.png", noise(1 if folder == "x" else 2))
    rows = [f"gear/{folder}/1.png,{numbers}" for folder, numbers in ellipses.items()]
    write_lines(raw / "labels.csv", *rows)
    prepare(raw, tmp_path / "out")
    samples = {s.image.parent.name: s for s in read_manifest(tmp_path / "out") if s.mask}
    assert len({sample.mask for sample in samples.values()}) == 3
    for folder, numbers in ellipses.items():
        ellipse = Ellipse(*map(float, numbers.split(",")))
        mask = samples[folder].mask
        assert mask is not None
        expected = rasterise([ellipse], (HEIGHT, WIDTH))
        np.testing.assert_array_equal(read_mask(mask), expected)


# Splits


def write_many(root: Path, order: list[int]) -> Path:
    """20 good and 10 defective images of two products; `order` gives the contents their names."""
    for product, seed in (("bolt", 0), ("gear", 1000)):
        for place, content in enumerate(order, start=1):
            folder = root / (product if content <= 20 else f"{product}_def")
            write_gray(folder / f"{place}.png", noise(seed + content, (8, 8)))
        places = [place for place, content in enumerate(order, start=1) if content > 20]
        rows = (f"{place} 2 2 0 4 4" for place in places)
        write_lines(root / f"{product}_def" / "labels.txt", *rows)
    return root


def test_splits_are_stratified_and_independent_of_names_and_order(tmp_path: Path) -> None:
    forwards = list(range(1, 31))
    splits = []
    for name, order in (("a", forwards), ("b", forwards[::-1])):
        output = tmp_path / name / "out"
        _, summary = prepare(write_many(tmp_path / name / "raw", order), output, val=0.1, test=0.3)
        # Of 20 good images 2 and 6, of 10 defective ones 1 and 3.
        assert [(s.train, s.val, s.test) for s in summary] == [(18, 3, 9)] * 2
        samples = read_manifest(output)
        for product in ("bolt", "gear"):
            kinds = [(s.defective, s.split) for s in samples if s.product == product]
            assert [kinds.count((True, split)) for split in ("train", "val", "test")] == [6, 1, 3]
        splits.append({sample.sha256: sample.split for sample in samples})
    assert splits[0] == splits[1]


def test_copies_of_an_image_share_its_split_and_are_counted(tmp_path: Path) -> None:
    raw = write_many(tmp_path / "raw", list(range(1, 31)))
    for number in range(1, 21):
        original = raw / "bolt" / f"{number}.png"
        shutil.copy(original, raw / "bolt" / f"{number + 100}.png")
        copy_as_bmp(original, raw / "bolt" / f"{number + 200}.bmp")
    _, summary = prepare(raw, tmp_path / "out", val=0.2, test=0.3)
    assert [product.duplicates for product in summary] == [40, 0]
    split_of = {
        int(sample.image.stem): sample.split
        for sample in read_manifest(tmp_path / "out")
        if sample.product == "bolt" and not sample.defective
    }
    assert set(split_of.values()) == {"train", "val", "test"}
    for number in range(1, 21):
        assert split_of[number] == split_of[number + 100] == split_of[number + 200]


def test_changed_copies_of_a_photograph_share_its_split(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    names = [f"{folder}/{n}_png.rf.{folder}.png" for n in range(10) for folder in ("train", "test")]
    write_images(raw, "good.png")
    for name in names:
        write_images((raw / name).parent, Path(name).name)
    write_lines(raw / "labels.csv", *(f"{name},5,3,0,10,10" for name in names))
    prepare(raw, tmp_path / "out", val=0.3, test=0.3)
    splits: dict[str, set[str]] = {}
    for sample in read_manifest(tmp_path / "out"):
        splits.setdefault(sample.image.name.partition(".rf.")[0], set()).add(sample.split)
    assert len(splits) == 11
    assert all(len(own) == 1 for own in splits.values())
    assert set.union(*splits.values()) == {"train", "val", "test"}


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.2, 1.2)])
def test_shares_that_leave_nothing_for_training_are_refused(
    tmp_path: Path, val: float, test: float
) -> None:
    raw = make(tmp_path / "raw")
    with pytest.raises(ConfigError, match="together less than 1"):
        prepare(raw, tmp_path / "out", val=val, test=test)


# The output folder


def test_earlier_output_is_replaced(tmp_path: Path) -> None:
    raw, output = make(tmp_path / "raw"), tmp_path / "out"
    prepare(raw, output)
    (raw / "gear_def" / "2.png").unlink()
    write_lines(raw / "gear_def" / "labels.txt", ROWS[0])
    prepare(raw, output)
    assert set(contents(output)) == {"masks/gear/1.png", "manifest.csv", "audit.png"}
    assert len(rows_of(output)) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "out"}


def test_preparing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    raw, output = make(tmp_path / "raw"), tmp_path / "out"
    prepare(raw, output)
    before = contents(output)
    prepare(raw, output)
    assert contents(output) == before


def test_earlier_output_survives_a_refusal(tmp_path: Path) -> None:
    raw, output = make(tmp_path / "raw"), tmp_path / "out"
    prepare(raw, output)
    before = contents(output)
    make(raw, "1 bad 1 1 1 1")
    refused(raw)
    assert contents(output) == before


@pytest.mark.parametrize("names", [["notes.txt"], ["manifest.csv", "notes.txt"], ["masks"]])
def test_folder_that_holds_anything_else_is_left_alone(tmp_path: Path, names: list[str]) -> None:
    raw, output = make(tmp_path / "raw"), tmp_path / "out"
    output.mkdir()
    for name in names:
        (output / name).touch()
    with pytest.raises(DataError, match="left as it is"):
        prepare(raw, output)
    assert sorted(contents(output)) == sorted(names)


def test_file_in_the_place_of_the_output_is_left_alone(tmp_path: Path) -> None:
    raw, output = make(tmp_path / "raw"), tmp_path / "out"
    output.write_text("mine")
    with pytest.raises(DataError, match="left as it is"):
        prepare(raw, output)
    assert output.read_text() == "mine"


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    raw, output = make(tmp_path / "raw"), tmp_path / "out"
    output.mkdir()
    prepare(raw, output)
    assert len(read_manifest(output)) == 5


@pytest.mark.parametrize("output", ["raw", "raw/out", "."])
def test_output_and_labels_may_not_lie_one_in_the_other(tmp_path: Path, output: str) -> None:
    raw = make(tmp_path / "raw")
    before = contents(tmp_path)
    with pytest.raises(DataError, match="lie one in the other"):
        prepare(raw, tmp_path / output)
    assert contents(tmp_path) == before


def test_output_that_is_a_link_is_written_where_it_points(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    (tmp_path / "disk" / "space").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "space")
    for _ in range(2):
        prepare(raw, tmp_path / "out")
        assert len(read_manifest(tmp_path / "out")) == 5
    assert (tmp_path / "out").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["space"]


# What is refused, whatever the layout; what a layout's own rows can have wrong is tested there.


def test_product_without_good_images_is_refused(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    make(raw, product="bolt")
    shutil.rmtree(raw / "bolt")
    (problem,) = refused(raw)
    assert (problem.where, problem.found) == (
        str(raw),
        "no good images of the product 'bolt'",
    )
    assert "the first folder of a path is its product, here bolt, gear" in problem.expected
    assert "--defect-label" not in problem.fix


def test_product_without_good_images_may_have_shapes_that_are_no_defects(tmp_path: Path) -> None:
    raw = test_cvat.make(tmp_path / "raw")
    text = (raw / "annotations.xml").read_text()
    part = '<polygon label="part" points="1,1;9,1;9,9"/>'
    (raw / "annotations.xml").write_text(
        text.replace("</image>\n</annot", f"{part}</image></annot")
    )
    (problem,) = refused(raw)
    assert "(part, scratch, stain), name those that are: --defect-label." in problem.fix
    assert "product, here" not in problem.expected


def test_label_of_an_image_that_exif_turns_is_refused_with_the_reason(tmp_path: Path) -> None:
    raw = test_cvat.make(tmp_path / "raw")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name in ("1.png", "2.png"):
        path = raw / "images" / "gear" / name
        with Image.open(path) as picture:
            # The second is another picture, on its side.
            picture = picture.rotate(90, expand=True) if name == "2.png" else picture.copy()
        picture.save(path, exif=exif if name == "1.png" else None)
    first, second = refused(raw)
    assert first.found == "an image of 24×32 pixels, turned as its EXIF orientation says"
    assert "32×24" in first.expected
    assert second.found == "an image of 24×32 pixels"


def test_no_defective_images_at_all_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_images(raw, "1.png", "2.png")
    write_lines(raw / "labels.csv", "image,semi_major,semi_minor,angle,x,y")
    (problem,) = refused(raw)
    assert (problem.where, problem.found) == (str(raw), "no defective images at all")


def test_labels_that_cannot_be_read_are_not_called_a_lack_of_defects(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_images(raw, "1.png", "2.png")
    write_lines(raw / "labels.csv", "1.png,5,3,0,10,bad")
    (problem,) = refused(raw)
    assert problem.found == "y = 'bad'"


def test_defective_images_that_are_refused_are_not_called_a_lack_of_them(tmp_path: Path) -> None:
    raw = test_cvat.make(tmp_path / "raw")
    for name in ("1.png", "2.png"):
        write_gray(raw / "images" / "gear" / name, noise(7, (24, 24)))  # instead of 32×24
    assert [problem.found for problem in refused(raw)] == ["an image of 24×24 pixels"] * 2


@pytest.mark.parametrize("name", ["gear/1.png", "gear_def/1.png"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "the file is empty"),
        (b"no picture", "cannot be decoded"),
        (None, "cannot be decoded"),  # cut off half way
    ],
)
def test_unreadable_image_is_refused(
    tmp_path: Path, name: str, content: bytes | None, found: str
) -> None:
    raw = make(tmp_path / "raw")
    data = (raw / name).read_bytes()
    (raw / name).write_bytes(data[: len(data) // 2] if content is None else content)
    (problem,) = refused(raw)
    assert problem.where == str(raw / name)
    assert found in problem.found
    assert "PNG, JPEG, BMP or TIFF" in problem.expected


def test_picture_labelled_both_good_and_defective_is_refused(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    shutil.copy(raw / "gear_def" / "1.png", raw / "gear" / "4.png")
    (problem,) = refused(raw)
    places = {raw / "gear" / "4.png", raw / "gear_def" / "1.png"}
    assert {problem.where, problem.found.split()[4].rstrip(",")} == {str(path) for path in places}
    assert "one good and one defective" in problem.found


def test_all_problems_of_all_kinds_are_listed_at_once(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw", "1 5 nan 0 1 1", "9 5 3 0 1 1", "2 5 3 0 -90 1")
    make(raw, product="bolt")
    shutil.rmtree(raw / "bolt")
    (raw / "bolt_def" / "1.png").write_bytes(b"")
    write_images(raw / "gear_def", "8.png")
    where = {problem.where for problem in refused(raw)}
    labels = raw / "gear_def" / "labels.txt"
    assert where == {
        f"{labels}:4",  # not a number
        f"{labels}:5",  # no image 9
        f"{labels}:6",  # outside
        str(raw / "gear_def" / "8.png"),  # without a row
        str(raw / "bolt_def" / "1.png"),  # unreadable
        str(raw),  # no good images of bolt
    }


# Leaving out what is unmatched


def test_unmatched_rows_and_images_are_left_out_and_counted(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw", "8 5 3 0 1 1", "9 5 3 0 1 1", "9 5 4 0 1 1")
    write_images(raw / "gear_def", "7.png")
    assert len(refused(raw)) == 4
    _, (summary,) = prepare(raw, tmp_path / "out", leave_out_unmatched=True)
    assert (summary.rows_without_image, summary.images_without_row) == (3, 1)
    assert (summary.good, summary.defective) == (3, 2)
    assert not any("7.png" in row["image"] for row in rows_of(tmp_path / "out"))


def test_product_of_which_all_is_left_out_is_still_counted(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    write_lines(raw / "bolt_def" / "labels.txt", "1 5 3 0 1 1")
    _, summary = prepare(raw, tmp_path / "out", leave_out_unmatched=True)
    bolt = summary[0]
    assert (bolt.product, bolt.good, bolt.defective, bolt.rows_without_image) == ("bolt", 0, 0, 1)


def test_bad_rows_are_refused_also_when_unmatched_are_left_out(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw", "1 5 bad 0 1 1", "9 5 3 0 1 1")
    (problem,) = refused(raw, leave_out=True)
    assert problem.found == "semi_minor = 'bad'"


@pytest.mark.parametrize("layout", ["table", "labelme"])
def test_row_is_not_left_out_where_its_image_would_count_as_good(
    tmp_path: Path, layout: str
) -> None:
    raw = tmp_path / "raw"
    if layout == "table":
        write_images(raw, "1.png", "2.png", "3.png")
        # The second row means 2.png.
        write_lines(raw / "labels.csv", "1.png,5,3,0,10,10", "no2.png,5,3,0,10,10")
    else:
        test_labelme.make(raw)
        test_labelme.make(raw, lambda own: own.update(imagePath="no2.png"), name="gear/no2.json")
    reason, row = refused(raw, leave_out=True)
    assert "count as good because no row names them" in reason.found
    assert "no2.png" in row.found


def test_images_that_are_good_because_no_row_names_them_are_counted(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_images(raw, "1.png", "2.png", "3.png", "4.png")
    write_lines(raw / "labels.csv", "1.png,5,3,0,10,10", "4.png,,,,,")
    _, (summary,) = prepare(raw, tmp_path / "out", leave_out_unmatched=True)
    assert (summary.good, summary.good_as_unnamed) == (3, 2)
