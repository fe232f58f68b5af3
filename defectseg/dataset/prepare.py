"""From a folder of labels to a prepared folder: masks, manifest, audit sheet, summary."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.labels import LabelledImage, LabelSet
from defectseg.annotations.layouts import detect_layout, read_labels
from defectseg.atomic import staged_folder, write_atomically
from defectseg.dataset import manifest
from defectseg.dataset.audit import audit_sheet
from defectseg.dataset.checking import (
    CheckedImage,
    check_images,
    find_contradictions,
    find_missing_kinds,
    make_mask,
)
from defectseg.dataset.manifest import Sample
from defectseg.dataset.masks import crosses_border
from defectseg.errors import ConfigError, DataError, Problem
from defectseg.image_io import write_mask, write_picture

AUDIT, MASKS = "audit.png", "masks"


@dataclass(frozen=True)
class ProductSummary:
    """What was found of one product: counts of images, ellipses and rows.

    `good_as_unnamed` counts the good images that are so because no label names them, `shapes` the
    shapes of each label, where labels have names; also of those left out. One
    of several labels counts for each.
    """

    product: str
    good: int
    defective: int
    train: int
    val: int
    test: int
    duplicates: int
    empty_masks: int
    ellipses_crossing_border: int
    rows_without_image: int
    images_without_row: int
    good_as_unnamed: int = 0
    shapes: Mapping[str, int] = field(default_factory=dict)


def prepare(
    source: Path,
    output: Path,
    *,
    layout: str = "auto",
    val: float = 0.15,
    test: float = 0.15,
    leave_out_unmatched: bool = False,
    defect_labels: Collection[str] = (),
    on_image: Callable[[int], None] = lambda total: None,
) -> tuple[str, list[ProductSummary]]:
    """Read labels, check all of them, and write the prepared folder.

    Parameters
    ----------
    source : Path
        Folder of images and labels, in one of the layouts of `annotations.layouts`.
    output : Path
        Appears whole, or not at all. One made by an earlier `prepare` is replaced.
    layout : str
        A layout's name, or ``"auto"``.
    val, test : float
        Shares of the images, at least 0, together less than 1.
    leave_out_unmatched : bool
        Leave out rows without image and images without row, instead of raising. Rows are not, if
        the data has images that are good because no row names them.
    defect_labels : collection of str
        Take the shapes of these labels alone for defects; others may be of any form. By default
        all.
    on_image : callable
        Called after each image with the number of all of them.

    Returns
    -------
    layout : str
    summary : list of ProductSummary

    Raises
    ------
    ConfigError
        If nothing is left for training, or no shape has one of the `defect_labels`.
    DataError
        With every problem of every file; or if the output is in the way.
    """
    if min(val, test) < 0 or val + test >= 1:
        raise ConfigError(
            f"The shares val={val:g} and test={test:g} leave nothing to train on; "
            "expected both at least 0 and together less than 1."
        )
    _check_output(source, output)
    if layout == "auto":
        layout = detect_layout(source)
    labels = read_labels(source, layout)
    chosen = labels.choose(defect_labels)
    problems = list(chosen.problems)
    if leave_out_unmatched:
        problems += _refuse_to_leave_out(source, labels)
    else:
        problems += [p for _, p in (*labels.rows_without_image, *labels.images_without_row)]
    if not problems:  # else the label may stand in a file that could not be read
        _refuse_unknown(labels.names(), defect_labels)
    checked = check_images(chosen.images, problems, on_image)
    problems += find_contradictions(checked)
    problems += find_missing_kinds(checked, source, all_are_known=not problems)
    if problems:
        raise DataError(
            f"{source} cannot be prepared: {len(problems)} problem(s). Nothing was written.",
            problems,
        )
    splits = manifest.assign_splits(
        manifest.group_keys(
            [image.content for image in checked], [_tell_origin(image.label) for image in checked]
        ),
        [(image.label.product, image.defective) for image in checked],
        [image.label.split for image in checked],
        val=val,
        test=test,
    )
    # The stage lies beside the output, so paths relative to it hold after it is renamed. Where
    # the output is a link, what it points to is replaced, not the link.
    with staged_folder(output.resolve()) as stage:
        samples = _write_masks(checked, splits, stage)
        write_picture(stage / AUDIT, audit_sheet(samples))
        text = manifest.write_manifest(samples, stage)
        write_atomically(stage / manifest.FILE_NAME, text)
    return layout, _summarise(checked, splits, labels)


def _tell_origin(image: LabelledImage) -> str:
    """Return the photograph of which an image is a changed copy, by its name; empty if it is none.

    Roboflow names such copies ``1_png.rf.2f0c….jpg``, and divides them among folders.
    """
    origin, is_copy, _ = image.image.name.partition(".rf.")
    return f"{image.product}/{origin}" if is_copy else ""


def _refuse_to_leave_out(source: Path, labels: LabelSet) -> list[Problem]:
    """Return the rows without image, if one of them could belong to an image taken for good."""
    unnamed = sum(image.unnamed for image in labels.images)
    if not unnamed or not labels.rows_without_image:
        return []
    reason = Problem(
        str(source),
        f"{len(labels.rows_without_image)} row(s) without image to be left out, and {unnamed} "
        "image(s) that count as good because no row names them",
        "an image for every row: a defective image with its row under another name would be "
        "taught as good",
        "Correct the names below, or remove these rows.",
    )
    return [reason, *(problem for _, problem in labels.rows_without_image)]


def _refuse_unknown(known: set[str], defect_labels: Collection[str]) -> None:
    unknown = [name for name in defect_labels if name not in known]
    if unknown:
        raise ConfigError(
            f"No shape has the label {', '.join(map(repr, unknown))}; "
            + (f"expected some of {', '.join(sorted(known))}." if known else "none has a name.")
        )


def _check_output(source: Path, output: Path) -> None:
    """Make sure that replacing the output costs nothing but an earlier output."""
    places = source.resolve(), output.resolve()
    if places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0]):
        raise DataError(
            f"The output {output} and the labels in {source} lie one in the other: masks would be "
            "taken for images, or images be replaced. Name an output folder beside the labels."
        )
    if not output.exists():
        return
    names = {path.name for path in output.iterdir()} if output.is_dir() else {output.name}
    if names and (manifest.FILE_NAME not in names or names - {manifest.FILE_NAME, AUDIT, MASKS}):
        others = ", ".join(sorted(names - {manifest.FILE_NAME, AUDIT, MASKS})[:3])
        raise DataError(
            f"{output} holds what `defectseg prepare` did not make ({others}); it is left as it "
            "is. Name another output folder."
        )


def _write_masks(
    checked: Sequence[CheckedImage], splits: Sequence[str], folder: Path
) -> list[Sample]:
    samples = []
    used: set[Path] = set()
    for image, split in zip(checked, splits, strict=True):
        label = image.label
        mask_path = None
        if image.defective:
            mask_path = folder / MASKS / label.product / f"{label.image.stem}.png"
            number = 1
            while mask_path in used:  # folders of one product hold files of one name
                number += 1
                mask_path = mask_path.with_stem(f"{label.image.stem}-{number}")
            used.add(mask_path)
            write_mask(mask_path, make_mask(label, image.shape_hw))
        height, width = image.shape_hw
        facts = (label.product, image.defective, split, width, height, image.sha256)
        samples.append(Sample(label.image, mask_path, *facts))
    return samples


def _summarise(
    checked: Sequence[CheckedImage], splits: Sequence[str], labels: LabelSet
) -> list[ProductSummary]:
    summary = []
    unmatched = (*labels.rows_without_image, *labels.images_without_row)
    products = {image.label.product for image in checked} | {product for product, _ in unmatched}
    for product in sorted(products):
        own = [image for image in checked if image.label.product == product]
        pairs = zip(checked, splits, strict=True)
        split = Counter(name for image, name in pairs if image.label.product == product)
        good = [image for image in own if not image.defective]
        crossing = [
            shape
            for image in own
            for shape in image.label.shapes
            if isinstance(shape, Ellipse) and crosses_border(shape, image.shape_hw)
        ]
        shapes = Counter(
            label
            for image in labels.images
            if image.product == product
            for shape in (*image.shapes, *(own for own in image.unusable if not own.beside))
            for label in set(shape.labels)
        )
        summary.append(
            ProductSummary(
                product=product,
                good=len(good),
                defective=len(own) - len(good),
                train=split["train"],
                val=split["val"],
                test=split["test"],
                duplicates=len(own) - len({image.content for image in own}),
                empty_masks=sum(image.label.mask is not None for image in good),
                ellipses_crossing_border=len(crossing),
                rows_without_image=sum(p == product for p, _ in labels.rows_without_image),
                images_without_row=sum(p == product for p, _ in labels.images_without_row),
                good_as_unnamed=sum(image.label.unnamed for image in own),
                shapes=dict(shapes),
            )
        )
    return summary
