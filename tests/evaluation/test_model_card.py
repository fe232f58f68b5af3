import json
from pathlib import Path

from defectseg.bundle import load_bundle, read_exports


def test_the_card_says_what_the_bundle_holds(bundle_folder: Path) -> None:
    card = (bundle_folder / "MODEL_CARD.md").read_text()
    calibration = load_bundle(bundle_folder).calibration
    assert calibration.model_sha256 in card
    assert calibration.data_sha256 in card
    assert f"REVIEW from {calibration.thresholds.review:.3f}" in card
    figures = json.loads((bundle_folder / "metrics.json").read_text())
    for split in ("val", "test"):
        for name, own in (
            (split, figures[split]["overall"]),
            (f"{split}, Class1", figures[split]["products"]["Class1"]),
        ):
            (row,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
            assert f" {own['model']['iou_mean']:.3f} |" in row
            (row,) = [line for line in card.splitlines() if f"| {name}: empty answer |" in line]
            assert " 0.000 | 0.000 | 0.000 |" in row
            assert f" PASS {own['model']['defective_images']} |" in row
    for product, gate in calibration.gate.products.items():
        area = calibration.thresholds.score_area_px[product]
        ranked = len(gate.baseline.deviations)
        assert f"| {product} | {area} | {gate.sharpness_limit:.2f} | {ranked} |" in card
        for kind in ("gaussian blur, σ, px", "noise, σ, gray levels", "jpeg, quality"):
            assert f"| {product} | {kind} |" in card


def test_the_card_says_how_the_exported_networks_differ(bundle_folder: Path) -> None:
    card = (bundle_folder / "MODEL_CARD.md").read_text()
    bundle = load_bundle(bundle_folder)
    assert f"are those of the engine `{bundle.calibration.engine}`" in card
    for name, own in read_exports(bundle_folder).items():
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {name} | ")]
        assert f"| {own.images} | {100 * own.agreement:.1f} % | {own.iou_drop:.4f} |" in row
        assert row.endswith(f"| refused: {own.refused} |" if own.refused else "| accepted |")
    assert bundle.exports["float32"].precision == "float32"
