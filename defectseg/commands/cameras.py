"""What the commands of cameras without a model do: sharpness, monitor."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich.markup import escape

from defectseg.atomic import staged_folder
from defectseg.commands.output import check_replaceable
from defectseg.commands.status import OK, SOME_UNREADABLE
from defectseg.console import (
    bold,
    counting,
    out,
    print_table,
)

# What the console shows of each image; the table has all.
_SHOWN_MEASURES = ("mean_gradient", "tenengrad_compensated", "noise_sigma", "mean_luma")


def sharpness(
    source: Path,
    output: Path,
    *,
    table: Literal["csv", "parquet"],
    region_xywh: tuple[int, int, int, int] | None,
    grid: tuple[int, int] | None,
    classifier: bool,
) -> int:
    """Measure the sharpness of a folder without a model; return the exit status."""
    from defectseg.quality.folder import measure_folder
    from defectseg.quality.report import CHART, PAGE, TABLES, least_sharp, write_sharpness

    check_replaceable(output, {PAGE, CHART, *TABLES.values()}, source)
    judge = None
    if classifier:
        from defectseg.quality.blur_classifier import load_general_classifier

        judge = load_general_classifier()
    with counting("measuring") as tick:
        images = measure_folder(
            source, region_xywh=region_xywh, grid=grid, classifier=judge, on_image=tick
        )
    with staged_folder(output) as stage:
        write_sharpness(stage, source, images, table=table)
    measured = [own for own in images if not own.problem]
    if measured:
        rows = [
            {"least sharp": escape(own.image)}
            | {name: f"{getattr(own.measures, name):.4g}" for name in _SHOWN_MEASURES}
            | ({} if own.tile is None else {"tile": "{}, {}".format(*own.tile)})
            | ({} if judge is None else {"sharp": f"{own.sharp_probability:.2f}"})
            for own in least_sharp(measured)[:5]
        ]
        print_table(f"{len({own.image for own in images})} images", rows)
    unreadable = {own.image: own.problem for own in images if own.problem}
    for image, problem in unreadable.items():
        out.print(f"[red]{escape(image)}[/] could not be measured: {escape(problem)}")
    out.print(f"Open {bold(output / PAGE)}; every image has its row in {output / TABLES[table]}.")
    return SOME_UNREADABLE if unreadable else OK


def monitor(
    source: Path,
    output: Path,
    *,
    good: Path | None,
    time: str,
    value: str,
    camera: str | None,
    median_of: int,
    baseline_medians: int,
    wander: float,
    limit: float | None,
) -> int:
    """Watch the sharpness of cameras over time; return the exit status."""
    from defectseg.drift.baseline import learn_baselines
    from defectseg.drift.monitor import watch
    from defectseg.drift.records import Settings
    from defectseg.drift.report import (
        CHART,
        EVENTS,
        MEDIANS,
        PAGE,
        describe_drift,
        sort_worst_first,
        write_drift,
    )
    from defectseg.drift.source import Source, read_folder, read_table

    settings = Settings(
        median_of=median_of, baseline_medians=baseline_medians, wander=wander, limit=limit
    )

    def read(path: Path) -> Source:
        if not path.is_dir():
            return Source(read_table(path, time=time, value=value, camera=camera))
        with counting("measuring") as tick:
            return read_folder(path, on_image=tick)

    own_names = {PAGE, CHART, EVENTS, MEDIANS}
    check_replaceable(output, own_names, source if source.is_dir() else None)
    seen = read(source)
    known = learn_baselines(read(good).series, list(seen.series), settings) if good else {}
    drifts = {
        name: watch(own.times, own.values, replace(settings, baseline=known.get(name)))
        for name, own in seen.series.items()
    }
    with staged_folder(output) as stage:
        write_drift(
            stage,
            drifts,
            source=source.name,
            unreadable=seen.unreadable,
            by_file_time=seen.by_file_time,
        )
    for name in sort_worst_first(drifts):
        out.print(escape(describe_drift(name, drifts[name])))
    for image, problem in seen.unreadable:
        out.print(f"[red]{escape(image)}[/] could not be measured: {escape(problem)}")
    out.print(f"Open {bold(output / PAGE)}; events.csv and medians.csv lie beside it.")
    return SOME_UNREADABLE if seen.unreadable else OK
