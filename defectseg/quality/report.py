"""What `defectseg sharpness` leaves: the table, a chart, and a page with the least sharp images."""

import base64
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from defectseg.atomic import write_atomically
from defectseg.errors import ImageReadError
from defectseg.image_io import encode_picture, read_image, to_rgb
from defectseg.page import render
from defectseg.pictures import shrink
from defectseg.quality.folder import MeasuredImage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, CHART = "sharpness.html", "sharpness.png"
TABLES = {"csv": "sharpness.csv", "parquet": "sharpness.parquet"}
_SHOWN = 12
_THUMBNAIL_PX = 260
_PANELS = {
    "mean_gradient": "sharpness: mean gradient",
    "noise_sigma": "noise σ, gray levels",
    "mean_luma": "mean luminance",
}


def write_sharpness(
    folder: Path,
    source: Path,
    images: Sequence[MeasuredImage],
    *,
    table: Literal["csv", "parquet"] = "csv",
) -> None:
    """Write the table, ``sharpness.png`` and ``sharpness.html``.

    Parameters
    ----------
    folder : Path
        Written into directly: stage it if it must appear as a whole.
    source : Path
        The folder that was measured.
    images : sequence of MeasuredImage
        At least one.
    table : str
        ``"csv"`` or ``"parquet"``.
    """
    write_atomically(folder / TABLES[table], _table(images, table))
    buffer = io.BytesIO()
    plot_sharpness(images).savefig(buffer, format="png", dpi=110)
    write_atomically(folder / CHART, buffer.getvalue())
    measured = [own for own in images if not own.problem]
    page = render(
        "sharpness.html.jinja",
        source=source.resolve().name,
        total=len({own.image for own in images}),
        tiles=any(own.tile is not None for own in images),
        chart=base64.b64encode(buffer.getvalue()).decode(),
        cards=[_card(own, source) for own in least_sharp(measured)[:_SHOWN]],
        unreadable=[own for own in images if own.problem],
    )
    write_atomically(folder / PAGE, page)


def least_sharp(images: Sequence[MeasuredImage]) -> list[MeasuredImage]:
    """Sort by rising sharpness: the classifier's where it was asked, else the mean gradient."""

    def sharpness(own: MeasuredImage) -> tuple[float, float]:
        return own.sharp_probability or 0.0, own.measures.mean_gradient

    return sorted(images, key=sharpness)


def plot_sharpness(images: Sequence[MeasuredImage]) -> "Figure":
    """Plot sharpness, noise and luminance of the images in their order, with the medians."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = [own for own in images if not own.problem] or list(images)
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    for axes, (name, title) in zip(
        figure.subplots(len(_PANELS), sharex=True), _PANELS.items(), strict=True
    ):
        values = np.array([getattr(own.measures, name) for own in shown])
        axes.plot(values, ".", ms=4, color="#1565c0")
        median = float(np.median(values))
        axes.axhline(median, color="0.45", lw=1, ls="--")
        axes.set_title(f"{title} (dashed: the median, {median:.3g})", loc="left", fontsize=10)
        axes.set_ylim(0, max(1.08 * float(values.max()), 1e-3))
        axes.grid(alpha=0.3)
    axes.set_xlabel("images, in order of their paths")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _table(images: Sequence[MeasuredImage], table: str) -> bytes:
    rows = [own.row() for own in images]
    if table == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        for row in rows:  # Parquet holds Unicode alone
            row["image"] = row["image"].encode("utf-8", "backslashreplace").decode()
        sink = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: f"{value:.6g}" if isinstance(value, float) else value
                for name, value in row.items()
            }
        )
    return text.getvalue().encode("utf-8", "backslashreplace")


def _card(own: MeasuredImage, source: Path) -> dict[str, object]:
    card: dict[str, object] = {"own": own, "thumbnail": ""}
    try:
        small = shrink(to_rgb(read_image(source / own.image)), _THUMBNAIL_PX)
    except ImageReadError:  # it has changed since it was measured
        return card
    return card | {"thumbnail": base64.b64encode(encode_picture(small)).decode()}
