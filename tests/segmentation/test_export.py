from pathlib import Path

from defectseg.dataset.manifest import Sample, divide, read_manifest
from defectseg.segmentation.export import choose_calibration_images


def test_int8_is_fitted_by_defective_images_of_each_product(prepared: Path) -> None:
    train: list[Sample] = divide(read_manifest(prepared), ())["train"]
    chosen = choose_calibration_images(train)
    assert all(sample.defective for sample in chosen)
    assert {sample.product for sample in chosen} == {"Class1", "Class5"}
    assert chosen == choose_calibration_images(train[::-1])
