"""The check of labelled images, before anything is written."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.labels import LabelledImage, Shape
from defectseg.annotations.outline import Polygon
from defectseg.dataset.masks import rasterise
from defectseg.errors import ImageReadError, Problem
from defectseg.image_io import decode_image, is_turned, read_bytes, read_mask


@dataclass(frozen=True)
class CheckedImage:
    """An image that was decoded and whose label was found sound."""

    label: LabelledImage
    defective: bool
    shape_hw: tuple[int, int]
    sha256: str
    content: str


def check_images(
    labels: Sequence[LabelledImage], problems: list[Problem], on_image: Callable[[int], None]
) -> list[CheckedImage]:
    """Decode each image and make its mask; what is wrong is added to `problems`."""
    checked: list[CheckedImage] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(_check, labels):
            if isinstance(result, CheckedImage):
                checked.append(result)
            else:
                problems += result
            on_image(len(labels))
    return checked


def _check(label: LabelledImage) -> CheckedImage | list[Problem]:
    """Decode an image and make its mask, or say what is wrong with either."""
    try:
        data = read_bytes(label.image)
        image = decode_image(data)
    except ImageReadError as error:
        fix = "Replace the image, or remove it and its label."
        return [_unreadable(label.image, error, fix)]
    height, width = image.shape[:2]
    if label.shape_hw not in (None, (height, width)):
        found = f"an image of {width}×{height} pixels"
        expected = f"{label.shape_hw[1]}×{label.shape_hw[0]}, on which its label was drawn"
        fix = "Put the image there that was labelled, or label this one."
        if label.shape_hw == (width, height) and is_turned(data):
            found += ", turned as its EXIF orientation says"
            fix = "Remove the orientation from the file, or label the image as it is shown."
        return [Problem(str(label.image), found, expected, fix)]
    try:
        mask = make_mask(label, (height, width))
    except ImageReadError as error:
        return [_unreadable(label.mask, error, "Replace the mask.")]
    if mask.shape != (height, width):
        found = f"a mask of {mask.shape[1]}×{mask.shape[0]} pixels for {label.image.name}"
        expected = f"{width}×{height}, as its image"
        return [Problem(str(label.mask), found, expected, "Replace the mask.")]
    if label.source and not mask.any():
        found = f"a defective image, {label.image.name}, whose mask {label.mask} is empty"
        fix = "Replace the mask, or call the image good."
        return [Problem(label.source, found, "a mask with the defect", fix)]
    outside = [
        Problem(
            shape.source,
            f"{_describe(shape)} that covers no pixel: it is outside its image of "
            f"{width}×{height} pixels, or too small",
            "at least one pixel inside",
            "Correct or remove it.",
        )
        for shape in label.shapes
        if not rasterise([shape], (height, width)).any()
    ]
    if outside:
        return outside
    pixels = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    file_hash = hashlib.sha256(data).hexdigest()
    return CheckedImage(label, bool(mask.any()), (height, width), file_hash, pixels)


def _describe(shape: Shape) -> str:
    if isinstance(shape, Ellipse):
        return (
            f"an ellipse (centre {shape.x:g}, {shape.y:g}, "
            f"semi-axes {shape.semi_major:g}, {shape.semi_minor:g})"
        )
    if isinstance(shape, Polygon):
        return f"a polygon of {len(shape.vertices_xy)} corners"
    return "a painted mask"


def _unreadable(path: Path | None, error: ImageReadError, fix: str) -> Problem:
    # The error knows best what was expected, and ends with it.
    found, _, expected = str(error).partition("; expected ")
    expected = expected or "an image file that can be read"
    return Problem(str(path), f"an unreadable file: {found}", expected, fix)


def make_mask(label: LabelledImage, shape_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the mask of a label, ``(H, W)`` uint8, 0 or 1: read, or rasterised."""
    if label.mask is not None:
        return read_mask(label.mask)
    return rasterise(label.shapes, shape_hw)


def find_contradictions(checked: Sequence[CheckedImage]) -> list[Problem]:
    """Find images of equal content that are labelled good here and defective there."""
    first: dict[str, CheckedImage] = {}
    problems: list[Problem] = []
    for image in checked:
        other = first.setdefault(image.content, image)
        if image.defective != other.defective:
            found = f"the same picture as {other.label.image}, one good and one defective"
            fix = "Remove the one that is labelled wrongly."
            problems.append(Problem(str(image.label.image), found, "one label", fix))
    return problems


def _list_some(names: Sequence[str]) -> str:
    """Join a few names for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def find_missing_kinds(
    checked: Sequence[CheckedImage], source: Path, *, all_are_known: bool
) -> list[Problem]:
    """Find products without good images, and data without any defective one."""
    count = Counter((image.label.product, image.defective) for image in checked)
    products = sorted({product for product, _ in count})
    named = ""
    if len(products) > 1:
        named = f"; the first folder of a path is its product, here {_list_some(products)}"
    fix = "Add good images, or leave the product out."
    labels = sorted(
        {label for image in checked for own in image.label.shapes for label in own.labels}
    )
    if len(labels) > 1:
        fix += (
            f" If not all shapes are defects ({_list_some(labels)}), name those that are: "
            "--defect-label."
        )
    problems = [
        Problem(
            str(source),
            f"no good images of the product {product!r}",
            f"some: they set the sharpness below which an image is not believed{named}",
            fix,
        )
        for product in products
        if not count[product, False]
    ]
    # Where anything was refused, the defective ones may have been among it.
    if all_are_known and not any(defective for _, defective in count):
        fix = "Add defective images with their labels."
        problems.append(Problem(str(source), "no defective images at all", "some", fix))
    return problems
