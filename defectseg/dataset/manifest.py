"""The manifest: one row an image, with its mask, its split and its hash."""

import csv
import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectseg.errors import DataError, Problem

FILE_NAME = "manifest.csv"
COLUMNS = ("image", "mask", "product", "defective", "split", "width", "height", "sha256")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One row of the manifest.

    Attributes
    ----------
    image : Path
    mask : Path or None
        None for a good image.
    product : str
    defective : bool
    split : str
        ``"train"``, ``"val"`` or ``"test"``.
    width, height : int
        In pixels.
    sha256 : str
        Of the image file's bytes.
    """

    image: Path
    mask: Path | None
    product: str
    defective: bool
    split: str
    width: int
    height: int
    sha256: str

    @property
    def kind(self) -> str:
        """The kind of defect, or of image: the name of the folder that the image lies in."""
        return self.image.parent.name


def write_manifest(samples: Iterable[Sample], folder: Path) -> str:
    """Return the manifest as CSV text, its paths written relative to `folder`."""
    rows = [
        {
            "image": _relative(sample.image, folder),
            "mask": _relative(sample.mask, folder) if sample.mask else "",
            "product": sample.product,
            "defective": int(sample.defective),
            "split": sample.split,
            "width": sample.width,
            "height": sample.height,
            "sha256": sample.sha256,
        }
        for sample in samples
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _relative(path: Path, folder: Path) -> str:
    # Links to folders are followed first: "link/.." is not the folder that holds the link.
    real = path.parent.resolve() / path.name
    return Path(os.path.relpath(real, folder.resolve())).as_posix()


def read_manifest(folder: Path) -> list[Sample]:
    """Read ``manifest.csv`` of a prepared folder.

    Raises
    ------
    DataError
        If there is none, a column is missing, a value is not what it should be, or a file that
        it names is gone; all bad rows at once.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise DataError(
            f"{folder} holds no {FILE_NAME}. Make it: defectseg prepare --input LABELS "
            f"--output {folder}"
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}; expected {', '.join(COLUMNS)}. "
            "Prepare the data again."
        )
    problems: list[Problem] = []
    samples = [_parse_row(row, folder, f"{path}:{reader.line_num}", problems) for row in reader]
    if problems:
        raise DataError(f"{path} cannot be used.", problems)
    if not samples:
        raise DataError(f"{path} has no rows. Prepare the data again.")
    return [sample for sample in samples if sample]


def divide(samples: Iterable[Sample], leave_out: Sequence[str] = ()) -> dict[str, list[Sample]]:
    """Return the samples of each split.

    Parameters
    ----------
    samples : iterable of Sample
    leave_out : sequence of str
        Kinds that are neither trained on nor validated with; they stay among the test images.

    Raises
    ------
    DataError
        If there is no such kind.
    """
    split: dict[str, list[Sample]] = {name: [] for name in SPLITS}
    known = set()
    for sample in samples:
        known.add(sample.kind)
        if sample.split == "test" or sample.kind not in leave_out:
            split[sample.split].append(sample)
    unknown = sorted(set(leave_out) - known)
    if unknown:
        raise DataError(
            f"train.leave_out names {', '.join(unknown)}, but the images lie in folders named "
            f"{', '.join(sorted(known))}."
        )
    return split


def data_sha256(samples: Iterable[Sample]) -> str:
    """Return a hash of all that samples say: images by the hashes of the manifest, masks by bytes.

    A data folder that was moved is the same data; the last folder of an image's path is its kind.
    """
    digest = hashlib.sha256()
    for sample in samples:
        says = (sample.sha256, sample.product, sample.kind, sample.defective, sample.split)
        digest.update(repr(says).encode())
        if sample.mask:
            digest.update(sample.mask.read_bytes())
    return digest.hexdigest()


def _parse_row(
    row: dict[str | Any, str | Any], folder: Path, source: str, problems: list[Problem]
) -> Sample | None:
    fix = "Prepare the data again."
    before = len(problems)
    if None in row or None in row.values():  # as DictReader marks what is too long or too short
        found = f"too {'many' if None in row else 'few'} columns"
        problems.append(Problem(source, found, "as many as in the first line", fix))
        return None
    for name in ("image", "product", "sha256"):
        if not row[name]:
            problems.append(Problem(source, f"{name} empty", "a value", fix))
    if row["split"] not in SPLITS:
        problems.append(Problem(source, f"split = {row['split']!r}", ", ".join(SPLITS), fix))
    for name in ("width", "height"):
        if not row[name].isdecimal() or int(row[name]) == 0:
            expected = "a whole number greater than 0"
            problems.append(Problem(source, f"{name} = {row[name]!r}", expected, fix))
    if row["defective"] not in {"0", "1"}:
        problems.append(Problem(source, f"defective = {row['defective']!r}", "0 or 1", fix))
    elif (row["defective"] == "1") != bool(row["mask"]):
        found = f"defective = {row['defective']} with mask = {row['mask']!r}"
        problems.append(Problem(source, found, "a mask for each defective image only", fix))
    for name in ("image", "mask"):
        if row[name] and not (folder / row[name]).is_file():
            found = f"{name} = {row[name]!r}, which is not there"
            problems.append(Problem(source, found, "an existing file", fix))
    if len(problems) > before:
        return None
    return Sample(
        image=folder / row["image"],
        mask=folder / row["mask"] if row["mask"] else None,
        product=row["product"],
        defective=row["defective"] == "1",
        split=row["split"],
        width=int(row["width"]),
        height=int(row["height"]),
        sha256=row["sha256"],
    )


def group_keys(contents: Sequence[str], origins: Sequence[str]) -> list[str]:
    """Return a key for each image, by which copies of one photograph stay together.

    Parameters
    ----------
    contents : sequence of str
        A hash of each image's content.
    origins : sequence of str
        The photograph that each was made of; empty where it is one itself.

    Returns
    -------
    list of str
        Images of equal content have equal keys, and so have those of one origin: the smallest
        hash among them. Names do not count but for this.
    """
    keys = list(contents)
    while True:
        # Images may hang together by a third one, so the smallest is passed on till all have it.
        smallest: dict[tuple[str, str], str] = {}
        tags = [
            [("content", content), *([("origin", origin)] if origin else [])]
            for content, origin in zip(contents, origins, strict=True)
        ]
        for own, key in zip(tags, keys, strict=True):
            for tag in own:
                smallest[tag] = min(key, smallest.get(tag, key))
        passed_on = [min(smallest[tag] for tag in own) for own in tags]
        if passed_on == keys:
            return keys
        keys = passed_on


def assign_splits(
    keys: Sequence[str],
    strata: Sequence[tuple[str, bool]],
    given: Sequence[str | None],
    *,
    val: float,
    test: float,
) -> list[str]:
    """Divide images into train, validation and test by their content.

    Parameters
    ----------
    keys : sequence of str
        Of `group_keys`: a hash of each image's content. Images of one key stay together.
    strata : sequence of (str, bool)
        Product and defectiveness of each image; each stratum is divided in the same shares.
    given : sequence of str or None
        ``"test"`` or ``"train"`` where the data's authors have decided. If any image of the data
        is given, no further test images are drawn.
    val, test : float
        Shares, in [0, 1).

    Returns
    -------
    list of str
        The split of each image. It depends on nothing but the keys, so on content: not on order,
        nor on names but where they tell the origin.
    """
    split_of: dict[str, str] = {}
    groups: dict[tuple[str, bool], list[str]] = defaultdict(list)
    # Sorted, so that a content which appears in two strata is counted in the same one each time.
    for stratum, key, split in sorted(zip(strata, keys, given, strict=True), key=str):
        if split == "test":
            split_of[key] = "test"
        groups[stratum].append(key)
    test = 0.0 if any(given) else test
    for stratum in sorted(groups):
        # Hashed once more, so that the order is not that of an earlier sort by the same hash.
        undecided = sorted(
            {key for key in groups[stratum] if key not in split_of},
            key=lambda key: hashlib.sha256(key.encode()).hexdigest(),
        )
        n_test = round(len(undecided) * test)
        n_val = round(len(undecided) * val)
        for position, key in enumerate(undecided):
            in_val = position < n_test + n_val
            split_of[key] = "test" if position < n_test else "val" if in_val else "train"
    return [split_of[key] for key in keys]
