"""Settings: every type, every default, and all problems at once."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from services.kit.config import ConfigProblems, ServerSettings, read


@dataclass(frozen=True)
class Inner:
    landing: Path
    buckets: int = 8


@dataclass(frozen=True)
class Config:
    inner: Inner
    name: str
    vault_key: str = field(repr=False, metadata={"help": "what seals the vault", "secret": True})
    ratio: float = 0.5
    verbose: bool = False
    patience: timedelta = timedelta(seconds=5)
    feeds: tuple[str, ...] = ()
    token_file: Path | None = None
    retries: int | None = None


def test_every_type_is_read() -> None:
    config = read(
        Config,
        {
            "LANDING": "/in",
            "BUCKETS": "16",
            "NAME": " points ",
            "VAULT_KEY": "k",
            "RATIO": "0.25",
            "VERBOSE": "yes",
            "PATIENCE": "1.5",
            "FEEDS": "bills, orders,,",
            "TOKEN_FILE": "/t",
            "RETRIES": "3",
        },
    )
    assert config == Config(
        inner=Inner(Path("/in"), 16),
        name="points",
        vault_key="k",
        ratio=0.25,
        verbose=True,
        patience=timedelta(seconds=1.5),
        feeds=("bills", "orders"),
        token_file=Path("/t"),
        retries=3,
    )


def test_what_is_not_said_has_its_default_and_empty_is_not_said() -> None:
    config = read(Config, {"LANDING": "/in", "NAME": "n", "VAULT_KEY": "k", "RATIO": "", "TOKEN_FILE": " "})
    assert (config.ratio, config.token_file, config.inner.buckets) == (0.5, None, 8)


def test_all_problems_are_reported_together_and_no_secret_is_shown() -> None:
    environ = {"BUCKETS": "many", "RATIO": "half", "VERBOSE": "perhaps", "PATIENCE": "-1", "RETRIES": "1.5"}
    with pytest.raises(ConfigProblems) as problems:
        read(Config, environ)
    assert problems.value.problems == [
        "LANDING is missing",
        "BUCKETS: 'many' is not a whole number",
        "NAME is missing",
        "VAULT_KEY is missing (what seals the vault)",
        "RATIO: 'half' is not a number",
        "VERBOSE: 'perhaps' is not true or false",
        "PATIENCE: '-1' is not a number of seconds",
        "RETRIES: '1.5' is not a whole number",
    ]


@dataclass(frozen=True)
class Pin:
    pin: int = field(repr=False, metadata={"secret": True})


def test_the_value_of_a_secret_is_not_shown_when_it_is_wrong() -> None:
    with pytest.raises(ConfigProblems) as problems:
        read(Pin, {"PIN": "hunter2"})
    assert problems.value.problems == ["PIN: its value is not a whole number"]


@dataclass(frozen=True)
class Zoned:
    zone: ZoneInfo = field(default=ZoneInfo("Asia/Shanghai"))
    token_file: Path | None = None


def test_a_time_zone_is_read_and_an_unknown_one_is_said() -> None:
    assert read(Zoned, {"ZONE": "Europe/Paris"}).zone == ZoneInfo("Europe/Paris")
    with pytest.raises(ConfigProblems, match="ZONE: 'Mars/Port' is not a time zone such as Asia/Shanghai"):
        read(Zoned, {"ZONE": "Mars/Port"})


def test_what_this_process_needs_though_it_has_a_default_is_missed() -> None:
    with pytest.raises(ConfigProblems, match="TOKEN_FILE is missing"):
        read(Zoned, {}, also={"token_file"})


def test_what_a_server_cannot_use_is_said_together(tmp_path: Path) -> None:
    environ = {
        "DATABASE_URL": "postgresql://a@h/d",
        "JWT_KEYS": str(tmp_path / "nowhere"),
        "DATABASE_CONNECTIONS": "-3",
        "LOG_LEVEL": "verbose",
        "OTEL_TRACES_SAMPLER": "jaeger_remote",
    }
    with pytest.raises(ConfigProblems) as problems:
        read(ServerSettings, environ)
    variables = [problem.split(":")[0] for problem in problems.value.problems]
    assert variables == ["JWT_KEYS", "DATABASE_CONNECTIONS", "LOG_LEVEL", "OTEL_TRACES_SAMPLER"]


def test_the_settings_of_a_server_do_not_show_the_database_url(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text("{}")
    settings = read(ServerSettings, {"DATABASE_URL": "postgresql://a:hunter2@h/d", "JWT_KEYS": str(keys)})
    assert settings.database_url.endswith("hunter2@h/d")
    assert "hunter2" not in repr(settings)
