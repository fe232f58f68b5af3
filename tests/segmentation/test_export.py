from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from defectseg.bundle import load_bundle
from defectseg.dataset.manifest import Sample, divide, read_manifest
from defectseg.image_io import measure_levels, read_image
from defectseg.segmentation.deploy import IMAGE, LEVELS
from defectseg.segmentation.export import choose_calibration_images, export_network


def test_int8_is_fitted_by_defective_images_of_each_product(prepared: Path) -> None:
    train: list[Sample] = divide(read_manifest(prepared), ())["train"]
    chosen = choose_calibration_images(train)
    assert all(sample.defective for sample in chosen)
    assert {sample.product for sample in chosen} == {"Class1", "Class5"}
    assert chosen == choose_calibration_images(train[::-1])


@pytest.mark.slow
def test_int8_answers_an_image_that_is_brighter_than_all_it_was_fitted_by(
    bundle_folder: Path, prepared: Path, tmp_path: Path
) -> None:
    train = divide(read_manifest(prepared), ())["train"]
    export_network(bundle_folder, load_bundle(bundle_folder).config, ("int8",), train, tmp_path)
    network = ov.Core().compile_model(tmp_path / "int8.xml", "CPU")
    # Half the contrast, at two lightnesses: standardised, these are the same image.
    half = read_image(choose_calibration_images(train)[0].image) // 2
    dark, bright = (
        np.asarray(
            network(
                {
                    IMAGE: image[None, ..., None],
                    LEVELS: np.array([measure_levels(image[..., None])], np.float32),
                }
            )[0]
        )
        for image in (half, half + np.uint8(127))
    )
    assert dark.std() > 1e-3
    # Rounding to 8 bits, some of which falls the other way: not a tenth on average, as it would be
    # if bright pixels were cut off.
    assert np.abs(bright - dark).mean() < 0.03
