"""A station's settings file."""

from pathlib import Path

import pytest

from defectseg.config import read_yaml
from defectseg.errors import ConfigError
from defectseg.line.settings import LineSettings, load_line_settings

ROOT = Path(__file__).parents[2]


def test_without_a_file_there_are_defaults() -> None:
    assert load_line_settings(None) == LineSettings()


def test_the_example_is_valid_and_says_the_defaults() -> None:
    path = ROOT / "configs" / "line" / "settings.yaml"
    assert load_line_settings(path) == LineSettings()
    assert set(read_yaml(path)) == set(LineSettings.model_fields)
    for name, section in read_yaml(path).items():
        assert set(section) == set(getattr(LineSettings(), name).model_dump())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limits: {timeout: 3}", "did you mean 'timeout_s'"),
        ("limits: {timeout_s: 0}", "greater than 0"),
        ("alarms: {webhooks: [not-a-url]}", "URL"),
        ("alarms: {mqtt: {port: 1}}", "mqtt.host"),
        ("alarms: {mqtt: {host: here, prt: 1}}", "did you mean 'port'"),
        ("alarm: {}", "did you mean 'alarms'"),
        ("alarms: {retake_share: 0.1, retake_rearm_share: 0.2}", "retake_rearm_share"),
        ("drift: {median_of: 1, baseline_medians: 5}", "expected at least 20"),
        ("retention: {days: 1, pass_days: 7}", "pass_days"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "line.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_line_settings(tmp_path / "line.yaml")
