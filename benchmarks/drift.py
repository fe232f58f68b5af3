"""How soon a dusty camera is noticed, and how often a clean one is alarmed for nothing.

    python benchmarks/drift.py

Simulated cameras, 100 of each kind, 200 images a day spread evenly (4 minutes on a CPU core):

- clean: 1.4, for the days in which the baseline is learned, and 50 days more. Any event on any of
  these days is a false alarm.
- dusty: 1.4 for 15 days, of which 10 are the baseline, then in a line to 0.8 within 50 days.
- dusty from the start: the same without the 15 days, so that there is no clean baseline.
- cleaned: 0.8 for 15 days, then 1.4.
- article: 0.8 up to index 64, then 1.4; an index is a median (4 a day), or an image.

An image is level · (1 + wander of its day) · (1 + noise), the noise normal and independent. The
wander is an autoregression of first order from day to day with correlation 0.5. The scenario that
is held against the bars has noise of 8 % and a wander of 0.3 %; the monitor's settings are its
defaults, which know neither. Other scenarios vary noise, wander and odd parts (images of 0.3 to 2
times their value); in one the monitor is told the wander. Seeds differ from those that the
settings were chosen by. Writes results/drift.json and the pages' figures.
"""

import math
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from publish import write_into_pages, write_result

from defectseg.console import out
from defectseg.drift.monitor import watch
from defectseg.drift.records import Drift, Kind, Settings
from defectseg.drift.series import Times, Values

RUNS, SEED = 100, 2026
IMAGES_A_DAY = 200
CLEAN, DIRTY, LINE = 1.4, 0.8, 0.9
DUST_DAYS = 50
WATCHED_DAYS = 50  # of a clean camera, once its baseline was learned
CLEAN_DAYS = 15  # before the dust, and before a cleaning
LEFT_AFTER = 10, 20  # days of dust
START = np.datetime64("2024-01-01", "us")


@dataclass(frozen=True)
class Scenario:
    """How a camera's images scatter, and what wander the monitor expects; all as shares."""

    noise: float = 0.08
    wander: float = 0.003
    odd_parts: float = 0.0
    expected_wander: float = Settings.wander


SCENARIOS = (
    Scenario(),
    Scenario(noise=0.04),
    Scenario(noise=0.15),
    Scenario(wander=0),
    Scenario(wander=0.005),
    Scenario(wander=0.01),
    Scenario(wander=0.01, expected_wander=0.01),
    Scenario(odd_parts=0.05),
)


def main() -> None:
    """Run the benchmark."""
    rows = []
    for number, scenario in enumerate(SCENARIOS):
        rows.append({**asdict(scenario), **measure(scenario, number)})
        clean, dusty = rows[-1]["clean"], rows[-1]["dusty"]
        out.print(f"{scenario}: clean {clean}, dusty {dusty}")
    first = rows[0]
    clean, dusty, early = (first[name] for name in ("clean", "dusty", "dusty_from_the_start"))
    bars = {
        "clean: runs of 100 without an event, at least 95": RUNS - clean["alarmed"],
        "dusty: runs of 100 alarmed within 5 days, at least 95": dusty["within_5_days"],
        "dusty: days until the median alarm, at most 5": dusty["days_median"],
        "dusty from the start: runs of 100 alarmed within 5 days, at least 95": early[
            "within_5_days"
        ],
        "dusty from the start: days until the median alarm, at most 5": early["days_median"],
        "dusty: days until the fixed line, 41": dusty["fixed_line_days_median"],
        "article: runs of 100 found within a day, of medians": first["article_of_medians"]["found"],
        "article: runs of 100 found within a day, of images": first["article_of_images"]["found"],
    }
    out.print(bars)
    figures = {"runs": RUNS, "settings": asdict(Settings()), "bars": bars, "scenarios": rows}
    write_result("drift", figures)
    write_into_pages("drift", summarise(first))


def summarise(row: dict[str, Any]) -> str:
    """Return the figures of one scenario in sentences."""
    clean, dusty, early = (row[name] for name in ("clean", "dusty", "dusty_from_the_start"))
    return (
        f"Of {RUNS} simulated clean cameras with {100 * row['noise']:.0f} % noise, at "
        f"{IMAGES_A_DAY} images a day, {RUNS - clean['alarmed']} had no event in "
        f"{learning_days()} days of learning and {WATCHED_DAYS} days more. Dust that takes "
        f"{DUST_DAYS} days from {CLEAN} to {DIRTY} is alarmed after {dusty['days_median']:.1f} "
        f"days (median; within 5 days for {dusty['within_5_days']} of {RUNS} cameras) where clean "
        f"days came before, and after {early['days_median']:.1f} days ({early['within_5_days']} of "
        f"{RUNS}) where it began with the first image; a fixed line at {LINE} takes "
        f"{dusty['fixed_line_days_median']:.0f} days. Of {RUNS} cleanings "
        f"{row['cleaned']['found']} were found within a day, with nothing else taken for one.\n"
    )


def measure(scenario: Scenario, number: int) -> dict[str, Any]:
    """Simulate all kinds of cameras."""
    settings = Settings(limit=LINE, wander=scenario.expected_wander)
    dust = np.linspace(CLEAN, DIRTY, DUST_DAYS * IMAGES_A_DAY)
    step = np.concatenate([constant(DIRTY, CLEAN_DAYS), constant(CLEAN, CLEAN_DAYS)])
    article = np.where(np.arange(3 * IMAGES_A_DAY) < 64, DIRTY, CLEAN)
    no_limit = replace(settings, limit=None)
    each = replace(no_limit, median_of=1)
    medians_a_day = IMAGES_A_DAY // settings.median_of
    clean, dusty, early, cleaned, as_medians, as_images, left = [], [], [], [], [], [], []
    for run in range(RUNS):
        rng = np.random.default_rng([SEED, number, run])
        values = see(constant(CLEAN, learning_days() + WATCHED_DAYS), scenario, rng)
        clean.append(watch(times(len(values)), values, no_limit))
        values = see(np.concatenate([constant(CLEAN, CLEAN_DAYS), dust]), scenario, rng)
        dusty.append(watch(times(len(values)), values, settings))
        for days in LEFT_AFTER:
            part = values[: (CLEAN_DAYS + days) * IMAGES_A_DAY]
            left.append((days, watch(times(len(part)), part, settings)))
        early.append(watch(times(len(dust)), see(dust, scenario, rng), settings))
        cleaned.append(watch(times(len(step)), see(step, scenario, rng), no_limit))
        values = see(article, scenario, rng)
        as_images.append(watch(times(len(values)), values, no_limit))
        as_medians.append(watch(times(len(values), medians_a_day), values, each))
    return {
        "clean": count_alarms(clean),
        "dusty": measure_delays(dusty, CLEAN_DAYS),
        "dusty_from_the_start": measure_delays(early, 0),
        "cleaned": count_found(cleaned, CLEAN_DAYS),
        "article_of_medians": count_found(as_medians, 64 / medians_a_day),
        "article_of_images": count_found(as_images, 64 / IMAGES_A_DAY),
        "days_left": {
            f"after_{days}_days": measure_days_left([drift for d, drift in left if d == days], days)
            for days in LEFT_AFTER
        },
    }


def learning_days() -> int:
    """Return how long a baseline is learned."""
    return Settings.baseline_medians * Settings.median_of // IMAGES_A_DAY


def constant(level: float, days: int) -> Values:
    """Return the levels of a camera that does not change."""
    return np.full(days * IMAGES_A_DAY, level)


def times(count: int, a_day: int = IMAGES_A_DAY) -> Times:
    """Return times that are spread evenly."""
    seconds = (np.arange(count) + 0.5) / a_day * 86_400
    return START + (1e6 * seconds).astype("timedelta64[us]")


def see(levels: Values, scenario: Scenario, rng: np.random.Generator) -> Values:
    """Return what the camera measures."""
    days = math.ceil(len(levels) / IMAGES_A_DAY)
    wander = np.empty(days)
    wander[0] = rng.standard_normal()
    for day in range(1, days):
        wander[day] = 0.5 * wander[day - 1] + math.sqrt(0.75) * rng.standard_normal()
    day = 1 + scenario.wander * np.repeat(wander, IMAGES_A_DAY)[: len(levels)]
    values = levels * day * (1 + scenario.noise * rng.standard_normal(len(levels)))
    odd = rng.random(len(levels)) < scenario.odd_parts
    return np.where(odd, values * rng.uniform(0.3, 2, len(levels)), values)


def dated(drift: Drift, *kinds: Kind) -> list[float]:
    """Return the days on which such events were found, or any without a kind."""
    events = [event for event in drift.events if event.kind in (kinds or Kind)]
    found = [np.datetime64(event.time) - START for event in events]
    return [float(gap / np.timedelta64(1, "D")) for gap in found]


def count_alarms(drifts: list[Drift]) -> dict[str, Any]:
    """Count the cameras with an event, and those with each kind."""
    kinds = Counter(kind.value for drift in drifts for kind in {e.kind for e in drift.events})
    learning = sum(any(day <= learning_days() for day in dated(drift)) for drift in drifts)
    alarmed = sum(bool(drift.events) for drift in drifts)
    return {"alarmed": alarmed, "while_learning": learning, "kinds": dict(kinds)}


def measure_delays(drifts: list[Drift], onset: float) -> dict[str, Any]:
    """Measure the days from the onset to the first alarm after it."""
    dates = [dated(drift, Kind.DEGRADING) for drift in drifts]
    # One that alarmed before, and whose episode goes on, gives no other: it counts as never.
    delays = [min((day - onset for day in own if day > onset), default=math.inf) for own in dates]
    lines = [min(dated(drift, Kind.LOW), default=math.inf) - onset for drift in drifts]
    return {
        "within_5_days": sum(delay <= 5 for delay in delays),
        "alarmed_before": sum(any(day <= onset for day in own) for own in dates),
        "days_median": median(delays),
        "days_95_of_100": round(sorted(delays)[94 * len(delays) // 100], 2),
        "never": sum(math.isinf(delay) for delay in delays),
        "fixed_line_days_median": median(lines),
    }


def count_found(drifts: list[Drift], onset: float) -> dict[str, Any]:
    """Count the cameras whose cleaning was found once, and within one day."""
    dates = [dated(drift, Kind.CLEANED) for drift in drifts]
    delays = [own[0] - onset for own in dates if len(own) == 1 and 0 < own[0] - onset <= 1]
    return {"found": len(delays), "days_median": median(delays)}


def measure_days_left(drifts: list[Drift], days: int) -> dict[str, Any]:
    """Hold what is said after some days of dust against when the line is reached."""
    truth = (CLEAN - LINE) / (CLEAN - DIRTY) * DUST_DAYS - days
    said = [drift.days_left for drift in drifts if drift.days_left]
    return {
        "truth": round(truth, 2),
        "said": len(said),
        "interval_holds_truth": sum(left.low <= truth <= left.high for left in said),
        "days_median": median([left.days for left in said]),
    }


def median(values: list[float]) -> float | None:
    """Return it, None if there is none."""
    middle = float(np.median(values)) if values else math.inf
    return round(middle, 2) if math.isfinite(middle) else None


if __name__ == "__main__":
    main()
