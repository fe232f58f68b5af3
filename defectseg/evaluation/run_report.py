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
from defectseg.evaluation.run_tables import Line, comparison_lines, comparison_table
from defectseg.page import render

PAGE, TABLE, CURVES = "comparison.html", "comparison.csv", "curves.png"
# More of them are shown on the console as rows: their columns would not be read.
_MOST_COLUMNS = 4


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
        sections=sections,
        warnings=write_warnings(runs),
        findings=write_findings(runs),
        curves=base64.b64encode(curves).decode(),
    )
    write_atomically(folder / PAGE, page)


def console_rows(runs: Sequence[RunRecord]) -> list[dict[str, str]]:
    """Return what the console shows: runs as columns or, of more than four, as rows."""
    lines: list[Line] = [line for line in comparison_lines(runs) if line.brief]
    if len(runs) <= _MOST_COLUMNS:
        return [
            {"": line.label} | {r.name: text for r, text in zip(runs, line.texts, strict=True)}
            for line in lines
        ]
    return [
        {"run": run.name} | {line.label: line.texts[place] for line in lines}
        for place, run in enumerate(runs)
    ]
