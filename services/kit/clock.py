"""Time as an argument: whoever needs the time is given a Clock, so that every test and simulation can replay."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the time now, aware, in UTC."""


def system_clock() -> datetime:
    """The time of this machine, aware, in UTC."""
    return datetime.now(UTC)
