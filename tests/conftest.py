"""What many tests need: the real images where they are, and one small trained bundle."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from filelock import FileLock

from defectseg.config import Config, parse_config

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A real browser; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser to look with; expected one of {', '.join(BROWSERS)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


# Files that take long go first: else a process is left alone with one of them in the end.
_LONGEST = (
    "test_examples.py",
    "test_notebooks.py",
    "test_interruptions.py",
    "test_ray_job.py",
    "test_training.py",
    "test_distribution.py",
    "test_exporting.py",
    "test_schemathesis.py",
    "test_tracking.py",
    "test_wheel.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, in the order that processes take them."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


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
        "train": {
            "epochs": 2,
            "passes_per_epoch": 1,
            "batch_size": 4,
            "statistics_batches": 4,
            **train,
        },
        # Few good images, and few answers to distorted ones.
        "calibration": {
            "gate_alpha": 0.25,
            "sweep_images": 3,
            "sweep_kinds": ["gaussian_blur", "noise", "jpeg"],
        },
    }
    return parse_config(settings, "the test's settings")


def other_data(prepared: Path, folder: Path, keep: "pd.Series[bool]") -> Path:
    """A prepared folder of some of the images of another."""
    table = pd.read_csv(prepared / "manifest.csv", keep_default_na=False)
    for name in ("image", "mask"):
        table[name] = [str(prepared / path) if path else "" for path in table[name]]
    folder.mkdir()
    table[keep].to_csv(folder / "manifest.csv", index=False)
    return folder


def break_image(prepared: Path, folder: Path, split: str) -> Path:
    """A prepared folder in which a defective image of a split can no longer be read."""
    table = pd.read_csv(prepared / "manifest.csv")
    data = other_data(prepared, folder / "data", table["width"] > 0)
    broken = folder / "broken.png"
    broken.write_text("no image")
    rows = pd.read_csv(data / "manifest.csv", keep_default_na=False)
    own = rows.index[(rows["split"] == split) & (rows["defective"] == 1)]
    rows.loc[own[0], "image"] = str(broken)
    rows.to_csv(data / "manifest.csv", index=False)
    return data


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Have the first process that needs a folder make it; the others wait."""
    with FileLock(folder.with_suffix(".lock")):
        done = folder.with_suffix(".done")
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def prepared(shared: Path) -> Path:
    """A prepared folder of two synthetic products, 128×128."""
    from defectseg.dataset.prepare import prepare
    from defectseg.dataset.synthetic import write_dataset

    def make(folder: Path) -> None:
        products = ("Class1", "Class5")
        write_dataset(folder / "raw", good=8, defective=8, products=products, size=128, seed=3)
        prepare(folder / "raw", folder / "data", val=0.25, test=0.25)

    return make_once(shared / "prepared", make) / "data"


@pytest.fixture(scope="session")
def mlflow_store(shared: Path) -> Path:
    """MLflow's store, to be copied beside a run: its making takes ten seconds of a processor.

    It was made by a training that did not begin, of the experiment "none".
    """
    from defectseg.errors import ConfigError
    from defectseg.tracking import STORE, MlflowRun

    def make(folder: Path) -> None:
        told: list[str] = []
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ConfigError):  # noqa: PT012
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            with MlflowRun(folder / "none", "none", told.append):
                raise ConfigError("the folder holds something already")
        assert told == []
        assert [path.name for path in folder.iterdir()] == [STORE]

    return make_once(shared / "tracked", make) / STORE


@pytest.fixture(scope="session")
def bundle_folder(prepared: Path, shared: Path) -> Path:
    """A bundle, really trained for a few seconds. Not a good model, but a whole one."""
    from defectseg.commands import training

    def make(run: Path) -> None:
        training.train(make_config(prepared, run, epochs=3, passes_per_epoch=8), resume=False)

    return make_once(shared / "bundle", make)
