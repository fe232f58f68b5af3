"""Is an inspection line as fast as its engine, does it run for long, and does it survive kills?

    python benchmarks/line.py [--data ../shared/data/dagm_class1] [--bundle RUN]
        [--only start,load,latency,soak,kills] [--rounds 3]

Trains DAGM class 1 as configs/dagm.yaml says (10 minutes with its calibration), and runs stations
of it, each a process of its own, on images of 512×512 that all differ: with four clients beside
the engine alone, at half of that rate, with 10,000 images in a row, and with kills while images
come in (half an hour in all). Writes results/line.json and the pages' figures; with --only, what
the file holds of the other parts stays. For trials: --dry writes nothing, and each part's count of
images can be given.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from line_faults import WRONG, measure_kills, measure_soak
from line_station import CLIENTS, Bench, Client, Station, follow
from publish import (
    PREPARED,
    REAL_DATA,
    RESULTS,
    prepare_dagm,
    read_commit,
    train_bundle,
    write_into_pages,
    write_result,
)

from defectseg.bundle import Bundle, load_bundle
from defectseg.image_io import read_image
from defectseg.inference.cores import one_core_each
from defectseg.inference.engines import choose_engine, load_engine
from defectseg.inference.predictor import open_predictor
from predict import write_images

BARS = {"load_share": 0.85, "added_p99_ms": 30.0, "rss_growth": 0.05}
COUNTS = {"load": 400, "latency": 400, "soak": 10_000, "kill": 2000}
STARTS = 7
WARM_UP = 10


def main() -> None:
    """Run the benchmark, or one of its contenders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL_DATA / "dagm_class1")
    parser.add_argument("--bundle", type=Path, help="a bundle trained on the same preparation")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    for part, count in COUNTS.items():
        parser.add_argument(f"--{part}-images", type=int, default=count)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    own = parser.parse_args()
    if own.contender:
        task = json.loads(own.task.read_text())
        result = CONTENDERS[own.contender](load_bundle(own.bundle), **task)
        own.task.with_suffix(".result").write_text(json.dumps(result))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no station is left behind
    chosen = own.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"--only {', '.join(unknown)}; expected some of {', '.join(PARTS)}")
    run = own.bundle
    if run is None:
        prepare_dagm(own.data, PREPARED / "benchmark-dagm")
        run = train_bundle("dagm.yaml", PREPARED / "benchmark-dagm", "line")
    commit = read_commit()  # now, before results make the checkout differ from it
    path = RESULTS / "line.json"
    figures = json.loads(path.read_text()) if path.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        write_images(own.data, Path(folder) / "images")
        counts = {part: vars(own)[f"{part}_images"] for part in COUNTS}
        bench = Bench(
            run.resolve(), Path(folder), rounds=own.rounds, counts=counts, figures=figures
        )
        for part in (part for part in PARTS if part in chosen):
            figures[part] = PARTS[part](bench)
            figures.setdefault("commits", {})[part] = commit
            print(part, json.dumps(figures[part], indent=2), flush=True)
    report(run, figures, dry=own.dry)


def answer_alone(bundle: Bundle, images: str, times: list[float]) -> list[float]:
    """The engine alone, the images in memory: milliseconds of each, see `follow`.

    As in a station, an image that is alone is answered by all cores, one of several by one.
    """
    kind = choose_engine(bundle, "auto")
    many, single = (
        load_engine(bundle.folder, bundle.config, kind, streams=own) for own in (None, 1)
    )
    pixels = [read_image(path) for path in sorted(Path(images).glob("*.png"))]
    at_work: set[int] = set()

    def act(thread: int, i: int) -> None:
        at_work.add(thread)
        engine = single if len(at_work) == 1 else many
        engine.probability(pixels[i % len(pixels)])
        at_work.remove(thread)

    with one_core_each() as threads:
        follow([0.0] * WARM_UP, act, threads)
        return follow(times, act, threads)


def judge_undisturbed(bundle: Bundle, images: str) -> list[str]:
    """The verdict on each file, without a station."""
    predictor = open_predictor(bundle)
    (product,) = bundle.calibration.gate.products
    paths = sorted(Path(images).glob("*.png"))
    return [predictor.inspect(read_image(path), product).verdict.outcome.value for path in paths]


CONTENDERS: dict[str, Callable[..., Any]] = {"engine": answer_alone, "verdicts": judge_undisturbed}


def measure_start(bench: Bench) -> dict[str, Any]:
    """How long from the start of the process until it is ready."""
    seconds = []
    for _ in range(STARTS):
        with Station(bench.run, bench.new_folder()) as station:
            seconds.append(station.start())
            station.stop()
    return {"median_s": round(float(np.median(seconds)), 2), "all_s": np.round(seconds, 2).tolist()}


def drive(bench: Bench, station: Station, times: Sequence[float], first: int) -> list[float]:
    """Have clients send images at their times; return the milliseconds of each, see `follow`."""
    bodies = [bench.shoot(first + i).pack() for i in range(len(times))]
    clients = [Client(station) for _ in range(CLIENTS)]
    try:
        return follow(times, lambda thread, i: clients[thread].inspect(bodies[i]), CLIENTS)
    finally:
        for client in clients:
            client.close()


def measure_load(bench: Bench) -> dict[str, Any]:
    """How many images a second, all sent as fast as they are answered."""
    times = [0.0] * bench.counts["load"]
    rates: dict[str, list[float]] = {"station": [], "engine": []}
    for _ in range(bench.rounds):
        with Station(bench.run, bench.new_folder()) as station:
            station.start()
            drive(bench, station, [0.0] * WARM_UP, 0)
            rates["station"].append(1000 * len(times) / max(drive(bench, station, times, WARM_UP)))
            station.stop()
        rates["engine"].append(1000 * len(times) / max(bench.ask("engine", times=times)))
    medians = {name: float(np.median(own)) for name, own in rates.items()}
    shares = np.divide(rates["station"], rates["engine"])
    return {
        "images": len(times),
        "clients": CLIENTS,
        "station_per_s": round(medians["station"], 2),
        "engine_alone_per_s": round(medians["engine"], 2),
        "share": round(medians["station"] / medians["engine"], 3),
        "rounds_per_s": {name: np.round(own, 2).tolist() for name, own in rates.items()},
        "rounds_share": np.round(shares, 3).tolist(),
    }


def measure_latency(bench: Bench) -> dict[str, Any]:
    """How much later than the engine's answer is the station's, at half of the rate it can do."""
    if "load" not in bench.figures:
        raise SystemExit("The rate is not known: measure it, too, by --only load,latency.")
    count, rate = bench.counts["latency"], bench.figures["load"]["station_per_s"] / 2
    gaps = np.random.default_rng(0).exponential(1 / rate, count)
    schedules = {"paced": np.arange(count) / rate, "poisson": np.cumsum(gaps)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in schedules}
    for _ in range(bench.rounds):
        own = {}
        with Station(bench.run, bench.new_folder()) as station:
            station.start()
            drive(bench, station, [0.0] * WARM_UP, 0)
            for name, times in schedules.items():
                first = WARM_UP + len(own) * count
                own[name] = drive(bench, station, times.tolist(), first)
            station.stop()
        for name, times in schedules.items():
            found[name].append(compare(own[name], bench.ask("engine", times=times.tolist())))
    medians = {
        name: {key: round(float(np.median([own[key] for own in rows])), 1) for key in rows[0]}
        for name, rows in found.items()
    }
    return {"images": count, "rate_per_s": round(rate, 2), **medians, "rounds": found}


def compare(station: list[float], engine: list[float]) -> dict[str, float]:
    """Return by how many milliseconds the station's answers come later than the engine's."""
    row = {}
    for p in (50, 99):
        both = float(np.percentile(station, p)), float(np.percentile(engine, p))
        row |= {f"station_p{p}_ms": both[0], f"engine_p{p}_ms": both[1]}
        row[f"added_p{p}_ms"] = both[0] - both[1]
    return {key: round(ms, 1) for key, ms in row.items()}


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "start": measure_start,
    "load": measure_load,
    "latency": measure_latency,
    "soak": measure_soak,
    "kills": measure_kills,
}


def hold(figures: dict[str, Any]) -> dict[str, bool]:
    """Return which bars are held, of the parts that were measured."""
    held = {}
    if "load" in figures:
        held["load"] = figures["load"]["share"] >= BARS["load_share"]
    if "latency" in figures:
        held["latency"] = figures["latency"]["paced"]["added_p99_ms"] <= BARS["added_p99_ms"]
    if "soak" in figures:
        own = figures["soak"]
        level = own["files_growth"] == 0 == own["threads_growth"]
        whole = own["recorded"] == own["images"]
        held["soak"] = own["rss_growth"] < BARS["rss_growth"] and level and whole
    if "kills" in figures:
        held["kills"] = not any(own[key] for own in figures["kills"].values() for key in WRONG)
    return held


def report(run: Path, figures: dict[str, Any], *, dry: bool) -> None:
    """Write the results, and the pages' sentences."""
    bundle = load_bundle(run)
    figures |= {
        "engine": choose_engine(bundle, "auto"),
        "bars": BARS,
        "held": hold(figures),
        "config": bundle.config.model_dump(mode="json", exclude={"data", "run"}),
    }
    text = describe(figures)
    print(text, figures["held"])
    if not dry:
        write_result("line", figures)
        write_into_pages("line", text)


def describe(figures: dict[str, Any]) -> str:
    """Return the pages' sentences, of the parts that were measured."""
    texts = [
        f"A station with the model of configs/dagm.yaml in {figures['engine']}, on "
        f"{os.cpu_count()} CPU cores, images of 512×512."
    ]
    if own := figures.get("start"):
        texts.append(f"It is ready {own['median_s']:.1f} s after its start.")
    if own := figures.get("load"):
        texts.append(
            f"{own['clients']} clients by HTTP: {own['station_per_s']:.1f} images a second, all "
            f"recorded with their pictures: **{100 * own['share']:.0f} %** of what the engine does "
            "alone with the images in memory."
        )
    if own := figures.get("latency"):
        paced = own["paced"]
        texts.append(
            f"At half of that rate 99 % of the answers come within {paced['station_p99_ms']:.0f} "
            f"ms, **{paced['added_p99_ms']:.0f} ms** later than the engine's own."
        )
    if own := figures.get("soak"):
        texts.append(
            f"{own['images']:,} images in a row: from the first tenth to the end memory grows by "
            f"{100 * own['rss_growth']:.1f} %, open files by {own['files_growth']:.0f}, threads by "
            f"{own['threads_growth']:.0f}."
        )
    if own := figures.get("kills"):
        total = Counter[str]()
        for way in own.values():
            total.update({key: way[key] for key in ("images", *WRONG, "recorded_once")})
        texts.append(
            f"Killed {sum(len(way['killed_at']) for way in own.values())} times while "
            f"{total['images']:,} images came by folder and by HTTP: {total['recorded_once']:,} "
            f"recorded once, {total['lost']} lost, {total['recorded_twice']} recorded twice; "
            f"{total['differ_from_undisturbed']} verdicts differ from those of an undisturbed run, "
            f"{total['answers_not_in_ledger']} answers from the ledger."
        )
    return " ".join(texts) + "\n"


if __name__ == "__main__":
    main()
