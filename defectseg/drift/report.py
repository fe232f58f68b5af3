"""What `defectseg monitor` leaves: a page, a chart, and tables of the events and the medians."""

import base64
import csv
import io
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from defectseg.atomic import write_atomically
from defectseg.drift.records import Drift, Kind, Point, Status
from defectseg.page import render

PAGE, CHART, EVENTS, MEDIANS = "drift.html", "drift.png", "events.csv", "medians.csv"
MAX_PANELS = 40  # above it the chart would become too heavy to open; the tables have all cameras

_BAND = 3  # standard deviations of a median
_WIDTH, _PANEL, _EMPTY_PANEL = 10, 3, 1  # inches
_LABEL_ROWS, _LABEL_WIDTH = 3, 0.13  # of events; of a panel's width
# The page's colours, and what it names them by.
_LIGHT = {"paper": "#ffffff", "ink": "#1d1f21", "soft": "#666b70", "level": "#1565c0"}
_LIGHT |= {"FAIL": "#c62828", "REVIEW": "#b26a00", "RETAKE": "#6a3fb5", "PASS": "#2e7d32"}
_DARK = {"paper": "#212326", "ink": "#e8e8e6", "soft": "#a0a5aa", "level": "#6cb0f5"}
_DARK |= {"FAIL": "#ef6b66", "REVIEW": "#f0ab4a", "RETAKE": "#b294ec", "PASS": "#74c27a"}
_TONES = {
    Kind.LOW: "FAIL",
    Kind.DEGRADING: "REVIEW",
    Kind.CLEANED: "PASS",
    Kind.BASELINE_STALE: "RETAKE",
    Status.STEADY: "PASS",
    Status.LEARNING: "ERROR",
    Status.TOO_FEW: "ERROR",
}
_MEANINGS = {
    Kind.DEGRADING: "sharpness falls by more than chance, from the baseline or before there is one",
    Kind.LOW: "a median is below the limit",
    Kind.CLEANED: "sharpness rose by a step",
    Kind.BASELINE_STALE: "the level has settled elsewhere, and is the baseline from then on",
}


def sort_worst_first(drifts: Mapping[str, Drift]) -> list[str]:
    """Return the cameras by status, LOW first, then by days left, then by name."""
    order = list(Status)

    def badness(camera: str) -> tuple[int, float, str]:
        drift = drifts[camera]
        days = drift.days_left.days if drift.days_left else math.inf
        return order.index(drift.status), days, camera

    return sorted(drifts, key=badness)


def describe_drift(camera: str, drift: Drift) -> str:
    """Return one line for the terminal: the camera, how it stands, and what happened."""
    counts = {kind: sum(event.kind == kind for event in drift.events) for kind in Kind}
    events = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    line = f"{camera}: {drift.status}: {drift.reason} (events: {events or 'none'})"
    return line.encode("utf-8", "backslashreplace").decode()


def write_drift(
    folder: Path,
    drifts: Mapping[str, Drift],
    *,
    source: str,
    unreadable: Sequence[tuple[str, str]] = (),
    by_file_time: int = 0,
) -> None:
    """Write ``drift.html``, ``drift.png``, ``events.csv`` and ``medians.csv``.

    Parameters
    ----------
    folder : Path
        Written into directly: stage it if it must appear as a whole.
    drifts : mapping of str to Drift
        By camera.
    source : str
        What was watched, for the page's heading.
    unreadable : sequence of (str, str)
        Images that could not be read, and why.
    by_file_time : int
        How many images had no time of their own.
    """
    write_atomically(folder / EVENTS, _write_events(drifts))
    write_atomically(folder / MEDIANS, _write_medians(drifts))
    worst = sort_worst_first(drifts)
    shown = {camera: drifts[camera] for camera in worst[:MAX_PANELS]}
    light, dark = (encode_chart(shown, dark=dark) for dark in (False, True))
    write_atomically(folder / CHART, light)
    page = render(
        "monitor.html.jinja",
        source=source,
        cameras=[(camera, drifts[camera]) for camera in worst],
        images=sum(drift.images for drift in drifts.values()),
        events=[(camera, event) for camera in worst for event in drifts[camera].events],
        tones=_TONES,
        meanings=_MEANINGS,
        light=base64.b64encode(light).decode(),
        dark=base64.b64encode(dark).decode(),
        left_out=len(drifts) - len(shown),
        unreadable=unreadable,
        by_file_time=by_file_time,
    )
    write_atomically(folder / PAGE, page)


def encode_chart(drifts: Mapping[str, Drift], *, dark: bool = False) -> bytes:
    """Return the chart as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A sign of a camera's name that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph")
        draw_chart(drifts, dark=dark).savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def draw_chart(drifts: Mapping[str, Drift], *, dark: bool = False) -> Figure:
    """Draw a panel a camera: medians, moving average, baseline, limit and events over time."""
    colours = _DARK if dark else _LIGHT
    heights = [_PANEL if drift.points else _EMPTY_PANEL for drift in drifts.values()] or [_PANEL]
    size = (_WIDTH, sum(heights))
    figure = Figure(figsize=size, layout="constrained", facecolor=colours["paper"])
    panels = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (camera, drift) in zip(panels, drifts.items(), strict=False):
        _draw_camera(axes, camera, drift, colours)
    if not drifts:
        panels[0].set_axis_off()
    return figure


def _draw_camera(axes: Axes, camera: str, drift: Drift, colours: Mapping[str, str]) -> None:
    name = camera.encode("utf-8", "backslashreplace").decode()
    title = axes.set_title(f"{name}: {drift.status}", loc="left", color=colours["ink"])
    title.set_parse_math(False)  # a name may hold $
    axes.set_facecolor(colours["paper"])
    axes.tick_params(colors=colours["soft"])
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(colours["soft"])
    axes.grid(alpha=0.2)
    if not drift.points:
        axes.text(0.5, 0.4, "no median yet", transform=axes.transAxes, color=colours["soft"])
        axes.set(xticks=[], yticks=[])
        return
    axes.set_ylabel("sharpness", color=colours["soft"])
    _draw_levels(axes, drift.points, colours)
    _draw_events(axes, drift, colours)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1, 1),
        frameon=False,
        labelcolor=colours["soft"],
        fontsize="small",
    )


def _draw_levels(axes: Axes, points: Sequence[Point], colours: Mapping[str, str]) -> None:
    times = np.array([point.time for point in points], "datetime64[us]")

    def column(name: str) -> list[float]:
        return [math.nan if (v := getattr(point, name)) is None else v for point in points]

    soft, level = colours["soft"], colours["level"]
    centre, deviation = column("centre"), column("deviation")
    low = [c - _BAND * d for c, d in zip(centre, deviation, strict=True)]
    high = [c + _BAND * d for c, d in zip(centre, deviation, strict=True)]
    axes.plot(times, column("median"), ".", color=soft, ms=4, alpha=0.7, label="median")
    if not all(math.isnan(value) for value in centre):
        axes.fill_between(times, low, high, color=soft, alpha=0.15, lw=0, label="baseline ± 3 sd")
        axes.plot(times, centre, color=soft, lw=0.8)
        axes.plot(times, column("ewma"), color=level, lw=1.8, label="moving average")
        axes.plot(times, column("ewma_low"), color=level, lw=0.8, ls=":", label="its limits")
        axes.plot(times, column("ewma_high"), color=level, lw=0.8, ls=":")
    limit = column("limit")
    if not all(math.isnan(value) for value in limit):
        axes.plot(times, limit, color=colours["FAIL"], lw=1.2, ls="--", label="limit")


def _draw_events(axes: Axes, drift: Drift, colours: Mapping[str, str]) -> None:
    """Mark each event by a line, its name above the medians and clear of other names."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + 0.25 * (top - bottom) * bool(drift.events))
    left, right = axes.get_xlim()
    ends = [-math.inf] * _LABEL_ROWS  # of the last name in each row
    for event in drift.events:
        colour = colours[_TONES[event.kind]]
        at = float(date2num(event.time))  # type: ignore[no-untyped-call]
        axes.axvline(at, color=colour, lw=1.2, alpha=0.8)
        x = min((at - left) / (right - left), 1 - _LABEL_WIDTH)
        row = next((row for row, end in enumerate(ends) if end <= x), ends.index(min(ends)))
        ends[row] = x + _LABEL_WIDTH
        axes.text(
            x + 0.004,
            0.985 - 0.07 * row,
            event.kind.replace("_", " "),
            transform=axes.transAxes,
            va="top",
            fontsize="x-small",
            color=colour,
            bbox={"facecolor": colours["paper"], "alpha": 0.8, "lw": 0, "pad": 1},
        )


def _write_events(drifts: Mapping[str, Drift]) -> bytes:
    return _write_table(
        ("camera", "time", "event", "value", "message"),
        (
            (camera, _show(event.time), event.kind, event.value, event.message)
            for camera, drift in drifts.items()
            for event in drift.events
        ),
    )


def _write_medians(drifts: Mapping[str, Drift]) -> bytes:
    names = ("median", "ewma", "ewma_low", "ewma_high", "cusum", "centre", "limit")
    return _write_table(
        ("camera", "time", *names),
        (
            (camera, _show(point.time), *(getattr(point, name) for name in names))
            for camera, drift in drifts.items()
            for point in drift.points
        ),
    )


def _write_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode("utf-8", "backslashreplace")


def _show(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
