"""The records that every label reader returns."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.outline import PixelMask, Polygon
from defectseg.errors import Problem

Shape = Ellipse | Polygon | PixelMask


@dataclass(frozen=True)
class UnusableShape:
    """A shape that says too little, as a box, or has wrong numbers.

    Attributes
    ----------
    labels : tuple of str
        As in `Ellipse`. A shape whose labels are left out is no problem.
    problems : tuple of Problem
    beside : tuple of Shape or UnusableShape
        Of what names an image and no place, as a tag: the shapes on it. It is passed over where one
        of them is taken for a defect.
    """

    labels: tuple[str, ...]
    problems: tuple[Problem, ...]
    beside: "tuple[Shape | UnusableShape, ...]" = ()


@dataclass(frozen=True)
class LabelledImage:
    """An image, and what is known of its defects.

    Attributes
    ----------
    image : Path
        The image file.
    product : str
        What is seen: images of one product share a texture, a camera and a quality limit.
    shapes : tuple of Ellipse, Polygon or PixelMask
        The defects, where the label is drawn. Several may lie on one image.
    mask : Path or None
        The label, where it is a picture of the same size as the image.
    split : str or None
        ``"train"`` or ``"test"`` where the data set's authors have already divided it.
    source : str
        Where a row calls it defective, as ``Labels.txt:12``; its mask may then not be empty.
    shape_hw : tuple of int or None
        Height and width of the picture that the label was drawn on, in pixels, where that is
        known. An image of another size was changed since, and its label lies elsewhere.
    unnamed : bool
        No label names it; it is taken for good, as is the way of its layout.
    unusable : tuple of UnusableShape
        Other shapes on it; unless they are left out, its label is not known.

    An image without shapes and without mask is defect-free.
    """

    image: Path
    product: str
    shapes: tuple[Shape, ...] = ()
    mask: Path | None = None
    split: str | None = None
    source: str = ""
    shape_hw: tuple[int, int] | None = None
    unnamed: bool = False
    unusable: tuple[UnusableShape, ...] = ()


@dataclass(frozen=True)
class LabelSet:
    """What a reader found in a folder.

    Attributes
    ----------
    images : tuple of LabelledImage
        Every image whose label is known, in the order of the folders and names.
    problems : tuple of Problem
        Rows and files that are wrong.
    rows_without_image, images_without_row : tuple of (str, Problem)
        Labels and images that found no partner, each with its product.
    unusable : tuple of UnusableShape
        Those of all images, also of such that were not found.
    """

    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...] = ()
    rows_without_image: tuple[tuple[str, Problem], ...] = ()
    images_without_row: tuple[tuple[str, Problem], ...] = ()
    unusable: tuple[UnusableShape, ...] = ()

    def names(self) -> set[str]:
        """Return all labels that shapes have, and tags."""
        shapes = [shape for image in self.images for shape in image.shapes]
        return {label for shape in (*shapes, *self.unusable) for label in shape.labels}

    def choose(self, names: Collection[str]) -> "LabelSet":
        """Keep the shapes that have one of some labels, or all if none is named.

        What is unusable among them becomes a problem, and the label of its image is not known.
        """

        def is_chosen(shape: Shape | UnusableShape) -> bool:
            return not names or any(label in names for label in shape.labels)

        def is_wanting(shape: UnusableShape) -> bool:
            return is_chosen(shape) and not any(map(is_chosen, shape.beside))

        images = tuple(
            replace(image, shapes=tuple(filter(is_chosen, image.shapes)))
            for image in self.images
            if not any(map(is_wanting, image.unusable))
        )
        wrong = [problem for own in filter(is_wanting, self.unusable) for problem in own.problems]
        return replace(self, images=images, problems=(*self.problems, *wrong), unusable=())


@dataclass(frozen=True)
class DrawnImage:
    """An image, and the shapes on it that are to be written for a drawing tool.

    Attributes
    ----------
    name : str
        Its path, with ``/`` between the parts, as the tool shall name it.
    shape_hw : tuple of int
        Height and width, in pixels.
    shapes : tuple of Ellipse or Polygon
        Each with one label.
    scores : tuple of float
        How sure each of them is, in [0, 1].
    """

    name: str
    shape_hw: tuple[int, int]
    shapes: tuple[Ellipse | Polygon, ...]
    scores: tuple[float, ...]
