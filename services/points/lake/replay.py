"""A replay: files of rules, events, fields and corrections by hand into lines, by any engine."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from services.kit.errors import Refusal
from services.points.domain import batch, rule_sheet, rule_text
from services.points.domain.event import ADJUSTMENT, Reason
from services.points.domain.interpreter import read as interpret
from services.points.domain.rule_set import RuleSet
from services.points.domain.scoring import Compiled, Ints
from services.points.domain.shares import compile_shares
from services.points.domain.version import days_scored_by
from services.points.lake import archive
from services.points.lake.entries import Lines, from_result, joined, of_rules
from services.points.lake.events import BadInput, ReadEvents, open_parquet
from services.points.lake.fields import Fields
from services.points.lake.shadow import EventRow, PeriodRow, shadow
from services.points.lake.told import told_rows

ENGINES = ("kernel", "sql", "reference")
_VERSION = re.compile(r"([a-z][a-z0-9_]*)@([0-9]{4}-[0-9]{2}-[0-9]{2})")
_CODE = {reason: code for code, reason in enumerate(batch.REASONS)}


@dataclass(frozen=True)
class Version:
    """Rules of a name in force on the days from `first` to `last`."""

    name: str
    first: date
    last: date
    compiled: Compiled


@dataclass(frozen=True)
class How:
    """Who computes, with which fields, in which zone, on how many threads."""

    engine: str
    fields: Fields
    zone: ZoneInfo
    threads: int


def read_rules(path: Path) -> RuleSet:
    """The rules of a YAML or Excel file. Raises BadInput with the place."""
    try:
        if path.suffix == ".xlsx":
            return rule_sheet.parse(path.read_bytes())
        return rule_text.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}") from error
    except Refusal as refusal:
        raise BadInput(f"{path}: {refusal.message}") from refusal


def read_versions(path: Path) -> list[Version]:
    """One file, in force on every day, or the versions of a folder. Raises BadInput."""
    if not path.is_dir():
        return [Version("", date.min, date.max, Compiled(read_rules(path)))]
    found: list[tuple[str, date, Path]] = []
    for each in sorted(path.iterdir()):
        name = _VERSION.fullmatch(each.stem)
        try:
            found += [(name[1], date.fromisoformat(name[2]), each)] if name else []
        except ValueError as error:
            raise BadInput(f"{each}: {error}") from error
        if name is None:
            raise BadInput(f"{each}: is not called NAME@DATE.yaml or NAME@DATE.xlsx")
    if not found:
        raise BadInput(f"{path}: holds no rules")
    versions = []
    for name_, begin, file in found:
        first, last = days_scored_by(begin, [day for other, day, _ in found if other == name_ and day != begin])
        versions.append(Version(name_, first, last, Compiled(read_rules(file))))
    return versions


def read_adjustments(path: Path | None) -> pa.Table:
    """Corrections by hand; none without a file. Raises BadInput."""
    if path is None:
        return archive.ADJUSTMENT.empty_table()
    names = archive.ADJUSTMENT.names
    try:
        return open_parquet(path, names).read(columns=names).cast(archive.ADJUSTMENT)
    except (ValueError, pa.ArrowException) as error:
        raise BadInput(f"{path}: {str(error).splitlines()[0]}") from error


def as_events(adjustments: pa.Table) -> pa.Table | None:
    """The events under which corrections by hand are posted; None for none."""
    count = adjustments.num_rows
    if not count:
        return None
    return pa.table({
        "source": pa.array([ADJUSTMENT.lower()] * count), "source_event_id": adjustments["adjustment_id"],
        "type": pa.array([ADJUSTMENT] * count), "customer_key": pa.array([0] * count, pa.int64()),
        "amount_fen": pa.array([0] * count, pa.int64()), "staff_id": adjustments["staff_id"],
        "occur_time": adjustments["occur_time"],
    })  # fmt: skip


def score(versions: Sequence[Version], read: ReadEvents, how: How, adjustments: pa.Table) -> tuple[Lines, Counter[str]]:
    """Lines by the versions in force, and how many events wait for which reason, SCORED or REPEATED."""
    if len(versions) == 1 and not versions[0].name and not adjustments.num_rows:
        lines, doubt = _score(versions[0].compiled, read, how)
        return lines, _counted(doubt, read.repeated)
    events = read.events
    doubt = np.where(events.doubt > 0, events.doubt, _CODE[Reason.NO_RULES_IN_FORCE]).astype(np.int32)
    doubt[events.refund & (events.origin < 0)] = _CODE[Reason.UNKNOWN_ORIGIN]
    parts = []
    for version in versions:
        within = (events.days >= version.first.toordinal()) & (events.days <= version.last.toordinal())
        keep = within & ~events.refund
        keep |= events.refund & (events.origin >= 0) & keep[np.maximum(events.origin, 0)]
        keep &= ~_adjusted(read)
        which = np.flatnonzero(keep).astype(np.int32)
        lines, found = _score(version.compiled, read.only(keep), how)
        doubt[which] = found
        parts.append(_at(lines, which))
    posted = _adjusted(read)
    parts.append(_by_hand(read, adjustments))
    return joined(parts), _counted(doubt[~posted], read.repeated)


def _score(compiled: Compiled, read: ReadEvents, how: How) -> tuple[Lines, Ints]:
    """Lines by one engine, and by event why it waits."""
    rule_set = compiled.rule_set
    if how.engine == "reference":
        return _read_aloud(rule_set, read, how)
    shares = compile_shares(rule_set, how.fields.held)
    result = batch.run(compiled, shares, read.events, how.threads)
    if how.engine == "kernel":
        return from_result(result, rule_set, shares), result.doubt
    found = shadow(rule_set, read.events, how.fields.table(), how.threads)
    return _lines(found.lines, found.period, rule_set), result.doubt


def _read_aloud(rules: RuleSet, read: ReadEvents, how: How) -> tuple[Lines, Ints]:
    told, place = told_rows(read)
    reading = interpret(rules, told, how.fields.held, how.zone)
    lines = [
        (place[line.source, line.source_event_id], line.rule_id, line.role, line.staff_id, line.period_id,
         line.milli_points)
        for line in reading.lines
    ]  # fmt: skip
    period: list[PeriodRow] = [
        (p.period_id, p.rule_id, p.customer_key, p.day.toordinal() if p.day else None, p.staff_id, p.milli_points)
        for p in reading.period
    ]
    doubt = read.events.doubt.copy()
    for key, reason in reading.waits.items():
        doubt[place[key]] = _CODE[reason]
    return _lines(lines, period, rules), doubt


def _lines(lines: Sequence[EventRow], period: Sequence[PeriodRow], rules: RuleSet) -> Lines:
    """Rows as the columns that are written, in canonical order."""
    rule_ids = [row.rule_id for table in rules.tables for row in table.rows]
    roles, staff_ids = sorted({"", *(line[2] for line in lines)}), sorted({line[3] for line in lines} - {""})
    rule = {name: number for number, name in enumerate(rule_ids)}
    role = {name: number for number, name in enumerate(roles)}
    staff = {name: number for number, name in enumerate(staff_ids)} | {"": -1}
    ordered = sorted(lines, key=lambda line: line[:4])
    codes = np.array([(line[0], rule[line[1]], role[line[2]], staff[line[3]]) for line in ordered], np.int32)
    event, of_rule, of_role, whose = np.ascontiguousarray(codes.reshape(-1, 4).T)
    amounts = np.array([line[5] for line in ordered], np.int64)
    own = of_rules(rules, period)
    return Lines(event, of_rule, of_role, whose, amounts, rule_ids, roles, staff_ids, period, *own)


def _at(lines: Lines, which: Ints) -> Lines:
    """Lines of some events, by their places among all."""
    return Lines(which[lines.event], *(getattr(lines, name) for name in Lines.__dataclass_fields__ if name != "event"))


def _adjusted(read: ReadEvents) -> np.ndarray:
    types = read.events.texts["type"]
    return np.array([name == ADJUSTMENT for name in types.values] or [False])[types.codes]


def _by_hand(read: ReadEvents, adjustments: pa.Table) -> Lines:
    """A line of each correction."""
    place = {read.ids[int(i)].as_py(): int(i) for i in np.flatnonzero(_adjusted(read))}
    ids, staff, components, amounts, _ = (adjustments.column(name).to_pylist() for name in archive.ADJUSTMENT.names)
    staff_ids, kinds = sorted(set(staff)), sorted(set(components))
    return Lines(
        np.array([place[name] for name in ids], np.int32), np.array([kinds.index(c) for c in components], np.int32),
        np.zeros(len(ids), np.int32), np.array([staff_ids.index(name) for name in staff], np.int32),
        np.array(amounts, np.int64), [ADJUSTMENT] * len(kinds), [""], staff_ids, [], kinds, [],
    )  # fmt: skip


def _counted(doubt: Ints, repeated: int) -> Counter[str]:
    counts = np.bincount(doubt, minlength=len(batch.REASONS)).tolist()
    found = Counter({getattr(r, "value", "SCORED"): n for r, n in zip(batch.REASONS, counts, strict=True) if n})
    return found + Counter({"REPEATED": repeated})
