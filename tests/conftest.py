"""What many tests need: the real images where they are, and one small trained bundle."""

import os
from pathlib import Path

import pytest

from defectseg.config import Config, parse_config


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; the test is skipped where it is absent."""
    folder = Path(os.environ.get("DEFECTSEG_REAL_DATA", "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no real images in {folder}; set DEFECTSEG_REAL_DATA")
    return folder


def make_config(data: Path, run: Path, **train: object) -> Config:
    """Settings of a training of seconds: few, small images and a narrow decoder."""
    settings = {
        "data": data,
        "run": run,
        "model": {"decoder_filters": [16, 16, 8, 8, 8], "downscale": 2},
        "train": {"epochs": 2, "passes_per_epoch": 1, "batch_size": 4, **train},
    }
    return parse_config(settings, "the test's settings")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of two synthetic products, 128×128."""
    from defectseg.dataset.prepare import prepare
    from defectseg.dataset.synthetic import write_dataset

    folder = tmp_path_factory.mktemp("prepared")
    products = ("Class1", "Class5")
    write_dataset(folder / "raw", good=8, defective=8, products=products, size=128, seed=3)
    prepare(folder / "raw", folder / "data", val=0.25, test=0.25)
    return folder / "data"


@pytest.fixture(scope="session")
def bundle_folder(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, really trained for a few seconds. Not a good model, but a whole one."""
    from defectseg import commands

    run = tmp_path_factory.mktemp("bundle") / "run"
    commands.train(make_config(prepared, run, epochs=6, passes_per_epoch=4), resume=False)
    return run
