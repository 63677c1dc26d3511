"""The life of a rule set: draft → validated → simulated → approved → published → retired; by whom, and from when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from services.points import refusals


class State(StrEnum):
    """Where a version stands."""

    DRAFT = "DRAFT"
    VALIDATED = "VALIDATED"
    SIMULATED = "SIMULATED"
    APPROVED = "APPROVED"
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
    approver: str = ""
    previewed_sha256: str = ""


def check_approvable(version: Version, sha256: str, approver: str) -> None:
    """Raise unless this person may approve this version, as it was simulated."""
    if version.state is not State.SIMULATED:
        raise refusals.rule_set_state(version.state.value, State.SIMULATED.value)
    if not version.sha256 == version.previewed_sha256 == sha256:
        raise refusals.rule_set_hash_changed(version.previewed_sha256)
    if version.author == approver:
        raise refusals.second_person(version.author)


def check_publishable(draft: Version, sha256: str, effective: date, publisher: str, taken: Iterable[date]) -> None:
    """Raise unless this person may publish this approved version, as previewed, from that day on."""
    if draft.state in (State.PUBLISHED, State.RETIRED):
        raise refusals.rule_set_not_draft(draft.state.value)
    if draft.sha256 != sha256:
        raise refusals.rule_set_hash_changed(draft.sha256)
    if draft.author == publisher:
        raise refusals.author_cannot_publish(draft.author)
    if draft.state is not State.APPROVED:
        raise refusals.rule_set_state(draft.state.value, State.APPROVED.value)
    if draft.previewed_sha256 != sha256:
        raise refusals.rule_set_hash_changed(draft.sha256)
    if effective in taken:
        raise refusals.effective_date_taken(effective.isoformat())


def days_of(rule_set_id: str, effective: Iterable[tuple[str, date, str]]) -> tuple[date, date]:
    """First and last business day that a published version scores."""
    every = list(effective)
    name, begin = next((name, day) for name, day, each in every if each == rule_set_id)
    return days_scored_by(begin, [day for other, day, _ in every if other == name and day != begin])


def days_scored_by(effective: date, taken: Iterable[date]) -> tuple[date, date]:
    """First and last business day that a version effective from a day would score, beside its name's others."""
    later = [day for day in taken if day > effective]
    return effective, date.fromordinal(min(later).toordinal() - 1) if later else date.max
