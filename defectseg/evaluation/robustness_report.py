"""Degradation curves for people: plots, and a page with the distorted images beneath."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from defectseg.atomic import write_atomically
from defectseg.bundle import Bundle, CurvePoint
from defectseg.dataset.manifest import Sample
from defectseg.evaluation.model_card import PROMISE_COLUMNS, promise_rows
from defectseg.evaluation.plots import to_png
from defectseg.evaluation.report import count_seen
from defectseg.evaluation.robustness_plots import example_of, plot_curves, plot_risk_coverage
from defectseg.evaluation.tables import show
from defectseg.evaluation.trust import TrustFigures
from defectseg.page import render

PAGE, ROWS, FIGURES = "robustness.html", "robustness.csv", "robustness.json"
_TRUST_LABELS = {
    "silent_escapes": "silent escapes: defective, missed, and not flagged",
    "silent_escapes_without_gate": "the same without the gate",
    "kept_of_right": "kept, of the images on which the model was still right",
    "kept_of_right_verdicts": "the same, whatever the mask",
    "kept_where_promised": "the same, at levels at which the model keeps the promise",
    "false_alarms": "false alarms: untouched, but flagged",
    "risk_area": "area under risk and coverage, by the gate",
    "risk_area_laplacian": "the same by Laplacian variance",
    "risk_area_without_gate": "the same without a gate",
}


def write_robustness(
    folder: Path,
    rows: pd.DataFrame,
    curves: Mapping[str, Sequence[CurvePoint]],
    trust: TrustFigures,
    samples: Sequence[Sample],
    *,
    title: str,
    bundle: Bundle,
) -> None:
    """Write ``robustness.html``, ``.csv``, ``.json`` and a picture of each product's curves.

    Parameters
    ----------
    folder : Path
        Written into directly: stage it if it must appear as a whole.
    rows : DataFrame
        Of `trust.judge_rows`.
    curves : mapping of str to sequence of CurvePoint
        By product, of `robustness.fit_curves`.
    trust : TrustFigures
    samples : sequence of Sample
        Those that were swept.
    title : str
        Of the page: what was swept.
    bundle : Bundle
    """
    gate = bundle.calibration.gate
    table = rows.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_atomically(folder / ROWS, table.encode("utf-8", "backslashreplace"))
    pictures = {
        product: to_png(plot_curves(curve, gate, example_of(samples, product)))
        for product, curve in curves.items()
    }
    for product, png in pictures.items():
        write_atomically(folder / f"robustness_{product}.png", png)
    coverage = to_png(plot_risk_coverage(rows))
    write_atomically(folder / "risk_coverage.png", coverage)
    record = {
        "swept": title,
        "bundle": str(bundle.folder),
        "model_sha256": bundle.calibration.model_sha256,
        "images_sha256": [sample.sha256 for sample in samples],
        "trust": asdict(trust),
        "curves": {
            product: [point.model_dump() for point in curve] for product, curve in curves.items()
        },
    }
    write_atomically(folder / FIGURES, json.dumps(record, indent=2) + "\n")
    page = render(
        "robustness.html.jinja",
        title=title,
        bundle=bundle.folder.name,
        gate=gate,
        seen=count_seen(samples, bundle.calibration),
        trust=trust_rows(trust),
        columns=PROMISE_COLUMNS,
        products={
            product: {
                "rows": promise_rows(gate, curve),
                "picture": base64.b64encode(pictures[product]).decode(),
            }
            for product, curve in curves.items()
        },
        coverage=base64.b64encode(coverage).decode(),
    )
    write_atomically(folder / PAGE, page)


def trust_rows(trust: TrustFigures) -> list[dict[str, str]]:
    """Return the figures of a gate in words, a row each."""
    return [{"": label, "all": show(getattr(trust, name))} for name, label in _TRUST_LABELS.items()]
