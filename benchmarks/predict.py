"""How fast is prediction, beside the usual script and the engine alone; what memory it takes.

    python benchmarks/predict.py [--data ../shared/data/dagm_class1] [--bundle RUN] [--rounds 3]

Trains DAGM class 1 as configs/dagm.yaml says (10 minutes with its calibration), and predicts 500
images of 512×512, each contender in a process of its own, all in turn: the script that loops over
``model.predict``, ours by OpenVINO in float32 and in int8, and the engines alone with the images in
memory. Then single images, starts, memory, one image of 12,000×12,000 (half an hour in all). Writes
results/predict.json and the pages' figures.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from publish import (
    PREPARED,
    REAL_DATA,
    ROOT,
    prepare_dagm,
    train_bundle,
    write_into_pages,
    write_result,
)

from defectseg.bundle import Bundle, load_bundle
from defectseg.image_io import read_image, write_gray
from defectseg.inference.engines import load_engine
from defectseg.inference.folder import predict_folder
from defectseg.inference.predictor import open_predictor
from defectseg.inference.regions import image_score
from defectseg.inference.verdict import grade
from defectseg.processor import count_cores

COUNT = 500
MANY = 5000
LARGE_PX = 12_000
TILED_PX = 3_500
STARTS = 7
WARM_UP = 5


def main() -> None:
    """Run the benchmark, or one of its contenders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL_DATA / "dagm_class1")
    parser.add_argument("--bundle", type=Path, help="a bundle trained on the same preparation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    own = parser.parse_args()
    if own.contender:
        result = CONTENDERS[own.contender](load_bundle(own.bundle), own.images, own.output)
        (own.output / "result.json").write_text(json.dumps(result))
        return
    data = PREPARED / "benchmark-dagm"
    prepare_dagm(own.data, data)
    run = (own.bundle or train_bundle("dagm.yaml", data, "predict")).resolve()
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        write_images(own.data, images)
        report(run, measure(run, images, Path(folder), own.rounds))


def write_images(data: Path, folder: Path) -> None:
    """Write 500 images: those of the data, turned and mirrored until they are enough."""
    folder.mkdir()
    sources = sorted(data.glob("Class1*/*.png"))
    sources = [path for path in sources if "mask" not in path.parent.name]
    for i in range(COUNT):
        image = np.rot90(read_image(sources[i % len(sources)]), i // len(sources))
        write_gray(folder / f"{i:03}.png", np.ascontiguousarray(image))


def naive(bundle: Bundle, images: Path, output: Path) -> dict[str, Any]:
    """The usual script: read, ``model.predict``, write; the mean over mirror images if asked."""
    import keras

    model = keras.models.load_model(bundle.folder / "model.keras", compile=False)
    turns = (
        [(r, c) for r in (1, -1) for c in (1, -1)] if bundle.config.inference.flips else [(1, 1)]
    )
    probabilities = {}
    paths = sorted(images.glob("*.png"))
    for number, path in enumerate([*paths[:WARM_UP], *paths]):
        if number == WARM_UP:
            started = time.perf_counter()
        image = read_image(path).astype(np.float32)[..., None]
        views = np.stack([image[::rows, ::columns] for rows, columns in turns])
        answers = model.predict(views, verbose=0)[..., 0]
        turned = [a[::rows, ::columns] for a, (rows, columns) in zip(answers, turns, strict=True)]
        probability = np.mean(turned, axis=0)
        mask = (probability >= bundle.calibration.thresholds.pixel).astype(np.uint8)
        write_gray(output / path.name, 255 * mask)
        probabilities[path.name] = probability.astype(np.float16)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "verdicts": grade_all(bundle, probabilities)}


def grade_all(bundle: Bundle, probabilities: dict[str, npt.NDArray[Any]]) -> dict[str, str]:
    """Return the verdict by the score of each answer."""
    thresholds = bundle.calibration.thresholds
    (area,) = thresholds.score_area_px.values()
    return {
        name: grade(image_score(own.astype(np.float32), area), thresholds)
        for name, own in probabilities.items()
    }


def ours(kind: str) -> Callable[[Bundle, Path, Path], dict[str, Any]]:
    """Return the contender that predicts the folder, with all that is written."""

    def run(bundle: Bundle, images: Path, output: Path) -> dict[str, Any]:
        times: list[float] = []
        result = predict_folder(
            bundle,
            images,
            output / "results",
            engine=kind,  # type: ignore[arg-type]
            on_image=lambda row, total: times.append(time.perf_counter()),
        )
        rows = pd.read_csv(output / "results" / "predictions.csv")
        # The first images fill the pipeline.
        steady = (times[-1] - times[WARM_UP]) / (len(times) - WARM_UP - 1) * len(times)
        scores = dict(zip(rows["image"], rows["defect_score"], strict=True))
        thresholds = bundle.calibration.thresholds
        return {
            "seconds": steady,
            "seconds_with_start_and_report": result.seconds,
            "verdicts": {name: grade(score, thresholds) for name, score in scores.items()},
        }

    return run


def alone(kind: str) -> Callable[[Bundle, Path, Path], dict[str, Any]]:
    """Return the contender that only answers, the images being in memory."""

    def run(bundle: Bundle, images: Path, output: Path) -> dict[str, Any]:
        engine = load_engine(bundle.folder, bundle.config, kind)  # type: ignore[arg-type]
        pixels = [read_image(path) for path in sorted(images.glob("*.png"))]
        with ThreadPoolExecutor(count_cores()) as pool:
            list(pool.map(engine.probability, pixels[:WARM_UP]))
            started = time.perf_counter()
            for _ in pool.map(lambda image: engine.probability(image)[0, 0], pixels):
                pass
            return {"seconds": time.perf_counter() - started}

    return run


def latency(bundle: Bundle, images: Path, output: Path) -> dict[str, Any]:
    """One image after the other, from file to verdict."""
    predictor = open_predictor(bundle, streams=1)
    (product,) = bundle.calibration.gate.products
    times = []
    for path in sorted(images.glob("*.png")):
        started = time.perf_counter()
        predictor.inspect(read_image(path), product)
        times.append(1000 * (time.perf_counter() - started))
    return {f"p{p}_ms": float(np.percentile(times[WARM_UP:], p)) for p in (50, 99)}


CONTENDERS: dict[str, Callable[[Bundle, Path, Path], dict[str, Any]]] = {
    "naive": naive,
    "float32": ours("float32"),
    "int8": ours("int8"),
    "float32 engine alone": alone("float32"),
    "int8 engine alone": alone("int8"),
    "latency": latency,
}


def measure(run: Path, images: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Return all figures."""
    bundle = load_bundle(run)
    names = [name for name in CONTENDERS if "int8" not in name or "int8" in bundle.exports]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            output = folder / f"{name} {number}"
            output.mkdir()
            words = ["--contender", name, "--bundle", run, "--images", images, "--output", output]
            start_process([__file__, *words])
            results[name].append(json.loads((output / "result.json").read_text()))
            shutil.rmtree(output)
            print(name, number, {k: v for k, v in results[name][-1].items() if k != "verdicts"})
    ms = {
        name: 1000 / COUNT * float(np.median([own["seconds"] for own in results[name]]))
        for name in names
        if name != "latency"
    }
    reference = results["naive"][0]["verdicts"]
    agreement = {
        name: float(np.mean([results[name][0]["verdicts"][k] == v for k, v in reference.items()]))
        for name in ("float32", "int8")
        if name in results
    }
    return {
        "ms_an_image": {name: round(own, 2) for name, own in ms.items()},
        "rounds_s": {name: [round(own["seconds"], 2) for own in results[name]] for name in ms},
        "same_verdict_as_naive": agreement,
        "latency": {
            key: round(float(np.median([own[key] for own in results["latency"]])), 1)
            for key in ("p50_ms", "p99_ms")
        },
        "start_s": time_start(run, images, folder),
        "tiled_differs_by": compare_tiled(bundle, images),
        "peak_mib": measure_memory(run, images, folder),
    }


def start_process(words: list[Any]) -> float:
    """Run Python on words; return its peak memory in MiB."""
    # By way of a small process: a child is said to have held what its parent does.
    launch = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True)\n"
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    command = [sys.executable, "-c", launch, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{words} ended with {done.returncode}: {done.stderr}")
    peak = int(done.stderr.split()[-1])
    return peak / (1024 if sys.platform == "linux" else 1024**2)


def predict_words(run: Path, images: Path, output: Path) -> list[Any]:
    """Return the words of a prediction that prints nothing."""
    return ["predict.py", "--model", run, "--input", images, "--output", output, "--quiet"]


def time_start(run: Path, images: Path, folder: Path) -> float:
    """Return the median seconds of a whole process that predicts one image."""
    (folder / "one").mkdir()
    shutil.copy(next(images.glob("*.png")), folder / "one")
    seconds = []
    for number in range(STARTS):
        started = time.perf_counter()
        start_process(predict_words(run, folder / "one", folder / f"one {number}"))
        seconds.append(time.perf_counter() - started)
    return round(float(np.median(seconds)), 2)


def compare_tiled(bundle: Bundle, images: Path) -> float:
    """Return by how much probabilities differ, at most, from those of the whole image at once."""
    image = tile_images(images, TILED_PX)
    once = bundle.config.inference.model_copy(
        update={"flips": False, "window_px": -(-TILED_PX // 128) * 128}
    )
    config = bundle.config.model_copy(update={"inference": once})
    whole = load_engine(bundle.folder, config, "float32").probability(image)
    plain = once.model_copy(update={"window_px": bundle.config.inference.window_px})
    config = bundle.config.model_copy(update={"inference": plain})
    tiled = load_engine(bundle.folder, config, "float32").probability(image)
    return float(np.abs(tiled - whole).max())


def tile_images(images: Path, side: int) -> npt.NDArray[np.uint8]:
    """Return one large image of many."""
    across = -(-side // 512)
    wide = np.hstack([read_image(path) for path in sorted(images.glob("*.png"))[:across]])
    rows = [np.roll(wide, 512 * i, axis=1) for i in range(across)]
    return np.ascontiguousarray(np.vstack(rows)[:side, :side])


def measure_memory(run: Path, images: Path, folder: Path) -> dict[str, float]:
    """Return the peaks of few images, of ten times as many, and of one that is large."""
    many, large = folder / "many", folder / "large"
    many.mkdir()
    large.mkdir()
    for i, path in enumerate(sorted(images.glob("*.png")) * (MANY // COUNT)):
        os.link(path, many / f"{i:05}.png")
    write_gray(large / "large.png", tile_images(images, LARGE_PX))
    return {
        name: round(start_process(predict_words(run, source, folder / f"of {name}")), 1)
        for name, source in ((str(COUNT), images), (str(MANY), many), ("12000×12000", large))
    }


def report(run: Path, figures: dict[str, Any]) -> None:
    """Write the results, and the pages' sentences."""
    ms, peak = figures["ms_an_image"], figures["peak_mib"]
    bundle = load_bundle(run)
    kinds = [kind for kind in ("float32", "int8") if kind in ms]
    figures |= {
        "faster_than_naive": {kind: round(ms["naive"] / ms[kind], 2) for kind in kinds},
        "share_of_engine_alone": {
            kind: round(ms[f"{kind} engine alone"] / ms[kind], 3) for kind in kinds
        },
        "memory_growth": round(peak[str(MANY)] / peak[str(COUNT)] - 1, 4),
        "exports": {name: own.model_dump() for name, own in bundle.exports.items()},
        "config": bundle.config.model_dump(mode="json", exclude={"data", "run"}),
    }
    write_result("predict", figures)
    faster, share = figures["faster_than_naive"], figures["share_of_engine_alone"]
    best = kinds[-1]
    views = ", each as the mean over four mirror images" if bundle.config.inference.flips else ""
    write_into_pages(
        "predict",
        f"{COUNT} images of 512×512 by the model of configs/dagm.yaml{views}, on {os.cpu_count()} "
        f"CPU cores: the usual loop over `model.predict` takes {ms['naive']:.0f} ms an image; "
        "`predict.py`, once under way, with gate, masks, overlays and tables, "
        + ", ".join(f"{ms[kind]:.0f} ms in {kind}" for kind in kinds)
        + f": **{faster[best]:.1f} times** as fast, "
        f"with the same verdict on {100 * figures['same_verdict_as_naive'][best]:.1f} % of the "
        "images. That is "
        + ", ".join(f"{100 * share[kind]:.0f} % ({kind})" for kind in kinds)
        + " of what the engine does alone with the images in memory. A single image takes "
        f"{figures['latency']['p50_ms']:.0f} ms (99 % of them {figures['latency']['p99_ms']:.0f} "
        f"or less), a whole process with one image {figures['start_s']:.1f} s. Peak memory: "
        f"{peak[str(COUNT)]:.0f} MiB for {COUNT} images, {peak[str(MANY)]:.0f} for {MANY}, "
        f"{peak['12000×12000']:.0f} for one of 12,000×12,000.\n",
    )


if __name__ == "__main__":
    main()
