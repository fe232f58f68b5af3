"""What benchmarks share: where images come from, and where measured figures go."""

import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from defectseg.commands import training
from defectseg.config import load_config
from defectseg.dataset.prepare import ProductSummary, prepare

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PREPARED = ROOT / "data" / "prepared"
REAL_DATA = Path(os.environ.get("DEFECTSEG_REAL_DATA", ROOT.parent / "shared" / "data"))


def prepare_dagm(source: Path, folder: Path) -> ProductSummary:
    """Prepare DAGM class 1: which images are kept for the published figure is settled here."""
    _, (summary,) = prepare(source, folder, test=0.2)
    return summary


def train_bundle(config_name: str, data: Path, benchmark: str) -> Path:
    """Train anew, as a file of configs/ says; return the bundle."""
    run = ROOT / "runs" / f"benchmark-{benchmark}"
    shutil.rmtree(run, ignore_errors=True)
    config = load_config(ROOT / "configs" / config_name, data=data, run=run)
    training.train(config, resume=False)
    return run


def write_result(name: str, figures: dict[str, Any]) -> None:
    """Write ``benchmarks/results/NAME.json``, with what machine it was measured on."""
    machine = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**figures, "measured_on": machine}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def read_commit() -> str:
    """Return the short hash of the checkout's commit, marked where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def write_into_pages(name: str, markdown: str) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``, in whichever page.

    In the README or a page of docs; the text has no links, which would differ from page to page.
    """
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    found = False
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        before = path.read_text(encoding="utf-8")
        if block.search(before):
            found = True
            path.write_text(block.sub(lambda m: m[1] + markdown + m[2], before), encoding="utf-8")
    if not found:
        raise SystemExit(f"Neither README.md nor a page of docs has <!-- {name} --> … .")
