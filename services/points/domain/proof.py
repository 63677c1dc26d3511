"""The checksum of a period: SHA-256 over what its lines say, free of when, where and in how many steps it was posted.

Lines of events come in the canonical order: occur time, source, source's id, then rule id, role, employee. Four streams
are hashed: the lengths of the sources' ids (int32), their UTF-8 bytes, a record of six int64 for each line
(microseconds since 1970, tokens of source, rule, role and employee, milli-points; little endian), and the period's own
lines (tiers and caps) as JSON, sorted. The checksum is the SHA-256 of the four digests. A token is the first eight
bytes of a text's SHA-256.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np

from services.points.domain.ledger import Entry
from services.points.domain.scoring import Ints, Longs

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1 << 17)
def token(text: str) -> int:
    """What stands for a text in a record."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)


def tokens(texts: Iterable[str]) -> Longs:
    """Tokens of texts."""
    return np.array([token(text) for text in texts], np.int64)


class Proof:
    """The checksum of one period, fed in canonical order in parts of any size."""

    def __init__(self) -> None:
        self._lengths, self._ids, self._records = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self._period: list[tuple[str, int, str, str, int]] = []
        self.lines = 0
        self.milli_points = 0

    def add(
        self,
        ids: tuple[Ints, bytes | memoryview],
        times: Longs,
        texts: tuple[Longs, Longs, Longs, Longs],
        points: Longs,
    ) -> None:
        """Take in lines: (lengths, bytes) of ids, times, tokens of source, rule, role and employee, milli-points."""
        records = np.stack([times, *texts, points], axis=1).astype("<i8")
        self._lengths.update(np.ascontiguousarray(ids[0], "<i4").data)
        self._ids.update(ids[1])
        self._records.update(np.ascontiguousarray(records).data)
        self.lines += len(points)
        self.milli_points += int(points.sum())

    def add_texts(self, lines: Sequence[tuple[int, str, str, str, str, str, int]]) -> None:
        """Take in lines as (microseconds, source, source's id, rule id, role, employee, milli-points)."""
        if not lines:
            return
        times, sources, ids, rules, roles, staff, points = zip(*lines, strict=True)
        raw = [name.encode() for name in ids]
        lengths = np.array([len(one) for one in raw], np.int32)
        texts = (tokens(sources), tokens(rules), tokens(roles), tokens(staff))
        self.add((lengths, b"".join(raw)), np.array(times, np.int64), texts, np.array(points, np.int64))

    def add_period(self, lines: Iterable[tuple[str, int, str, str, int]]) -> None:
        """Take in the period's own lines: (rule id, customer or 0, day as a date or "", employee, milli-points)."""
        for line in lines:
            self._period.append(line)
            self.lines += 1
            self.milli_points += line[4]

    def hex(self) -> str:
        """The checksum."""
        own = hashlib.sha256(json.dumps(sorted(self._period), ensure_ascii=False, separators=(",", ":")).encode())
        streams = (self._lengths, self._ids, self._records, own)
        return hashlib.sha256(b"".join(each.digest() for each in streams)).hexdigest()


def micros(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def digest(entries: Iterable[Entry]) -> str:
    """The checksum of entries in any order: what they say net."""
    lines: dict[tuple[datetime, str, str, str, str, str], int] = {}
    own: dict[tuple[str, int, date | None, str], int] = {}
    for e in entries:
        if e.account.startswith("budget:"):
            continue
        if e.kind in ("TIER", "CAP"):
            place = (e.rule_id, e.customer_key, e.business_date, e.staff_id)
            own[place] = own.get(place, 0) + e.milli_points
        else:
            key = (e.occur_time, e.source, e.source_event_id, e.rule_id, e.role, e.staff_id)
            lines[key] = lines.get(key, 0) + e.milli_points
    proof = Proof()
    proof.add_texts([
        (micros(time), source, name, rule, role, staff, points)
        for (time, source, name, rule, role, staff), points in sorted(lines.items()) if points
    ])  # fmt: skip
    proof.add_period(
        (rule, customer, day.isoformat() if day else "", staff, points)
        for (rule, customer, day, staff), points in own.items() if points
    )  # fmt: skip
    return proof.hex()
