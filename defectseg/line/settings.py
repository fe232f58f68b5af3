"""Settings of a station, from a YAML file."""

from pathlib import Path
from typing import Self

from pydantic import Field, HttpUrl, SecretStr, model_validator

from defectseg.config import Settings, parse_settings, read_yaml
from defectseg.drift.records import Settings as WatchSettings
from defectseg.errors import ConfigError


class Limits(Settings):
    """What a station takes on; beyond it an image is refused, which is never a PASS."""

    timeout_s: float = Field(
        default=10.0, gt=0, description="from receipt to verdict, of an image that came by HTTP"
    )
    queue: int = Field(default=64, ge=1, description="images that may wait")
    most_megabytes: float = Field(default=32.0, gt=0, description="of a request's body")
    most_megapixels: float = Field(default=100.0, gt=0, description="of an image")
    receive_s: float = Field(
        default=15.0, gt=0, description="for a request to arrive whole, headers and body each"
    )
    most_connections: int = Field(default=256, ge=8, description="open at once")
    settle_s: float = Field(
        default=2.0,
        ge=0,
        description="a file of the watched folder is whole once its writer closed it, or its size "
        "has not changed for so long",
    )


class Retention(Settings):
    """How long pictures are kept; the rows of the ledger stay. REVIEW waits for its decision."""

    days: float = Field(default=30.0, gt=0)
    pass_days: float = Field(default=7.0, gt=0, description="those of PASS")
    most_gigabytes: float = Field(
        default=50.0, gt=0, description="of all; the oldest are removed first, those of PASS before"
    )

    @model_validator(mode="after")
    def _pass_goes_first(self) -> Self:
        if self.pass_days > self.days:
            raise ValueError(f"pass_days = {self.pass_days} is more than days = {self.days}")
        return self


class Drift(Settings):
    """How the sharpness of cameras is watched; see `drift.records.Settings`."""

    every_s: float = Field(
        default=300.0, ge=0, description="one image of a camera in so many seconds is looked at"
    )
    median_of: int = Field(default=50, ge=1)
    baseline_medians: int = Field(default=40, ge=5)
    wander: float = Field(default=0.004, gt=0, lt=1)

    @model_validator(mode="after")
    def _can_be_watched_by(self) -> Self:
        try:
            self.watching(None)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def watching(self, limit: float | None) -> WatchSettings:
        """Return how a camera is watched that has a limit, or none but its own."""
        return WatchSettings(
            median_of=self.median_of,
            baseline_medians=self.baseline_medians,
            wander=self.wander,
            limit=limit,
        )


class Mqtt(Settings):
    """A broker that alarms are published to."""

    host: str
    port: int = Field(default=1883, gt=0, lt=65536)
    topic: str = "defectseg/alarms"
    username: str | None = None
    password: SecretStr | None = None


class Alarms(Settings):
    """When somebody is told, and where."""

    webhooks: tuple[HttpUrl, ...] = Field(default=(), description="alarms are posted there as JSON")
    mqtt: Mqtt | None = None
    hold_off_s: float = Field(
        default=900.0, ge=0, description="an alarm is not repeated sooner, even if it re-arms"
    )
    retake_share: float = Field(
        default=0.2, gt=0, le=1, description="of a camera's last images, from which it is an alarm"
    )
    retake_rearm_share: float = Field(
        default=0.1, ge=0, lt=1, description="down to which it must fall to count as over"
    )
    retake_images: int = Field(default=50, ge=2, description="of which the share is taken")
    most_reviews: int = Field(
        default=50, ge=1, description="images waiting for a person, from which it is an alarm"
    )

    @model_validator(mode="after")
    def _over_is_below_begun(self) -> Self:
        if self.retake_rearm_share >= self.retake_share:
            raise ValueError(
                f"retake_rearm_share = {self.retake_rearm_share} is not below retake_share = "
                f"{self.retake_share}"
            )
        return self


class Swap(Settings):
    """When another model may take over without being told twice."""

    recent_images: int = Field(
        default=20,
        ge=0,
        description="that both models are compared on, up to half of them FAIL or REVIEW; at 0 "
        "nothing is compared",
    )
    least_agreement: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="share of them with the same outcome; none that was FAIL or REVIEW may PASS",
    )


class LineSettings(Settings):
    """All settings of a station."""

    limits: Limits = Limits()
    retention: Retention = Retention()
    drift: Drift = Drift()
    alarms: Alarms = Alarms()
    swap: Swap = Swap()


def load_line_settings(path: Path | None) -> LineSettings:
    """Read the settings of a station; without a file, the defaults.

    Raises
    ------
    ConfigError
        Naming every wrong setting, what was given and what was expected.
    """
    if path is None:
        return LineSettings()
    return parse_settings(LineSettings, read_yaml(path), str(path))
