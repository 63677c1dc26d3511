"""The life of a rule set: draft → published → retired. What may be published, by whom, and from when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from services.points import refusals


class State(StrEnum):
    """Where a version stands."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    RETIRED = "RETIRED"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the rules as it is kept."""

    rule_set_id: str
    name: str
    version: int
    state: State
    definition: str
    sha256: str
    effective_date: date | None
    author: str
    publisher: str
    create_time: datetime


def check_publishable(draft: Version, sha256: str, effective: date, publisher: str, taken: Iterable[date]) -> None:
    """Raise unless this person may publish this draft, as reviewed, from that day on."""
    if draft.state is not State.DRAFT:
        raise refusals.rule_set_not_draft(draft.state.value)
    if draft.sha256 != sha256:
        raise refusals.rule_set_hash_changed(draft.sha256)
    if draft.author == publisher:
        raise refusals.author_cannot_publish(draft.author)
    if effective in taken:
        raise refusals.effective_date_taken(effective.isoformat())


def days_scored_by(effective: date, taken: Iterable[date]) -> tuple[date, date]:
    """First and last business day that a version effective from a day would score, beside its name's others."""
    later = [day for day in taken if day > effective]
    return effective, date.fromordinal(min(later).toordinal() - 1) if later else date.max
