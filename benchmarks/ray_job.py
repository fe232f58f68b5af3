"""Prediction by Ray Data beside one local process, on the same cores.

    python benchmarks/ray_job.py [--bundle runs/demo/bundle] [--rounds 3] [--note TEXT]

Draws DAGM-like images of 512×512, and predicts few and many of them, each contender in a process of
its own, all in turn: this machine's usual ``predict``, the same with ``--engine ray`` on a cluster
that is started and stopped, and that with ``--format parquet``. What an image costs is the
difference between many and few; what is left is the start. Takes a quarter of an hour. Writes
results/ray.json and the figures of docs/scale.md.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from publish import ROOT, write_into_pages, write_result

from defectseg.bundle import load_bundle
from defectseg.dataset.synthetic import generate_sample
from defectseg.image_io import require_images, write_gray
from defectseg.inference.folder import predict_folder
from defectseg.processor import count_cores

FEW, MANY = 128, 1024  # whole chunks, and as many for each of two actors
SIDE_PX = 512
DRAWN = 128  # the others are these, turned and mirrored
CONTENDERS = {
    "local": {},
    "ray": {"engine": "ray"},
    "ray parquet": {"engine": "ray", "table": "parquet"},
}
JOB = 10_000_000
PRICE = 0.05


def main() -> None:
    """Run the benchmark, or one of its contenders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=ROOT / "runs" / "demo" / "bundle")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="", help="what is to be said of this measurement")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    own = parser.parse_args()
    if own.contender:
        predict_once(own.contender, own.bundle, own.images, own.output)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(own.bundle.resolve(), Path(folder), own.rounds)
    figures = {"note": own.note} | figures
    write_result("ray", figures)
    write_into_pages("ray", describe(figures))


def draw_images(folder: Path, products: list[str]) -> None:
    """Write many images of a bundle's products, and link the first of them as few."""
    rng = np.random.default_rng(0)
    drawn = [
        generate_sample(products[i % len(products)], defective=i % 4 == 0, rng=rng, size=SIDE_PX)[0]
        for i in range(DRAWN)
    ]
    for i in range(MANY):
        turn = i // DRAWN
        image = np.rot90(drawn[i % DRAWN], turn % 4)
        name = f"{products[i % DRAWN % len(products)]}/{i:05}.png"
        write_gray(
            folder / "many" / name, np.ascontiguousarray(image[:, :: 1 - 2 * (turn // 4 % 2)])
        )
        if i < FEW:
            (folder / "few" / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / "many" / name, folder / "few" / name)


def predict_once(contender: str, bundle: Path, images: Path, output: Path) -> None:
    """Predict a folder, and note what it took in this process."""
    started = time.perf_counter()
    options: dict[str, Any] = CONTENDERS[contender]
    predict_folder(load_bundle(bundle), images, output / "results", **options)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "seconds": time.perf_counter() - started,
        "own_cpu_s": usage.ru_utime + usage.ru_stime,
        "own_peak_mib": usage.ru_maxrss / 1024,
    }
    (output / "result.json").write_text(json.dumps(result))


class CpuMeter(threading.Thread):
    """Adds up the CPU time of a process and of all that it starts, while they live."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._seconds: dict[tuple[int, float], float] = {}

    def run(self) -> None:
        """Look five times a second: what a process does after the last look is not counted."""
        while not self._ended.wait(0.2):
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in family:
                try:
                    times = process.cpu_times()
                    key = process.pid, process.create_time()
                except psutil.NoSuchProcess:
                    continue
                self._seconds[key] = times.user + times.system

    def stop(self) -> float:
        """Return the seconds of all processes."""
        self._ended.set()
        self.join()
        return sum(self._seconds.values())


def run_contender(words: list[Any], output: Path) -> dict[str, float]:
    """Run one contender in a process of its own; return its figures."""
    output.mkdir()
    command = [sys.executable, __file__, *map(str, words), "--output", str(output)]
    env = {**os.environ, "RAY_ADDRESS": "local"}
    with subprocess.Popen(command, cwd=ROOT, env=env) as process:
        meter = CpuMeter(process.pid)
        meter.start()
        status = process.wait()
    if status:
        raise SystemExit(f"{command} ended with {status}.")
    return json.loads((output / "result.json").read_text()) | {"cpu_s": meter.stop()}


def measure(bundle: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Return all figures."""
    loaded = load_bundle(bundle)
    draw_images(folder, sorted(loaded.calibration.gate.products))
    runs: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {"few": [], "many": []} for name in CONTENDERS
    }
    sizes: dict[str, float] = {}
    for number in range(rounds):
        for name in CONTENDERS:
            for size in ("few", "many"):
                output = folder / f"{name} {size} {number}"
                words = ["--contender", name, "--bundle", bundle, "--images", folder / size]
                runs[name][size].append(run_contender(words, output))
                if size == "many":
                    sizes |= measure_bytes(output / "results")
                shutil.rmtree(output)
                print(number, name, size, runs[name][size][-1], flush=True)
    return {
        "images": {"few": FEW, "many": MANY, "side_px": SIDE_PX},
        "engine": loaded.calibration.engine,
        "flips": loaded.config.inference.flips,
        "cores": count_cores(),
        "contenders": {name: summarise(own) for name, own in runs.items()},
        "bytes_an_image": {name: round(size / MANY) for name, size in sizes.items()}
        | {"read": round(count_bytes(folder / "many") / MANY)},
        "driver_bytes_a_file": round(weigh_listing(folder / "many")),
        "runs": runs,
    }


def summarise(runs: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return what an image costs beyond the start, and the start; medians over the rounds."""
    middle = {
        size: {key: statistics.median(run[key] for run in own) for key in own[0]}
        for size, own in runs.items()
    }
    few, many = middle["few"], middle["many"]

    def an_image(key: str) -> float:
        return (many[key] - few[key]) / (MANY - FEW)

    return {
        "images_a_second": round(1 / an_image("seconds"), 2),
        "images_a_second_with_start": round(MANY / many["seconds"], 2),
        "start_s": round(few["seconds"] - FEW * an_image("seconds"), 2),
        "cpu_ms_an_image": round(1000 * an_image("cpu_s"), 2),
        "own_cpu_ms_an_image": round(1000 * an_image("own_cpu_s"), 3),
        "own_peak_mib": round(many["own_peak_mib"]),
    }


def measure_bytes(results: Path) -> dict[str, float]:
    """Return how large each kind of result is, by name."""
    names = ("masks", "overlays", "predictions.csv", "defects.csv", "predictions.parquet")
    return {name: count_bytes(results / name) for name in names if (results / name).exists()}


def count_bytes(path: Path) -> int:
    """Return the size of a file, or of all files of a folder."""
    files = [path] if path.is_file() else path.rglob("*.*")
    return sum(file.stat().st_size for file in files if file.is_file())


def weigh_listing(images: Path) -> float:
    """Return the memory in which a job for Parquet holds its files, in bytes a file."""
    from defectseg.inference.ray_job import SHARD, make_chunks

    arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    # As `predict_folder` has them: found, each with its product, and packed for the nodes.
    found, _ = require_images(images)
    products = [None] * len(found)
    files = list(zip(found, products, strict=True))
    chunks = make_chunks(files, SHARD)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    taken += pa.total_allocated_bytes() - arrow
    del chunks  # not before it is weighed
    return taken / len(found)


def describe(figures: dict[str, Any]) -> str:
    """Return the figures of docs/scale.md."""
    contenders, size = figures["contenders"], figures["bytes_an_image"]
    cores = figures["cores"]
    local, ray, shards = (contenders[name] for name in CONTENDERS)
    # All cores are busy, and no more than busy: a rate is the difference of two runs, and what it
    # has beyond the processors' time is the uncertainty of their starts.
    core_s = {
        name: max(cores / own["images_a_second"], own["cpu_ms_an_image"] / 1000)
        for name, own in contenders.items()
    }
    core_hours = JOB * core_s["ray parquet"] / 3600
    pictures = size["masks"] + size["overlays"]
    tables = size["predictions.csv"] + size["defects.csv"]
    feeds = {name: 1000 / contenders[name]["own_cpu_ms_an_image"] for name in CONTENDERS}

    def share(name: str) -> str:
        return f"{100 * core_s['local'] / core_s[name]:.0f}"

    note = f"**{figures['note']}**\n\n" if figures["note"] else ""
    mirrored = ", each as the mean over four mirror images" if figures["flips"] else ""
    rows = [
        ("local process", local, "local"),
        ("`--engine ray`", ray, "ray"),
        ("`--engine ray --format parquet`", shards, "ray parquet"),
    ]
    return (
        note + f"Images of {SIDE_PX}×{SIDE_PX} by the model of configs/demo.yaml in "
        f"{figures['engine']}{mirrored}, on {cores} CPU cores; medians of "
        f"{len(figures['runs']['local']['many'])} rounds, all in turn.\n\n"
        "| | images a second, once under way | with start and end, "
        f"{MANY} images | start and end | core-seconds an image | CPU-seconds an image, all "
        "processes |\n|---|---|---|---|---|---|\n"
        + "".join(
            f"| {title} | {own['images_a_second']:.1f} | {own['images_a_second_with_start']:.1f} "
            f"| {own['start_s']:.1f} s | {core_s[name]:.3f} | "
            f"{own['cpu_ms_an_image'] / 1000:.3f} |\n"
            for title, own, name in rows
        )
        + f"\nOn the same cores Ray has **{share('ray')} %** of the local rate once under way, "
        f"{share('ray parquet')} % with Parquet, by core-seconds; the rates of the table are "
        "differences of two runs, and good to a tenth. "
        f"An image is {size['read'] / 1e3:.0f} kB to read. Back to the driver come "
        f"{pictures / 1e3:.0f} kB of mask and overlay with a row of {tables / 1e3:.1f} kB; with "
        f"Parquet the row alone, and {size['predictions.parquet'] / 1e3:.1f} kB go to the shards.\n"
        "\n### 10 million such images\n\n"
        "| | |\n|---|---|\n"
        f"| bytes read | {JOB * size['read'] / 1e12:.2f} TB |\n"
        f"| bytes written, Parquet | {JOB * size['predictions.parquet'] / 1e9:.0f} GB in "
        f"{-(-JOB // 256):,} files |\n"
        f"| bytes written, masks, overlays and CSV | {JOB * (pictures + tables) / 1e9:.0f} GB in "
        f"{2 * JOB:,} files |\n"
        f"| core-hours | {core_hours:,.0f} |\n"
        + "".join(
            f"| on {n} cores | {core_hours / n:,.1f} hours, "
            f"{n / core_s['ray parquet'] * size['read'] / 1e6:,.0f} MB/s read |\n"
            for n in (16, 64, 256, 1024)
        )
        + f"| cost at {PRICE} a core-hour | {core_hours * PRICE:,.0f} |\n"
        f"| the driver's list of files | {JOB * figures['driver_bytes_a_file'] / 1e9:.1f} GB |\n"
        f"\nThe price is an assumption, not an offer: put in your own. The driver's process took "
        f"{ray['own_cpu_ms_an_image']:.1f} ms of CPU an image with pictures, "
        f"{shards['own_cpu_ms_an_image']:.1f} ms with Parquet. Much of that is Ray Data looking "
        "around, which does not grow with the rate; so one driver is busy no sooner than at "
        f"{feeds['ray']:,.0f} and {feeds['ray parquet']:,.0f} images a second, which "
        f"{feeds['ray'] * core_s['ray']:,.0f} and "
        f"{feeds['ray parquet'] * core_s['ray parquet']:,.0f} such cores inspect.\n"
    )


if __name__ == "__main__":
    main()
