"""Responsibility fields (责任田): who answers for a customer, a cell or a grid, when that held (valid) and when we
knew it (known).

A subject is a number: a customer's key, or for a place the negative key made of its name (`place_key`). An event falls
into the field of the first of its customer, its cell and its grid that somebody answers for at its instant.

The rule for shares: at an instant each owner has its share in basis points, and what is left of 10,000 belongs to
`unassigned`. The rule for remainders: a part gets floor(amount × share / 10,000); what the floors leave, fewer
milli-points than there are parts with a fraction, goes out one by one to those parts by share (the largest first), then
by employee, `unassigned` last. So the parts always sum to the whole, and each is less than one from its exact share.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

WHOLE_BPS = 10_000
CELL, GRID = "cell", "grid"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a fields feed: an employee answers for a subject in a role over [valid_from, valid_to).

    `customer_key` is the customer, or the key of `place`: "" for a customer, else `cell <id>` or `grid <id>`.
    """

    customer_key: int
    staff_id: str
    role: str
    share_bps: int
    valid_from: datetime
    valid_to: datetime | None
    delivery_id: str
    line: int
    place: str = ""

    @property
    def subject(self) -> tuple[int, str, str]:
        """Whose spans must not overlap."""
        return self.customer_key, self.staff_id, self.role

    def same(self, other: "Row") -> bool:
        """Whether both say the same, whichever file said it."""
        return (self.subject, self.share_bps, self.valid_from, self.valid_to) == (
            other.subject, other.share_bps, other.valid_from, other.valid_to)  # fmt: skip

    def holds(self, time: datetime) -> bool:
        """Whether the row is valid at an instant."""
        return self.valid_from <= time and (self.valid_to is None or time < self.valid_to)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A row as we know it: since `known_from`, until `known_to` (None: still)."""

    assignment_id: int
    row: Row
    known_from: datetime
    known_to: datetime | None


@dataclass(frozen=True, slots=True)
class Part:
    """A share of what an event gives; `staff_id` "" is `unassigned`, and assignment 0 no assignment."""

    staff_id: str
    role: str
    share_bps: int
    assignment_id: int


def place_key(kind: str, name: str) -> int:
    """The subject that stands for a cell or a grid: below 0, from the SHA-256 of its kind and name; 0 for none."""
    if not name:
        return 0
    return -1 - int.from_bytes(hashlib.sha256(f"{kind} {name}".encode()).digest()[:8], "big") // 2


def subjects_of(customer_key: int, cell_id: str, grid_id: str) -> tuple[int, ...]:
    """Those that are named, the nearest first."""
    if not cell_id and not grid_id:
        return (customer_key,)
    keys = (customer_key, place_key(CELL, cell_id), place_key(GRID, grid_id))
    return tuple(key for key in keys if key)


def holders(
    fields: Mapping[int, Sequence[Assignment]], subjects: Iterable[int], time: datetime
) -> Sequence[Assignment]:
    """The assignments of the first subject that somebody answers for at an instant; none when nobody does."""
    for key in subjects:
        held = fields.get(key, ())
        if any(each.row.share_bps > 0 and each.row.holds(time) for each in held):
            return held
    return ()


def parts_at(assignments: Iterable[Assignment], time: datetime) -> list[Part] | None:
    """Who shares at an instant, in the order of the remainder rule; None when the shares exceed 10,000.

    `assignments` are one subject's, as known at one time. The shares of the parts sum to 10,000.
    """
    parts = [
        Part(each.row.staff_id, each.row.role, each.row.share_bps, each.assignment_id)
        for each in assignments
        if each.row.holds(time) and each.row.share_bps > 0
    ]
    left = WHOLE_BPS - sum(part.share_bps for part in parts)
    if left < 0:
        return None
    parts.sort(key=lambda part: (-part.share_bps, part.staff_id, part.role))
    return [*parts, Part("", "", left, 0)] if left else parts


def split(milli_points: int, shares: Sequence[int], whole: int = WHOLE_BPS) -> list[int]:
    """Amounts >= 0 by share, in the order given, by the remainder rule; `shares` sum to `whole`."""
    parts = [divmod(milli_points * share, whole) for share in shares]
    left = milli_points - sum(floor for floor, _ in parts)
    # Fractions sum to what is left, so there are more parts with one than milli-points to give.
    more = set([place for place, (_, fraction) in enumerate(parts) if fraction][:left])
    return [floor + (place in more) for place, (floor, _) in enumerate(parts)]


def told(rows: Iterable[Row]) -> tuple[list[Row], list[tuple[Row, str]]]:
    """What a feed's files say together: (rows that stand, rows that are refused with why).

    `rows` come file by file, the oldest first: of rows with one subject and begin the last stands, so a later file
    may end what an earlier one left open. A row that still overlaps another of its subject is refused.
    """
    latest: dict[tuple[tuple[int, str, str], datetime], Row] = {}
    refused: list[tuple[Row, str]] = []
    for row in rows:
        if not 0 <= row.share_bps <= WHOLE_BPS:
            refused.append((row, f"a share of {row.share_bps} is not within 0 and 10,000"))
        elif row.valid_to is not None and row.valid_to <= row.valid_from:
            refused.append((row, "it ends before it begins"))
        else:
            latest[row.subject, row.valid_from] = row
    standing: list[Row] = []
    for row in sorted(latest.values(), key=lambda row: (row.subject, row.valid_from)):
        last = standing[-1] if standing and standing[-1].subject == row.subject else None
        if last is not None and (last.valid_to is None or row.valid_from < last.valid_to):
            refused.append((row, f"it overlaps line {last.line} of delivery {last.delivery_id}"))
        else:
            standing.append(row)
    return standing, refused


def changes(known: Mapping[int, Row], wanted: Iterable[Row]) -> tuple[list[int], list[Row]]:
    """What to write so that the rows known (by assignment id) become those wanted: (ids to close, rows to open)."""
    left = {(row.subject, row.valid_from): (assignment_id, row) for assignment_id, row in known.items()}
    opened: list[Row] = []
    for row in wanted:
        there = left.get((row.subject, row.valid_from))
        if there is not None and there[1].same(row):
            del left[row.subject, row.valid_from]
        else:
            opened.append(row)
    return sorted(assignment_id for assignment_id, _ in left.values()), opened
