"""The desks of tags and of the city, over the shipped rules."""

from collections.abc import Callable
from datetime import datetime

import yaml

from services.kit.db import Database
from services.portrait.domain.calendar import parse_calendar
from services.portrait.domain.wide import parse_book, parse_features
from services.portrait.store import City, Runs, Tags
from services.portrait.usecases import CityDesk, Shelf, TagDesk
from tests.portrait.conftest import HERE


def shelf(db: Database, clock: Callable[[], datetime]) -> Shelf:
    document = yaml.safe_load((HERE / "catalogue" / "tags.yaml").read_text(encoding="utf-8"))
    return Shelf(db, Tags(), document, clock)


def desks(db: Database, clock: Callable[[], datetime]) -> tuple[TagDesk, CityDesk]:
    shipped = shelf(db, clock)
    calendar = parse_calendar((HERE / "calendar.csv").read_text(encoding="utf-8"))
    features = yaml.safe_load((HERE / "catalogue" / "features.yaml").read_text(encoding="utf-8"))
    items, book = parse_features(features), parse_book(features)
    tags = TagDesk(db, Tags(), Runs(), shipped, calendar, "Asia/Shanghai", clock)
    return tags, CityDesk(db, Runs(), City(), shipped, items, clock, book)
