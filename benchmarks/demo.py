"""Run the demo as ``make demo`` does, and put its picture and figures into the README.

python benchmarks/demo.py
"""

import os
import shutil
import time

import pandas as pd
from publish import ROOT, write_into_readme, write_result

from defectseg.demo import run_demo


def main() -> None:
    """Run the benchmark."""
    output = ROOT / "runs" / "demo"
    started = time.monotonic()
    figures = run_demo(output, ROOT / "configs" / "demo.yaml")
    minutes = (time.monotonic() - started) / 60
    (ROOT / "docs").mkdir(exist_ok=True)
    shutil.copy(output / "demo.jpg", ROOT / "docs" / "demo.jpg")
    write_result("demo", {"minutes": round(minutes, 1), "figures": figures})
    table = pd.DataFrame(figures).set_index("test images")
    got, count = table["got"], table["count"]
    write_into_readme(
        "demo",
        f"Measured on {os.cpu_count()} CPU cores, installation aside: {minutes:.0f} minutes; of "
        f"the test images, {got['defective']} of {count['defective']} defective ones FAIL, "
        f"{got['good']} of {count['good']} good ones PASS, {got['blurred']} of "
        f"{count['blurred']} blurred copies RETAKE.\n",
    )


if __name__ == "__main__":
    main()
