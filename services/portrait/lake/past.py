"""What the run before said of the customers of one bucket, read from its files: tags, anchors, city events attended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.dwell import Attendance
from services.portrait.domain.place import Places
from services.portrait.domain.run import LakeFile
from services.portrait.domain.tag import Before, Earlier, Event
from services.portrait.lake.files import read

_EPOCH = date(1970, 1, 1)
_LOOKED_BACK = timedelta(days=366)
"""How far back a rule may look for city events."""

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Past:
    """Tags by value, and for each role the place (its id, "" for none) and since when; (customers,) each."""

    tags: Before
    place_id: Mapping[str, npt.NDArray[np.object_]]
    since_day: Mapping[str, Longs]
    moved_day: Mapping[str, Longs]
    """The day on which the customer came there from another place, -1 for none that is known."""
    attendance: Attendance
    """Who was at `events`, by number into them."""
    events: Sequence[Event]


def read_past(files: Sequence[Sequence[LakeFile]], key: Longs, places: Places, first: date) -> Past:
    """What files of an earlier run (its tables tags, anchors and attendance) say of the customers `key` (sorted); of
    city events those that began before `first`, on which the new run begins, and within a year of it."""
    tags, anchors, attended = files
    number = {place_id: at for at, place_id in enumerate(places.place_id)}
    found: dict[tuple[str, str], Earlier] = {}
    for file in tags:
        table = _of(read(file), key)
        codes = zip(table["code"].to_pylist(), table["value"].to_pylist(), strict=True)
        rows: dict[tuple[str, str], list[int]] = {}
        for row, pair in enumerate(codes):
            rows.setdefault(pair, []).append(row)
        for pair, each in rows.items():
            found[pair] = _joined(found.get(pair), _earlier(table.take(pa.array(each)), key, number))
    place: dict[str, npt.NDArray[np.object_]] = {}
    since: dict[str, Longs] = {}
    moved: dict[str, Longs] = {}
    for file in anchors:
        table = _of(read(file), key)
        at = np.searchsorted(key, table["customer_key"].to_numpy())
        for row, role in enumerate(table["role"].to_pylist()):
            place.setdefault(role, np.full(len(key), "", dtype=object))[at[row]] = table["place_id"][row].as_py()
            since.setdefault(role, np.full(len(key), -1, dtype=np.int64))[at[row]] = _day(table, "since_date", row)
            moved.setdefault(role, np.full(len(key), -1, dtype=np.int64))[at[row]] = _day(table, "moved_date", row)
    return Past(found, place, since, moved, *_attended(attended, key, first))


def _attended(files: Sequence[LakeFile], key: Longs, first: date) -> tuple[Attendance, list[Event]]:
    known = [_of(table, key) for table in map(read, files) if "event_id" in table.column_names]
    rows = [row for table in known for row in table.to_pylist() if first - _LOOKED_BACK <= row["date"] < first]
    events = sorted({(row["event_id"], row["type"], row["date"]) for row in rows})
    number = {event_id: at for at, (event_id, _, _) in enumerate(events)}
    customer = np.searchsorted(key, np.array([row["customer_key"] for row in rows], dtype=np.int64)).astype(np.int32)
    event = np.array([number[row["event_id"]] for row in rows], dtype=np.int32)
    secs = np.array([row["secs"] for row in rows], dtype=np.int64)
    return Attendance(customer, event, secs), [Event(kind, day, event_id) for event_id, kind, day in events]


def _of(table: pa.Table, key: Longs) -> pa.Table:
    return table.filter(pc.is_in(table["customer_key"], value_set=pa.array(key)))


def _day(table: pa.Table, name: str, row: int) -> int:
    known = table[name][row].as_py() if name in table.column_names else None
    return (known - _EPOCH).days if known is not None else -1


def _earlier(table: pa.Table, key: Longs, number: Mapping[str, int]) -> Earlier:
    days = [pc.cast(table[name], pa.int32()).to_numpy().astype(np.int64) for name in ("from_date", "expire_date")]
    landmark = np.array([number.get(each, -1) for each in table["landmark_id"].to_pylist()], dtype=np.int32)
    bearers = np.searchsorted(key, table["customer_key"].to_numpy()).astype(np.int64)
    evidence = table["evidence"].to_pylist()
    return Earlier(bearers, days[0], days[1], table["score"].to_numpy(), evidence, landmark)


def _joined(one: Earlier | None, other: Earlier) -> Earlier:
    if one is None:
        return other
    return Earlier(
        np.concatenate([one.bearers, other.bearers]),
        np.concatenate([one.from_day, other.from_day]),
        np.concatenate([one.expire_day, other.expire_day]),
        np.concatenate([one.score, other.score]),
        [*one.evidence, *other.evidence],
        np.concatenate([one.landmark, other.landmark]),
    )
