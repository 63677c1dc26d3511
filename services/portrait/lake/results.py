"""What a run publishes: features, tags, anchors and dwell of one bucket as Parquet, and how they are read again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.anchor import ROLES, Anchors, Tie
from services.portrait.domain.calendar import SLOTS, Window
from services.portrait.domain.dwell import Attendance, grade
from services.portrait.domain.place import Places
from services.portrait.domain.run import AnchorValue, DwellLine, LakeFile, Portrait, TagValue
from services.portrait.domain.statistic import Column
from services.portrait.domain.tag import Event, Verdict
from services.portrait.domain.track import DwellDays
from services.portrait.lake.files import Lake, read, read_rows

DAY_TYPES = ("weekend", "workday")
_NOT_SHOWN = ("customer_key", "org_id")
_NOT_OF_ANCHORS = ("org_id", "since_date", "moved_date")


@dataclass(frozen=True)
class Bucket:
    """Everything that was found for the customers of one bucket; `customer_key` and `org_id` by customer number."""

    bucket: int
    customer_key: npt.NDArray[np.int64]
    org_id: npt.NDArray[np.str_]
    dwell: DwellDays
    anchors: Mapping[str, Anchors]
    verdicts: Sequence[Verdict]
    features: Mapping[str, npt.NDArray[np.float32]]
    ties: Mapping[str, Tie] = field(default_factory=dict)
    """Since when the anchors hold; empty for a first run."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """The stat columns."""
    attendance: Attendance | None = None
    """Who was at city events, by number into `events`."""
    events: Sequence[Event] = ()


def write_bucket(
    lake: Lake,
    run_id: str,
    found: Bucket,
    places: Places,
    window: Window,
    workdays: npt.NDArray[np.bool_],
    city: Mapping[str, pa.Table],
) -> dict[str, LakeFile]:
    """Write the four tables of a bucket, and those of the city, under names that depend on run and bucket only."""
    return {
        name: lake.write(f"portrait/{name}/run={run_id}/bucket={found.bucket:02d}.parquet", table, found.bucket)
        for name, table in (tables(found, places, window, workdays) | dict(city)).items()
    }


def tables(found: Bucket, places: Places, window: Window, workdays: npt.NDArray[np.bool_]) -> dict[str, pa.Table]:
    """The four tables of a bucket, by customer."""
    return {
        "features": _features(found),
        "tags": _tags(found, places),
        "anchors": _anchors(found, places, window),
        "dwell": _dwell(found, places, window, workdays),
    }


class ResultReader:
    """Reads published tables."""

    def portraits(self, run_id: str, files: Mapping[str, LakeFile]) -> Iterator[Portrait]:
        """The portraits of one bucket by key; `files` are its tables features, tags and anchors."""
        features = read(files["features"])
        anchors = _grouped(read(files["anchors"]))
        tags = _grouped(read(files["tags"]))
        names = [name for name in features.column_names if name not in _NOT_SHOWN and not name.startswith("tag_")]
        numbers = np.column_stack([features[name].to_numpy() for name in names])
        keys, orgs = features["customer_key"].to_pylist(), features["org_id"].to_pylist()
        for row, (key, org_id) in enumerate(zip(keys, orgs, strict=True)):
            values = numbers[row]
            known = np.flatnonzero(~np.isnan(values)).tolist()
            yield Portrait(
                customer_key=key,
                org_id=org_id,
                run_id=run_id,
                anchors=tuple(_anchor_value(each) for each in anchors.get(key, ())),
                tags=tuple(_tag_value(each) for each in tags.get(key, ())),
                features={names[at]: float(values[at]) for at in known},
            )

    def tag_bearers(self, file: LakeFile) -> Iterator[tuple[str, int, str]]:
        """(tag, customer_key, org_id) of one bucket's tags; an enum tag as CODE and as CODE=value."""
        table = read(file, ["customer_key", "org_id", "code", "value"])
        for row in table.to_pylist():
            yield row["code"], row["customer_key"], row["org_id"]
            if row["value"]:
                yield f"{row['code']}={row['value']}", row["customer_key"], row["org_id"]

    def tags_of(self, file: LakeFile, customer_key: int) -> list[TagValue]:
        """One customer's tags by code."""
        names = ["code", "value", "version", "score", "landmark", "evidence", "from_date", "expire_date"]
        rows = read_rows(file, "customer_key", customer_key, names).to_pylist()
        return sorted((TagValue(**row) for row in rows), key=lambda tag: (tag.code, tag.value))

    def bearers_of(self, file: LakeFile, code: str) -> dict[str, set[int]]:
        """Who bears each value of a tag."""
        found: dict[str, set[int]] = {}
        table = read(file, ["customer_key", "code", "value"])
        for row in table.filter(pc.equal(table["code"], code)).to_pylist():
            found.setdefault(row["value"], set()).add(row["customer_key"])
        return found

    def dwell_of(self, file: LakeFile, customer_key: int) -> list[DwellLine]:
        """One customer's dwell by place, kind of day and slot, the longest first."""
        table = read_rows(
            file, "customer_key", customer_key, ["place_id", "place_class", "date", "workday", "slot", "secs"]
        )
        seen: dict[bool, set[object]] = {True: set(), False: set()}
        grouped: dict[tuple[str, str, bool, str], list[tuple[object, int]]] = {}
        for row in table.to_pylist():
            seen[row["workday"]].add(row["date"])
            key = (row["place_id"], row["place_class"], row["workday"], row["slot"])
            grouped.setdefault(key, []).append((row["date"], row["secs"]))
        lines = []
        for (place_id, place_class, workday, slot), parts in grouped.items():
            days, secs = len({day for day, _ in parts}), sum(part for _, part in parts)
            worth = int(grade(np.array(days), np.array(secs), np.array(len(seen[workday]))))
            lines.append(DwellLine(place_id, place_class, DAY_TYPES[workday], slot, days, secs, worth))
        return sorted(lines, key=lambda line: (-line.dwell_seconds, line.place_id, line.day_type, line.slot))


def _grouped(table: pa.Table) -> dict[int, list[dict[str, object]]]:
    grouped: dict[int, list[dict[str, object]]] = {}
    for row in table.to_pylist():
        grouped.setdefault(row.pop("customer_key"), []).append(row)
    return grouped


def _anchor_value(row: Mapping[str, object]) -> AnchorValue:
    return AnchorValue(**{name: value for name, value in row.items() if name not in _NOT_OF_ANCHORS})  # type: ignore[arg-type]


def _tag_value(row: Mapping[str, object]) -> TagValue:
    shown = {name: value for name, value in row.items() if name not in ("org_id", "landmark_id")}
    return TagValue(**shown)  # type: ignore[arg-type]


def _features(found: Bucket) -> pa.Table:
    orgs = pa.array(found.org_id.tolist(), pa.string())
    return pa.table({"customer_key": found.customer_key, "org_id": orgs, **found.features})


def _anchors(found: Bucket, places: Places, window: Window) -> pa.Table:
    parts = []
    first = (window.from_date - date(1970, 1, 1)).days
    for role in ROLES:
        if role not in found.anchors:
            continue
        anchors = found.anchors[role]
        who = np.flatnonzero(anchors.exists)
        place, tie = anchors.place[who], found.ties.get(role)
        parts.append(
            pa.table(
                {
                    **_owner(found, who),
                    "role": pa.array([role] * len(who), pa.string()),
                    "place_id": named(places.place_id, place),
                    "place_name": named(places.name, place),
                    "place_class": named(places.class_code, place),
                    "town": named(places.town, place),
                    "days": anchors.days[who],
                    "dwell_seconds": anchors.secs[who],
                    "confidence": anchors.confidence[who],
                    "since_date": _date(tie.since_day[who] if tie else np.full(len(who), first)),
                    "moved_date": _maybe(tie.moved_day[who] if tie else np.full(len(who), -1)),
                }
            )
        )
    return pa.concat_tables(parts).sort_by([("customer_key", "ascending")]) if parts else pa.table({"customer_key": []})


def _tags(found: Bucket, places: Places) -> pa.Table:
    """The verdicts as one table: columns are put together before they are named, for there are hundreds of values."""
    verdicts = found.verdicts
    if not verdicts:
        return _no_tags()
    sizes = [len(each.bearers) for each in verdicts]
    who, landmark, score, begin, end = (
        np.concatenate([getattr(each, name) for each in verdicts])
        for name in ("bearers", "landmark", "score", "from_day", "expire_day")
    )
    verdict = np.repeat(np.arange(len(verdicts)), sizes)
    _, rank = np.unique([each.tag.code for each in verdicts], return_inverse=True)
    order = np.lexsort((rank[verdict], who))
    said, landmark = verdict[order], landmark[order]
    evidence = pa.chunked_array([each.evidence for each in verdicts], pa.string())
    return pa.table(
        {
            **_owner(found, who[order]),
            "code": named([each.tag.code for each in verdicts], said),
            "value": named([each.value for each in verdicts], said),
            "version": np.array([each.tag.version for each in verdicts], dtype=np.int32)[said],
            "score": score[order].astype(np.float64),
            "landmark": named(places.name, landmark),
            "landmark_id": named(places.place_id, landmark),
            "evidence": pc.take(evidence.combine_chunks(), pa.array(order)),
            "from_date": _date(begin[order]),
            "expire_date": _date(end[order]),
        }
    )


def _date(days: npt.NDArray[np.int64]) -> pa.Array:
    """Dates of days counted from 1970-01-01."""
    return pa.array(days.astype(np.int32), pa.int32()).cast(pa.date32())


def _maybe(days: npt.NDArray[np.int64]) -> pa.Array:
    """Dates of days; null for -1."""
    return pc.if_else(pa.array(days >= 0), _date(np.maximum(days, 0)), pa.scalar(None, pa.date32()))


def _no_tags() -> pa.Table:
    kinds = {"customer_key": pa.int64(), "version": pa.int32(), "score": pa.float64(), "from_date": pa.date32(),
             "expire_date": pa.date32()}  # fmt: skip
    names = ("customer_key", "org_id", "code", "value", "version", "score", "landmark", "landmark_id", "evidence",
             "from_date", "expire_date")  # fmt: skip
    return pa.schema([(name, kinds.get(name, pa.string())) for name in names]).empty_table()


def _dwell(found: Bucket, places: Places, window: Window, workdays: npt.NDArray[np.bool_]) -> pa.Table:
    dwell = found.dwell
    slot = (dwell.customer.astype(np.int64) * window.days + dwell.day) * len(SLOTS) + dwell.slot
    order = np.argsort(slot * len(places) + dwell.place)
    day, place = dwell.day[order], dwell.place[order]
    first = (window.from_date - type(window.from_date)(1970, 1, 1)).days
    return pa.table(
        {
            **_owner(found, dwell.customer[order]),
            "date": pa.array(first + day, pa.int32()).cast(pa.date32()),
            "workday": workdays[day],
            "slot": named(SLOTS, dwell.slot[order]),
            "place_id": named(places.place_id, place),
            "place_class": named(places.class_code, place),
            "secs": dwell.secs[order],
            "visits": dwell.visits[order],
            "longest_secs": dwell.longest[order],
        }
    )


def _owner(found: Bucket, who: npt.NDArray[np.integer]) -> dict[str, pa.Array]:
    orgs, org = np.unique(found.org_id, return_inverse=True)
    return {"customer_key": pa.array(found.customer_key[who]), "org_id": named(orgs.tolist(), org[who])}


def named(names: Sequence[str], numbers: npt.NDArray[np.integer]) -> pa.DictionaryArray:
    """Names by number, "" for -1; those that are said, once each, and which of them each row says."""
    said = np.zeros(len(names) + 1, dtype=np.bool_)
    said[numbers] = True  # -1 is the last
    at = np.flatnonzero(said)
    words = [*names, ""]
    distinct = pa.array([words[each] for each in at.tolist()], pa.string()).dictionary_encode()
    number = np.zeros(len(words), dtype=np.int32)
    number[at] = distinct.indices.to_numpy()
    return pa.DictionaryArray.from_arrays(pa.array(number[numbers]), distinct.dictionary)
