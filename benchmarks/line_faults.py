"""Does a station run for long, and does it survive kills? Parts of benchmarks/line.py."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from line_station import CLIENTS, Bench, Client, Shot, Station, follow
from publish import ROOT

from defectseg.line.store import DATABASE

KILLS = 3
SAMPLE_S = 2.0
# Longer than connections and threads without work are kept, and than between two searches of the
# folder, which must find nothing more.
QUIET_S = 12.0
SLOW_EVERY, SLOW_PIECES, SLOW_PAUSE_S = 20, 6, 0.6  # a pause is shorter than limits.settle_s
# What must be 0 after kills.
WRONG = ("lost", "recorded_twice", "of_no_image", "differ_from_undisturbed")
WRONG += ("answers_not_in_ledger", "verify_status")


def sample(station: Station) -> dict[str, float]:
    """Return what a station holds of the machine."""
    assert station.process is not None
    own = Path("/proc") / str(station.process.pid)
    pages = int((own / "statm").read_text().split()[1])
    ledger = station.folder / DATABASE
    sizes = [path.stat().st_size for path in (ledger, ledger.with_name(f"{ledger.name}-wal"))]
    return {
        "recorded": station.count(),
        "rss_mib": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
        "files": len(list((own / "fd").iterdir())),
        "threads": len(list((own / "task").iterdir())),
        "ledger_mib": round(sizes[0] / 2**20, 2),
        "wal_mib": round(sizes[1] / 2**20, 2),
    }


def measure_soak(bench: Bench) -> dict[str, Any]:
    """What many images leave behind: half come by the folder, half by HTTP."""
    count = bench.counts["soak"]
    samples: list[dict[str, float]] = []
    quiet = {}
    done = 0
    with Station(bench.run, bench.new_folder(), take=True) as station:
        station.start()
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(SAMPLE_S):
                samples.append(sample(station))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        begin, rested = time.monotonic(), 0.0
        for percent in (10, 50, 100):
            part = count * percent // 100 - done
            send_mixed(bench, station, done, part)
            done += part
            station.wait_for(done)
            # At rest: what is held for an image on its way is no growth.
            rest = time.monotonic()
            time.sleep(QUIET_S)
            Client(station).get("/v1/summary")  # ends threads that had nothing to do
            time.sleep(1.0)
            quiet[f"{percent} %"] = sample(station)
            rested += time.monotonic() - rest
        seconds = time.monotonic() - begin - rested
        ended.set()
        watcher.join()
        station.stop()
    late = [own for own in samples if own["recorded"] >= 0.2 * count]
    slope = np.polyfit([own["recorded"] for own in late], [own["rss_mib"] for own in late], 1)[0]
    first, last = quiet["10 %"], quiet["100 %"]
    return {
        "images": count,
        "recorded": last["recorded"],
        "images_per_s": round(count / seconds, 2),
        "at_rest": quiet,
        "rss_growth": round(last["rss_mib"] / first["rss_mib"] - 1, 4),
        "rss_slope_mib_per_1000": round(1000 * float(slope), 3),
        "most": {key: max(own[key] for own in samples) for key in first},
        "files_growth": last["files"] - first["files"],
        "threads_growth": last["threads"] - first["threads"],
    }


def send_mixed(bench: Bench, station: Station, first: int, count: int) -> None:
    """Send images, every other by the folder."""
    clients = [Client(station) for _ in range(CLIENTS)]

    def act(thread: int, i: int) -> None:
        shot = bench.shoot(first + i)
        if i % 2:
            write_shot(station, shot)
        else:
            clients[thread].inspect(shot.pack())

    follow([0.0] * count, act, CLIENTS)
    for client in clients:
        client.close()


def write_shot(station: Station, shot: Shot, pieces: int = 1) -> None:
    """Put an image into the folder, slowly if in several pieces."""
    size = -(-len(shot.data) // pieces)
    with (station.inbox / f"{shot.part}.png").open("wb", buffering=0) as file:
        for i in range(pieces):
            file.write(shot.data[i * size : (i + 1) * size])
            time.sleep(SLOW_PAUSE_S if i + 1 < pieces else 0.0)


Answers = list[tuple[str, dict[str, Any]]]  # with the part that was asked for


def send_by_folder(bench: Bench, station: Station, count: int) -> Answers:
    """Put images into the folder, some of them slowly."""

    def act(thread: int, i: int) -> None:
        write_shot(station, bench.shoot(i), pieces=1 if i % SLOW_EVERY else SLOW_PIECES)

    follow([0.0] * count, act, CLIENTS)
    return []


def send_by_http(bench: Bench, station: Station, count: int) -> Answers:
    """Have clients send images, each again until it is answered for good."""
    clients = [Client(station) for _ in range(CLIENTS)]
    answers: Answers = []

    def act(thread: int, i: int) -> None:
        shot = bench.shoot(i)
        answers.append((shot.part, clients[thread].insist(shot.pack())))

    follow([0.0] * count, act, CLIENTS)
    return answers


def measure_kills(bench: Bench) -> dict[str, Any]:
    """What is lost, doubled or said falsely if the station is killed while images come in."""
    verdicts = bench.ask("verdicts")
    ways = {"folder": send_by_folder, "http": send_by_http}
    return {
        name: survive(bench, send, verdicts, np.random.default_rng(seed))
        for seed, (name, send) in enumerate(ways.items())
    }


def survive(
    bench: Bench,
    send: Callable[[Bench, Station, int], Answers],
    verdicts: list[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Kill a station at random moments while images come in; hold its ledger against them."""
    count = bench.counts["kill"]
    answers: Answers = []
    errors: list[BaseException] = []
    killed_at = []

    def feed() -> None:
        try:
            answers.extend(send(bench, station, count))
        except BaseException as error:
            errors.append(error)

    with Station(bench.run, bench.new_folder()) as station:
        station.start()
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        for moment in np.sort(rng.uniform(0.05, 0.95, KILLS)) * count:
            station.wait_for(int(moment))
            time.sleep(rng.uniform(0, 0.2))  # at any step of an image's way
            station.kill()
            killed_at.append(station.count())
            time.sleep(rng.uniform(0, 1))
            station.start()
        feeder.join()
        if errors:
            raise errors[0]
        station.wait_for(count)
        time.sleep(QUIET_S)
        station.stop()
        shots = [bench.shoot(i) for i in range(count)]
        expected = {
            shot.sha256: (shot.part, verdicts[bench.file_of(i)]) for i, shot in enumerate(shots)
        }
        return {"images": count, "killed_at": killed_at, **check(station, expected, answers)}


def check(
    station: Station, expected: dict[str, tuple[str, str]], answers: Answers
) -> dict[str, Any]:
    """Hold a ledger against what was sent (part and verdict by hash), and what was answered."""
    rows = station.query("SELECT image_sha256, part_id, outcome FROM inspections WHERE final")
    finals = Counter(sha256 for sha256, _, _ in rows)
    outcomes = {part: outcome for _, part, outcome in rows}
    words = ["-m", "defectseg", "line", "verify", "--station", station.folder]
    verified = subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    (all_rows,) = station.query("SELECT COUNT(*) FROM inspections")[0]
    return {
        "recorded_once": sum(finals[own] == 1 for own in expected),
        "lost": sum(finals[own] == 0 for own in expected),
        "recorded_twice": sum(finals[own] > 1 for own in expected),
        "of_no_image": sum(own not in expected for own in finals),
        "differ_from_undisturbed": sum(
            expected.get(sha256) != (part, outcome) for sha256, part, outcome in rows
        ),
        "answers": len(answers),
        "answers_pass": sum(own["outcome"] == "PASS" for _, own in answers),
        "answers_recorded_before": sum(own.get("repeated", False) for _, own in answers),
        "answers_not_in_ledger": sum(outcomes.get(part) != own["outcome"] for part, own in answers),
        "rows_not_final": all_rows - len(rows),
        "outcomes": dict(Counter(outcome for _, _, outcome in rows)),
        "verify_status": verified.returncode,
    }
