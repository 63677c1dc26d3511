"""A small city with planted truth, conformed once per test process."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from services.portrait.domain.calendar import Window, WorkCalendar, parse_calendar
from services.portrait.domain.run import LakeFile
from services.portrait.domain.tag import Catalogue, parse
from services.portrait.lake import Base, read_base
from tests.portrait.conform import conform, conform_details, keys_of

HERE = Path(__file__).parents[2] / "services" / "portrait"
FIRST, DAYS, CUSTOMERS, BUCKETS = date(2026, 9, 1), 14, 200, 2


@dataclass(frozen=True)
class Town:
    """The city's folders, its manifest by feed, and the customer key of every number."""

    files: Path
    truth: Path
    manifest: Mapping[str, list[LakeFile]]
    keys: Mapping[str, int]
    window: Window


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """200 customers, two weeks."""
    folder = tmp_path_factory.mktemp("town")
    files, truth = folder / "files", folder / "truth"
    size = ["--customers", str(CUSTOMERS), "--days", str(DAYS), "--seed", "11", "--start", FIRST.isoformat()]
    command = [sys.executable, "-m", "city", *size, "--out", str(files), "--truth", str(truth), "--quiet"]
    subprocess.run(command, check=True, cwd=HERE.parents[1])
    window = Window(FIRST, FIRST + timedelta(days=DAYS - 1), "Asia/Shanghai")
    return Town(files, truth, conform(files, folder / "lake", BUCKETS), keys_of(files), window)


@pytest.fixture(scope="session")
def base(town: Town, catalogue: Catalogue, calendar: WorkCalendar) -> Base:
    """What all buckets of the town's run share."""
    return read_base(town.manifest, town.window, catalogue, calendar)


@pytest.fixture(scope="session")
def details(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[LakeFile]]:
    """The town's detail feeds: calls, data, web and app logs, recharges."""
    return conform_details(town.files, tmp_path_factory.mktemp("details"), BUCKETS)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The shipped catalogue."""
    return parse(yaml.safe_load((HERE / "catalogue" / "tags.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def calendar() -> WorkCalendar:
    """The shipped calendar."""
    return parse_calendar((HERE / "calendar.csv").read_text(encoding="utf-8"))
