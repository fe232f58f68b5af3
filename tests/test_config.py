from pathlib import Path

import pytest

from defectseg.config import dump_config, load_config
from defectseg.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def test_settings_are_read_overridden_and_survive_a_round_trip(tmp_path: Path) -> None:
    path = write(tmp_path, "data: d\nrun: r\ntrain: {epochs: 7}\n")
    config = load_config(path, ["train.batch_size=3", "model.decoder_filters=[9, 8, 7, 6, 5]"])
    assert config.train.epochs == 7
    assert config.train.batch_size == 3
    assert config.model.decoder_filters == (9, 8, 7, 6, 5)
    assert config.train.good_per_defective == 1.0
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "data: d\nrun: r\ntrain: {epoch: 3, batch_size: none, loss: dicy}\n")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    message = str(error.value)
    assert "train.epoch is not a setting; did you mean 'epochs'?" in message
    assert "train.batch_size = 'none'" in message
    assert "train.loss = 'dicy'" in message


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        ("", "", "holds no settings"),
        ("data: [", "", "is not YAML"),
        ("run: r", "", "data: Field required"),
        ("data: d\nrun: r", "train.epochs", "expected KEY=VALUE"),
        ("data: d\nrun: r", "data.x=1", "'data' is a value, not a section"),
        ("data: d\nrun: r", "modle.channels=1", "did you mean 'model'"),
        ("data: d\nrun: r", "train.crop_px=100", "not a multiple of 64"),
        (
            "data: d\nrun: r",
            "inference.window_px=100",
            "inference.window_px = 100 is not a multiple of 64",
        ),
        ("data: d\nrun: r", "train.batch_size=1", "no room for a defective and a good"),
        ("data: d\nrun: r", "train.seed=4294967296", "less than 4294967296"),
    ],
)
def test_messages(tmp_path: Path, text: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        load_config(write(tmp_path, text), [override] if override else [])


@pytest.mark.parametrize("name", ["data #3", "007", "2024-11-21", "no", "a=b"])
def test_paths_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, "data: d\nrun: r")
    config = load_config(path, data=Path(name), run=Path("x") / name)
    assert (config.data, config.run) == (Path(name), Path("x") / name)


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes("data: caf\xe9".encode("latin-1"))
    with pytest.raises(ConfigError, match="is not YAML in UTF-8"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=str)
def test_configs_of_the_project_are_sound_and_say_how_they_are_run(path: Path) -> None:
    load_config(path)
    assert path.read_text().startswith(f"# defectseg train --config {path}\n")
