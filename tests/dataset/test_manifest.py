import dataclasses
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectseg.dataset.manifest import (
    COLUMNS,
    Sample,
    assign_splits,
    data_sha256,
    divide,
    group_keys,
    read_manifest,
    write_manifest,
)
from defectseg.errors import DataError
from defectseg.image_io import read_mask, write_mask

GOOD = {
    "image": "../raw/1.png",
    "mask": "",
    "product": "gear",
    "defective": "0",
    "split": "train",
    "width": "32",
    "height": "24",
    "sha256": "ab12",
}


def make(root: Path, *rows: dict[str, str], header: tuple[str, ...] = COLUMNS) -> Path:
    """A prepared folder whose manifest has a row of `GOOD` with changes for each of `rows`."""
    for name in ("raw/1.png", "data/masks/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    lines = [",".join((GOOD | row)[name] for name in header) for row in rows]
    text = "\n".join([",".join(header), *lines]) + "\n"
    (root / "data" / "manifest.csv").write_text(text, encoding="utf-8")
    return root / "data"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = make(tmp_path)
    good = Sample(tmp_path / "raw/1.png", None, 'a "b", c', False, "val", 32, 24, "ab12")
    defective = dataclasses.replace(
        good, mask=folder / "masks/1.png", defective=True, split="test", product="Größe 1"
    )
    text = write_manifest([good, defective], folder)
    assert text.splitlines()[0] == "image,mask,product,defective,split,width,height,sha256"
    assert text.splitlines()[2] == "../raw/1.png,masks/1.png,Größe 1,1,test,32,24,ab12"
    (folder / "manifest.csv").write_text(text, encoding="utf-8")
    # The same but for the image's path, which is now written through the folder.
    back = [
        dataclasses.replace(sample, image=sample.image.resolve())
        for sample in read_manifest(folder)
    ]
    assert back == [good, defective]


def test_paths_hold_when_all_is_moved(tmp_path: Path) -> None:
    make(tmp_path / "here", {})
    shutil.move(tmp_path / "here", tmp_path / "there")
    (sample,) = read_manifest(tmp_path / "there" / "data")
    assert sample.image.resolve() == tmp_path / "there" / "raw" / "1.png"


def test_paths_hold_where_a_folder_is_a_link(tmp_path: Path) -> None:
    make(tmp_path / "disk" / "a" / "b", {})
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "a" / "b")
    folder = tmp_path / "link" / "data"
    # Beside the link, and beside what it points to: "link/.." is disk/a.
    for image in (tmp_path / "1.png", tmp_path / "link" / ".." / "2.png"):
        image.touch()
        sample = Sample(image, None, "gear", False, "train", 32, 24, "ab12")
        (folder / "manifest.csv").write_text(write_manifest([sample], folder))
        assert read_manifest(folder)[0].image.samefile(image)


@pytest.mark.parametrize(
    ("change", "found", "expected"),
    [
        ({"split": "training"}, "split = 'training'", "train, val, test"),
        ({"width": "32.0"}, "width = '32.0'", "a whole number greater than 0"),
        ({"height": "-1"}, "height = '-1'", "a whole number greater than 0"),
        ({"height": "0"}, "height = '0'", "a whole number greater than 0"),
        ({"defective": "yes"}, "defective = 'yes'", "0 or 1"),
        ({"defective": "1"}, "defective = 1 with mask = ''", "each defective image only"),
        ({"mask": "masks/1.png"}, "defective = 0 with mask", "each defective image only"),
        ({"image": "../raw/2.png"}, "image = '../raw/2.png', which is", "an existing file"),
        (
            {"defective": "1", "mask": "masks/2.png"},
            "mask = 'masks/2.png', which is",
            "an existing file",
        ),
        ({"image": ""}, "image empty", "a value"),
        ({"product": ""}, "product empty", "a value"),
        ({"sha256": ""}, "sha256 empty", "a value"),
        ({"sha256": "ab12,1"}, "too many columns", "as many as in the first line"),
    ],
)
def test_bad_row_is_refused_with_its_line(
    tmp_path: Path, change: dict[str, str], found: str, expected: str
) -> None:
    folder = make(tmp_path, {}, change, {})
    with pytest.raises(DataError) as caught:
        read_manifest(folder)
    (problem,) = caught.value.problems
    assert problem.where == f"{folder / 'manifest.csv'}:3"
    assert problem.found.startswith(found)
    assert expected in problem.expected
    assert problem.fix == "Prepare the data again."


def test_all_bad_rows_are_listed(tmp_path: Path) -> None:
    folder = make(tmp_path, {"split": "x", "width": "y"}, {}, {"image": "gone.png"})
    with (folder / "manifest.csv").open("a") as file:
        file.write("../raw/1.png,\n")
    with pytest.raises(DataError) as caught:
        read_manifest(folder)
    lines = [problem.where.rpartition(":")[2] for problem in caught.value.problems]
    assert lines == ["2", "2", "4", "5"]
    assert caught.value.problems[-1].found == "too few columns"


def test_missing_columns_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path, {}, header=("image", "mask", "product", "defective", "split", "height"))
    with pytest.raises(DataError, match="lacks the columns width, sha256; expected image, mask"):
        read_manifest(folder)


def test_manifest_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        read_manifest(make(tmp_path))


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").touch()
    with pytest.raises(DataError, match="lacks the columns image, mask"):
        read_manifest(tmp_path)


def test_folder_without_manifest_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="defectseg prepare --input"):
        read_manifest(tmp_path / "nowhere")


Images = list[tuple[str, tuple[str, bool]]]
images_of_any_kind = st.lists(
    st.tuples(st.integers(0, 40).map(str), st.tuples(st.sampled_from(["A", "B"]), st.booleans())),
    max_size=60,
)
shares = st.floats(0, 0.45)


def split(images: Images, val: float, test: float) -> list[str]:
    keys, strata = [key for key, _ in images], [stratum for _, stratum in images]
    return assign_splits(keys, strata, [None] * len(images), val=val, test=test)


@given(images_of_any_kind, shares, shares, st.randoms(use_true_random=False))
def test_split_depends_on_content_and_not_on_order(
    images: Images, val: float, test: float, rng: random.Random
) -> None:
    shuffled = rng.sample(images, len(images))
    before = dict(zip(images, split(images, val, test), strict=True))
    assert dict(zip(shuffled, split(shuffled, val, test), strict=True)) == before


@given(images_of_any_kind, shares, shares)
def test_equal_content_shares_a_split(images: Images, val: float, test: float) -> None:
    splits: dict[str, set[str]] = {}
    for (key, _), name in zip(images, split(images, val, test), strict=True):
        splits.setdefault(key, set()).add(name)
    assert all(len(names) == 1 for names in splits.values())


def test_each_product_and_kind_is_divided_in_the_same_shares() -> None:
    # 20 and 10 images each, of which 10 % are for validation and 30 % for the test.
    strata = [("A", False)] * 20 + [("A", True)] * 10 + [("B", False)] * 20 + [("B", True)] * 10
    images = [(str(number), stratum) for number, stratum in enumerate(strata)]
    count = Counter(zip(strata, split(images, 0.1, 0.3), strict=True))
    for product in "AB":
        assert [count[(product, False), name] for name in ("train", "val", "test")] == [12, 2, 6]
        assert [count[(product, True), name] for name in ("train", "val", "test")] == [6, 1, 3]


def test_split_differs_from_the_order_of_the_keys() -> None:
    images = [(f"{number:03}", ("A", False)) for number in range(100)]
    splits = split(images, 0, 0.5)
    assert splits != sorted(splits)
    assert splits != sorted(splits, reverse=True)


def make_kinds(*kinds_and_splits: tuple[str, str]) -> list[Sample]:
    return [
        Sample(Path(kind) / f"{i}.png", None, "p", False, split, 8, 8, str(i))
        for i, (kind, split) in enumerate(kinds_and_splits)
    ]


def test_a_kind_is_left_out_of_training_and_validation_but_not_of_the_test() -> None:
    samples = make_kinds(("a", "train"), ("b", "train"), ("b", "val"), ("a", "val"), ("b", "test"))
    one, two, three, four, five = samples
    assert divide(samples) == {"train": [one, two], "val": [three, four], "test": [five]}
    assert divide(samples, ["b"]) == {"train": [one], "val": [four], "test": [five]}


def test_unknown_kinds_are_named_beside_those_there_are() -> None:
    with pytest.raises(DataError, match="names c, d, but the images lie in folders named a, b"):
        divide(make_kinds(("b", "train"), ("a", "val")), ["d", "a", "c"])


def test_given_test_images_stay_and_no_others_are_drawn() -> None:
    given_splits = ["train"] * 10 + ["test"] * 5
    keys = [str(number) for number in range(15)]
    splits = assign_splits(keys, [("A", False)] * 15, given_splits, val=0.2, test=0.4)
    assert splits[10:] == ["test"] * 5
    # Of the ten others 20 % are for validation.
    assert Counter(splits[:10]) == {"train": 8, "val": 2}


def test_training_image_whose_copy_is_given_for_the_test_goes_there_too() -> None:
    keys, given_splits = ["same", "other", "same"], ["train", "train", "test"]
    splits = assign_splits(keys, [("A", True)] * 3, given_splits, val=0, test=0)
    assert splits == ["test", "train", "test"]


def test_the_data_hash_changes_with_a_mask(prepared: Path) -> None:
    folder = prepared.with_name("changed")  # beside it, so that the paths to the images hold
    shutil.copytree(prepared, folder)
    samples = read_manifest(folder)
    before = data_sha256(samples)
    mask = next(sample.mask for sample in samples if sample.mask)
    write_mask(mask, 1 - read_mask(mask))
    assert data_sha256(samples) != before


def test_the_data_hash_is_that_of_the_data_wherever_it_lies(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared.parent, tmp_path / "deep" / "moved")
    moved = read_manifest(tmp_path / "deep" / "moved" / prepared.name)
    assert data_sha256(moved) == data_sha256(read_manifest(prepared))
    other = [dataclasses.replace(moved[0], split="of another"), *moved[1:]]
    assert data_sha256(other) != data_sha256(moved)


def test_what_hangs_together_by_content_or_origin_has_the_smallest_hash_as_its_key() -> None:
    # d and b by their origin x; that b, and c, by the content of a copy of b of the origin y.
    contents = ["d", "b", "b", "c", "a", "e", "e"]
    origins = ["x", "x", "y", "y", "", "", ""]
    assert group_keys(contents, origins) == ["b", "b", "b", "b", "a", "e", "e"]
    assert group_keys(contents[::-1], origins[::-1]) == ["e", "e", "a", "b", "b", "b", "b"]
