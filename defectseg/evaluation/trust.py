"""Whether the gate keeps its word: what it stops and lets through of distorted images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from defectseg.evaluation.degradation import Promise
from defectseg.evaluation.figures import Rate, rate
from defectseg.quality.gate import UNTOUCHED, Judge
from defectseg.quality.measures import MEASURES, Measures


@dataclass(frozen=True)
class TrustFigures:
    """What a gate is worth on a swept set.

    Attributes
    ----------
    silent_escapes : Rate
        Of the defective images of all kinds and levels, those that are missed and not flagged.
    silent_escapes_without_gate : Rate
    kept_of_right : Rate
        Of the images on which the model was still right, those that are not flagged. It was right
        on a defective image that is no PASS by its score and whose IoU is at least the promised
        share of what the same image has untouched; on a good image that is a PASS by its score.
    kept_of_right_verdicts : Rate
        The same, whatever the mask: a flooded image that happens to be defective counts as right.
    kept_where_promised : Rate
        As `kept_of_right`, at those levels alone at which the model keeps the promise on these
        very images. At the others it is right by luck: on a good image, because it sees nothing.
    false_alarms : Rate
        Of the untouched images, those that are flagged.
    risk_area, risk_area_laplacian, risk_area_without_gate : float
        Area under the curve of risk (share of wrong answers among the believed) against coverage
        (share believed), the images taken in the order of the gate's belief, of their Laplacian
        variance, or of chance; in [0, 1], lower is better (Geifman & El-Yaniv 2017,
        arXiv:1705.08500).
    """

    silent_escapes: Rate
    silent_escapes_without_gate: Rate
    kept_of_right: Rate
    kept_of_right_verdicts: Rate
    kept_where_promised: Rate
    false_alarms: Rate
    risk_area: float
    risk_area_laplacian: float
    risk_area_without_gate: float


def judge_rows(
    rows: pd.DataFrame, judges: Mapping[str, Judge], min_iou_share: float
) -> pd.DataFrame:
    """Add to the rows of `robustness.sweep` what the gate says of each.

    Returns
    -------
    DataFrame
        With the columns belief, trusted, remarks, right, and right_verdict; see `TrustFigures`.
    """
    measures = rows[list(MEASURES)].to_numpy(float)
    shapes = zip(rows["height"], rows["width"], strict=True)
    seen = [
        judges[product](Measures(*map(float, own)), shape_hw)
        for product, own, shape_hw in zip(rows["product"], measures, shapes, strict=True)
    ]
    untouched = rows[rows["kind"] == UNTOUCHED].set_index("image")["iou"]
    kept_iou = rows["iou"] >= min_iou_share * rows["image"].map(untouched)
    right_verdict = ~(rows["missed"] | rows["alarmed"])
    return rows.assign(
        belief=[quality.belief for quality in seen],
        trusted=[quality.trusted for quality in seen],
        remarks=["; ".join(quality.remarks) for quality in seen],
        right_verdict=right_verdict,
        right=right_verdict & (kept_iou | ~rows["defective"]),
    )


def compute_trust(rows: pd.DataFrame, promise: Promise) -> TrustFigures:
    """Return the figures of the rows of `judge_rows`."""
    defective, untouched = rows[rows["defective"]], rows[rows["kind"] == UNTOUCHED]
    right, verdicts = rows[rows["right"]], rows[rows["right_verdict"]]
    promised = right[_keep_promise(rows, promise)[rows["right"]]]
    wrong = ~rows["right"].to_numpy(bool)
    return TrustFigures(
        silent_escapes=rate(
            int((defective["missed"] & defective["trusted"]).sum()), len(defective)
        ),
        silent_escapes_without_gate=rate(int(defective["missed"].sum()), len(defective)),
        kept_of_right=rate(int(right["trusted"].sum()), len(right)),
        kept_of_right_verdicts=rate(int(verdicts["trusted"].sum()), len(verdicts)),
        kept_where_promised=rate(int(promised["trusted"].sum()), len(promised)),
        false_alarms=rate(int((~untouched["trusted"]).sum()), len(untouched)),
        risk_area=risk_area(wrong, rows["belief"].to_numpy()),
        risk_area_laplacian=risk_area(wrong, rows["laplacian_variance"].to_numpy()),
        risk_area_without_gate=float(wrong.mean()),
    )


def _keep_promise(rows: pd.DataFrame, promise: Promise) -> "pd.Series[bool]":
    """Return of each row whether its level keeps the promise on the rows' own images."""
    defective = rows[rows["defective"]]
    means = defective.groupby(["product", "kind", "level"])[["iou", "missed"]].mean()
    untouched = means.xs(UNTOUCHED, level="kind").droplevel("level")
    products = means.index.get_level_values("product")
    share = means["iou"] / untouched["iou"].reindex(products).to_numpy()
    rise = means["missed"] - untouched["missed"].reindex(products).to_numpy()
    kept = (share >= promise.min_iou_share) & (rise <= promise.max_escape_rise)
    places = pd.MultiIndex.from_frame(rows[["product", "kind", "level"]])
    return pd.Series(kept.reindex(places, fill_value=False).to_numpy(bool), rows.index)


def risk_coverage(
    wrong: npt.NDArray[np.bool_], belief: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return coverage and risk as images are believed one more at a time, the surest first.

    Images of equal belief are taken together, each with their mean.

    Parameters
    ----------
    wrong, belief : ndarrays of shape (N,)

    Returns
    -------
    coverage, risk : ndarrays of shape (N,), in [0, 1]
    """
    order = np.argsort(-belief, kind="stable")
    means = pd.Series(wrong[order].astype(float)).groupby(belief[order]).transform("mean")
    count = np.arange(1, len(wrong) + 1)
    return count / len(wrong), np.cumsum(means.to_numpy()) / count


def risk_area(wrong: npt.NDArray[np.bool_], belief: npt.NDArray[np.float64]) -> float:
    """Return the mean risk over all coverages."""
    return float(risk_coverage(wrong, belief)[1].mean())
