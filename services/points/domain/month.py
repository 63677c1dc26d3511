"""A month scored again: what the rules say of its events, against what is posted."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, NamedTuple

from services.points.domain.field import Assignment

Held = Mapping[int, Sequence[tuple[Assignment, int, int]]]
"""Assignments by subject with the revisions [from, to) at which each was known."""

MOST_DIFFERENCES = 1_000


class LineKey(NamedTuple):
    """What a line of an event is."""

    rule_set_id: str
    source: str
    source_event_id: str
    rule_id: str
    role: str
    staff_id: str


class PeriodKey(NamedTuple):
    """What a line of a tier or cap is."""

    rule_set_id: str
    rule_id: str
    customer_key: int
    day: date | None
    staff_id: str


class Worth(NamedTuple):
    """A line's milli-points, and the share and assignment that it follows from."""

    milli_points: int
    share_bps: int
    assignment_id: int


@dataclass(frozen=True)
class Wanted:
    """What the rules say of a month."""

    lines: Mapping[LineKey, Worth]
    period: Mapping[PeriodKey, int]
    events: int
    period_id: str = ""

    def total(self) -> int:
        """Milli-points of employees and `unassigned`."""
        return sum(worth.milli_points for worth in self.lines.values()) + sum(self.period.values())


@dataclass(frozen=True)
class Run:
    """What a close or a recalculation read and found."""

    run_id: str
    kind: str
    period_id: str
    state: str
    rules_sha256: str
    events_sha256: str
    fields_sha256: str
    output_sha256: str
    events: int
    posted: int
    wanted: int
    differences: Sequence[tuple[str, str, int, int]] = field(default_factory=list)

    def of_staff(self, staff: Collection[str]) -> "Run":
        """What it says of some employees: their differences, and sums over these."""
        theirs = [each for each in self.differences if each[0] in staff]
        return replace(self, differences=theirs, posted=sum(each[2] for each in theirs),
                       wanted=sum(each[3] for each in theirs), events=0)  # fmt: skip

    def report(self) -> dict[str, Any]:
        """The figures, as JSON keeps them."""
        return {"events": self.events, "posted": self.posted, "wanted": self.wanted,
                "differences": [list(each) for each in self.differences]}  # fmt: skip

    @classmethod
    def of(
        cls,
        run_id: str,
        kind: str,
        period_id: str,
        state: str,
        hashes: tuple[str, str, str, str],
        report: Mapping[str, Any],
    ) -> "Run":
        """As it was kept."""
        found = [(str(a), str(b), int(c), int(d)) for a, b, c, d in report["differences"]]
        return cls(run_id, kind, period_id, state, *hashes, report["events"], report["posted"], report["wanted"], found)


def differences(
    wanted: Wanted, lines: Mapping[LineKey, int], period: Mapping[PeriodKey, int]
) -> list[tuple[str, str, int, int]]:
    """(employee, rule, posted, wanted) where they differ, the largest first."""
    sums: dict[tuple[str, str], list[int]] = {}
    posted: list[tuple[LineKey | PeriodKey, int]] = [*lines.items(), *period.items()]
    says: list[tuple[LineKey | PeriodKey, int]] = [(k, w.milli_points) for k, w in wanted.lines.items()]
    for place, values in ((0, posted), (1, [*says, *wanted.period.items()])):
        for key, points in values:
            sums.setdefault((key.staff_id, f"{key.rule_set_id}/{key.rule_id}"), [0, 0])[place] += points
    rows = [(s, r.partition("/")[2], before, now) for (s, r), (before, now) in sums.items() if before != now]
    return sorted(rows, key=lambda row: (-abs(row[3] - row[2]), row[:2]))[:MOST_DIFFERENCES]


def hashed(parts: Iterable[object]) -> str:
    """SHA-256 over the texts of some values, one a line."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(f"{part}\n".encode())
    return whole.hexdigest()
