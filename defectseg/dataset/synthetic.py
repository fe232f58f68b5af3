"""A stand-in for DAGM 2007: six textures, each with its own defect, labelled by ellipses.

The textures are drawn here and are like DAGM's in kind only. Sizes, angles and places of the
defects follow the published labels (Wieler & Hahn, 2007), as quantiles. As there, the ellipse is
a weak label: it is larger than the defect that is seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defectseg.annotations.ellipse import Ellipse
from defectseg.atomic import write_atomically
from defectseg.dataset import textures
from defectseg.dataset.masks import rasterise
from defectseg.dataset.textures import Damage, Field, Random
from defectseg.errors import ConfigError
from defectseg.image_io import write_gray

PRODUCTS: tuple[str, ...] = ("Class1", "Class2", "Class3", "Class4", "Class5", "Class6")
MIN_SIZE = 64  # below it many defects are too small to see
LABEL_SIZE = 512  # the side of DAGM's images, in pixels, which the quantiles are for
MIN_VISIBLE = 0.3  # the part of an ellipse's area that must lie inside the image
QUANTILE_LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)

Quantiles = tuple[float, ...]


@dataclass(frozen=True)
class Product:
    """What one class looks like, and how it is labelled.

    `tone` is the mean and the contrast, in gray levels. The rest are quantiles of DAGM's labels
    at `QUANTILE_LEVELS`, in pixels and radians; `ratio` is semi_minor / semi_major. `link`, 0 to
    -1, is how often the two are opposite in rank: long defects are slim. It is DAGM's rank
    correlation, but stronger in classes 3 and 4, where loose draws would be far too wide.
    """

    paint: Callable[[Random, int, Damage | None], Field]
    tone: tuple[float, float]
    semi_major: Quantiles
    ratio: Quantiles
    angle: Quantiles
    x: Quantiles
    y: Quantiles
    link: float = 0.0


def write_dataset(
    root: Path,
    *,
    good: int,
    defective: int,
    products: Sequence[str] = PRODUCTS,
    size: int = 512,
    seed: int = 0,
    on_image: Callable[[], None] | None = None,
) -> int:
    """Write ``Class1/1.png …`` (good), ``Class1_def/1.png … labels.txt`` (defective), and so on.

    Rows of ``labels.txt``: index, semi_major, semi_minor, angle, x, y; tabs between.

    Parameters
    ----------
    root : Path
        Written into directly: stage it if it must appear as a whole.
    good, defective : int
        Images per product, 0 or more. A folder that would be empty is not made.
    products : sequence of str
        Some of `PRODUCTS`, each once.
    size, seed : int
        As `generate_sample`; 0 or more. An image depends on both, its product, kind and index
        alone: asking for more leaves the earlier ones as they were.
    on_image : callable, optional
        Called after each image, for a progress bar.

    Returns
    -------
    int
        The number of images written.

    Raises
    ------
    ConfigError
        If an argument is out of range; nothing has been written then.
    """
    for product in products:
        _check(product, size)
    if len(set(products)) != len(products):
        raise ConfigError(f"Found products {list(products)}; expected each product once.")
    for name, value in (("good", good), ("defective", defective), ("seed", seed)):
        if value < 0:
            raise ConfigError(f"Found {name}={value}; expected 0 or more.")
    for product in products:
        rows = []
        indices = [(0, i) for i in range(1, good + 1)] + [(1, i) for i in range(1, defective + 1)]
        for kind, index in indices:
            rng = np.random.default_rng([seed, PRODUCTS.index(product), kind, index])
            image, ellipses = generate_sample(product, defective=kind == 1, rng=rng, size=size)
            write_gray(root / (product + "_def" * kind) / f"{index}.png", image)
            rows += [_label_row(index, ellipse) for ellipse in ellipses]
            if on_image is not None:
                on_image()
        if rows:
            write_atomically(root / f"{product}_def" / "labels.txt", "".join(rows))
    return len(products) * (good + defective)


def generate_sample(
    product: str, *, defective: bool, rng: Random, size: int = 512
) -> tuple[npt.NDArray[np.uint8], tuple[Ellipse, ...]]:
    """Draw one image.

    Parameters
    ----------
    product : str
        One of `PRODUCTS`.
    defective : bool
        With a defect. The image without, from a generator of the same state, differs from it
        inside the ellipse only.
    rng : Generator
        The only source of chance.
    size : int
        Height and width in pixels, at least 64. Defects scale with it, textures do not.

    Returns
    -------
    image : ndarray of shape (size, size), uint8
        Gray.
    ellipses : tuple of Ellipse
        One if defective, else none. Rounded to 2 decimals; 30 % of its area or more is inside.

    Raises
    ------
    ConfigError
        If the product is unknown or the size too small.
    """
    _check(product, size)
    made = _MADE[product]
    # Each stage has its own generator, so that a defect changes nothing but itself.
    texture_rng, camera_rng, label_rng = map(np.random.default_rng, rng.integers(2**63, size=3))
    ellipses = (_draw_ellipse(made, size, label_rng),) if defective else ()
    damage = _damage(ellipses[0], size, label_rng) if ellipses else None
    field = made.paint(texture_rng, size, damage)
    return _photograph(field, made.tone, camera_rng), ellipses


def _check(product: str, size: int) -> None:
    if product not in PRODUCTS:
        raise ConfigError(f"Found product {product!r}; expected one of {', '.join(PRODUCTS)}.")
    if size < MIN_SIZE:
        raise ConfigError(f"Found size={size}; expected {MIN_SIZE} pixels or more.")


def _label_row(index: int, e: Ellipse) -> str:
    values = (e.semi_major, e.semi_minor, e.angle, e.x, e.y)
    return "\t".join([str(index), *(f"{value:.2f}" for value in values)]) + "\n"


def _draw_ellipse(made: Product, size: int, rng: Random) -> Ellipse:
    def draw(quantiles: Quantiles, rank: float | None = None) -> float:
        rank = rng.random() if rank is None else rank
        return float(np.interp(rank, QUANTILE_LEVELS, quantiles))

    scale = size / LABEL_SIZE
    rank = rng.random()
    semi_major = scale * draw(made.semi_major, rank)
    # As often as the link says, the slimmest ratio goes with the longest axis.
    semi_minor = semi_major * draw(made.ratio, 1 - rank if rng.random() < -made.link else None)
    angle = draw(made.angle)
    while True:
        values = (semi_major, semi_minor, angle, scale * draw(made.x), scale * draw(made.y))
        a, b, turn, x, y = (round(value, 2) for value in values)
        ellipse = Ellipse(a, b, turn, x, y)
        inside = int(rasterise([ellipse], (size, size)).sum())
        if inside >= MIN_VISIBLE * np.pi * semi_major * semi_minor:
            return ellipse


def _damage(ellipse: Ellipse, size: int, rng: Random) -> Damage:
    """Fill the ellipse to some 0.88 of its radius, with an uneven outline."""
    cos, sin = np.cos(ellipse.angle), np.sin(ellipse.angle)
    rows, columns = np.ogrid[:size, :size]
    dx, dy = columns - (ellipse.x - 1), rows - (ellipse.y - 1)
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    u, v = along / ellipse.semi_major, across / ellipse.semi_minor
    turn, waves = np.linspace(-np.pi, np.pi, 361), np.arange(2, 10)
    wobble = np.cos(turn[:, None] * waves + rng.uniform(0, 2 * np.pi, waves.size))
    outline = rng.uniform(0.86, 0.91) + wobble @ (rng.normal(0, 0.06, waves.size) / np.sqrt(waves))
    # The edge, 0.1 wide, ends at the outline, so that nothing is touched beyond the ellipse.
    reach = np.interp(np.arctan2(v, u), turn, np.clip(outline, 0.75, 0.98))
    coverage = np.clip((reach - np.hypot(u, v)) / 0.1, 0, 1)
    coverage, along, across = (a.astype(np.float32) for a in (coverage, along, across))
    return Damage(coverage, along, across, rng)


def _photograph(field: Field, tone: tuple[float, float], rng: Random) -> npt.NDArray[np.uint8]:
    """Turn a field of mean 0 and deviation 1 to gray levels: exposure, uneven light, noise."""
    size = len(field)
    image = tone[0] * rng.uniform(0.93, 1.07) + tone[1] * rng.uniform(0.94, 1.06) * field
    slope_y, slope_x = rng.uniform(-0.06, 0.06, 2).astype(np.float32)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    image *= 1 + slope_y * ramp[:, None] + slope_x * ramp
    image += 2 * rng.standard_normal((size, size), np.float32)
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)


_MADE = {
    "Class1": Product(
        textures.paint_interference,
        tone=(78, 22),
        semi_major=(33.1, 41.5, 47.6, 61.3, 73.7, 83.0, 95.9),
        ratio=(0.39, 0.52, 0.64, 0.77, 0.99, 1.09, 1.30),
        link=-0.44,
        angle=(-2.37, -1.30, -0.65, 0.18, 0.85, 1.50, 2.41),
        x=(35, 55, 80, 113, 187, 253, 371),
        y=(39, 83, 128, 204, 281, 333, 384),
    ),
    "Class2": Product(
        textures.paint_brushed,
        tone=(140, 20),
        semi_major=(22.9, 26.9, 36.5, 60.2, 70.0, 75.8, 103.8),
        ratio=(0.07, 0.14, 0.18, 0.26, 0.40, 0.48, 0.59),
        link=-0.60,
        angle=(-0.79, -0.67, -0.49, -0.21, 0.36, 0.58, 0.79),
        x=(86, 112, 182, 253, 338, 396, 437),
        y=(85, 133, 162, 251, 344, 412, 439),
    ),
    "Class3": Product(
        textures.paint_ripple,
        tone=(110, 22),
        semi_major=(20.8, 29.9, 34.7, 45.5, 56.9, 71.0, 102.6),
        ratio=(0.23, 0.32, 0.39, 0.50, 0.62, 0.75, 0.96),
        link=-0.70,
        angle=(-2.09, -0.92, -0.32, 0.10, 0.57, 1.10, 2.33),
        x=(48, 102, 153, 257, 370, 437, 474),
        y=(35, 73, 134, 250, 349, 430, 474),
    ),
    "Class4": Product(
        textures.paint_weave,
        tone=(100, 26),
        semi_major=(22.8, 47.3, 59.8, 75.5, 93.7, 105.8, 157.4),
        ratio=(0.17, 0.27, 0.32, 0.40, 0.50, 0.63, 1.39),
        link=-0.95,
        angle=(-1.52, -1.33, -0.91, -0.17, 0.80, 1.26, 1.53),
        x=(24, 68, 116, 245, 394, 448, 496),
        y=(43, 79, 122, 250, 380, 449, 482),
    ),
    "Class5": Product(
        textures.paint_leather,
        tone=(125, 20),
        semi_major=(36.4, 39.5, 45.0, 52.9, 63.0, 68.2, 71.6),
        ratio=(4 / 7,) * 7,
        angle=(-3.12, -2.45, -1.62, -0.12, 1.50, 2.39, 3.11),
        x=(6, 39, 110, 250, 365, 460, 499),
        y=(12, 59, 124, 258, 366, 433, 493),
    ),
    "Class6": Product(
        textures.paint_cast,
        tone=(155, 24),
        semi_major=(260.0,) * 7,
        ratio=(30 / 260,) * 7,
        angle=(-1.54, -0.70, 0.24, 1.37, 2.98, 3.95, 4.71),
        x=(30, 130, 194, 266, 354, 411, 502),
        y=(3, 109, 164, 273, 360, 410, 512),
    ),
}
