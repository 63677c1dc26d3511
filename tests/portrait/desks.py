"""The desks of tags and of the city, over the shipped rules."""

import copy
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

import yaml

from services.kit.db import Database
from services.portrait.domain.calendar import parse_calendar
from services.portrait.domain.wide import parse_book, parse_features
from services.portrait.store import City, Runs, Tags
from services.portrait.usecases import CityDesk, Shelf, TagDesk
from tests.portrait.conftest import HERE


@cache
def _read(name: str) -> Any:
    return yaml.safe_load((HERE / "catalogue" / name).read_text(encoding="utf-8"))


def document(name: str) -> Any:
    """A shipped document, read once and the caller's own: to read YAML takes a hundred times as long as to copy it."""
    return copy.deepcopy(_read(name))


def shelf(db: Database, clock: Callable[[], datetime]) -> Shelf:
    return Shelf(db, Tags(), document("tags.yaml"), clock)


def desks(db: Database, clock: Callable[[], datetime]) -> tuple[TagDesk, CityDesk]:
    shipped = shelf(db, clock)
    calendar = parse_calendar((HERE / "calendar.csv").read_text(encoding="utf-8"))
    features = document("features.yaml")
    items, book = parse_features(features), parse_book(features)
    tags = TagDesk(db, Tags(), Runs(), shipped, calendar, "Asia/Shanghai", clock)
    return tags, CityDesk(db, Runs(), City(), shipped, items, clock, book)
