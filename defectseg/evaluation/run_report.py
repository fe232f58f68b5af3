"""What `defectseg compare` leaves: a page, a table for programs, and the curves."""

import base64
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from defectseg.atomic import write_atomically
from defectseg.evaluation.plots import to_png
from defectseg.evaluation.run_curves import plot_run_curves
from defectseg.evaluation.run_records import RunRecord
from defectseg.evaluation.run_statements import write_findings, write_warnings
from defectseg.evaluation.run_tables import (
    SETTINGS,
    TEST,
    TRAINING,
    comparison_lines,
    comparison_table,
)
from defectseg.page import render

PAGE, TABLE, CURVES = "comparison.html", "comparison.csv", "curves.png"
_FIRST = (SETTINGS, TRAINING, TEST)
# More of them are shown on the console as rows: their columns would not be read.
_MOST_COLUMNS = 4
_MOST_SETTINGS = 3
_LEFT_OUT = ("minutes", "best")


def write_comparison(folder: Path, runs: Sequence[RunRecord]) -> None:
    """Write ``comparison.html``, ``comparison.csv`` and ``curves.png``.

    Parameters
    ----------
    folder : Path
        Written into directly: stage it if it must appear as a whole.
    runs : sequence of RunRecord
    """
    lines = comparison_lines(runs)
    table = comparison_table(runs, lines).to_csv(index=False, lineterminator="\n")
    write_atomically(folder / TABLE, table.encode("utf-8", "backslashreplace"))
    curves = to_png(plot_run_curves(runs))
    write_atomically(folder / CURVES, curves)
    sections = {title: list(own) for title, own in groupby(lines, key=lambda line: line.section)}
    page = render(
        "comparison.html.jinja",
        runs=runs,
        tables={
            "": {title: own for title, own in sections.items() if title in _FIRST},
            "By product, and on validation images": {
                title: own for title, own in sections.items() if title not in _FIRST
            },
        },
        warnings=write_warnings(runs),
        findings=write_findings(runs),
        curves=base64.b64encode(curves).decode(),
    )
    write_atomically(folder / PAGE, page)


def console_rows(runs: Sequence[RunRecord]) -> list[dict[str, str]]:
    """Return what the console shows: runs as columns or, of more than four, as rows."""
    lines = [line for line in comparison_lines(runs) if line.brief]
    if len(runs) <= _MOST_COLUMNS:
        return [
            {"": line.label} | {run.name: text for run, text in zip(runs, line.texts, strict=True)}
            for line in lines
        ]
    hidden = [line for line in lines if line.section == SETTINGS][_MOST_SETTINGS:]
    narrow = [line for line in lines if line not in hidden and line.brief not in _LEFT_OUT]
    rows = [
        {"run": run.name} | {line.brief: line.brief_texts[place] for line in narrow}
        for place, run in enumerate(runs)
    ]
    if hidden:
        rows = [row | {"": f"+ {len(hidden)} settings"} for row in rows]
    return rows
