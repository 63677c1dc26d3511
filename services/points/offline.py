"""Offline verbs for analysts: files in, files out, the same domain code as the service.

    python -m services.points replay --rules RULES.yaml --events EVENTS.parquet [--fields FIELDS.parquet]
                                     --out ENTRIES.parquet [--timezone Asia/Shanghai]

EVENTS    source, source_event_id, type, customer_key, product_id, category, staff_id, staff_role, channel, amount_fen,
          origin_event_id, occur_time (timestamp with a zone); a missing text column counts as empty
FIELDS    customer_key, staff_id, role, share_bps, valid_from, valid_to (dates or timestamps; null: open)
ENTRIES   entry_id, account, staff_id, milli_points, source, source_event_id, rule_id, component, role, share_bps,
          reverses_entry_id, period_id, occur_time; ordered by entry_id

Every named employee and product counts as known, and the rules as in force on every day. The checksum printed for a
period is the one that GetPeriod gives for the same events, rules and fields: anybody can prove a period.
Exit status: 0 done, 2 bad input, with one line that says what and where.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from services.kit.errors import Refusal
from services.points.domain import field, posting
from services.points.domain.event import REFUND, Event
from services.points.domain.ledger import Entry, digest
from services.points.domain.posting import Employee, Origin, Outcome, Reference, Rules
from services.points.domain.rule_set import checksum
from services.points.domain.rule_text import parse
from services.points.domain.scoring import Compiled
from services.points.lake import to_instant

_BATCH = 20_000
_NEEDED = ("source", "source_event_id", "type", "customer_key", "amount_fen", "occur_time")
_TEXTS = ("product_id", "category", "staff_id", "staff_role", "channel", "origin_event_id")
_FIELDS = ("customer_key", "staff_id", "role", "share_bps", "valid_from", "valid_to")
_OUT = ("entry_id", "account", "staff_id", "milli_points", "source", "source_event_id", "rule_id", "component", "role",
        "share_bps", "reverses_entry_id", "period_id", "occur_time")  # fmt: skip
_LONG_AGO = datetime(1, 1, 2, tzinfo=UTC)

Told = tuple[Event, str, str]
"""An event with its product's category and its employee's role."""


class BadInput(Exception):
    """What is wrong with the input, in one line."""


def replay(arguments: Sequence[str]) -> int:
    """Score a file of events from nothing."""
    parser = argparse.ArgumentParser(prog="python -m services.points replay", description=__doc__.partition("\n")[0])
    for name, needed in (("rules", True), ("events", True), ("fields", False), ("out", True)):
        parser.add_argument(f"--{name}", type=Path, required=needed)
    parser.add_argument("--timezone", default="Asia/Shanghai")
    wanted = parser.parse_args(arguments)
    try:
        _replay(wanted.rules, wanted.events, wanted.fields, wanted.out, _zone(wanted.timezone))
    except BadInput as problem:
        print(f"replay: {problem}", file=sys.stderr)
        return 2
    return 0


def _replay(rules: Path, events: Path, fields: Path | None, out: Path, zone: ZoneInfo) -> None:
    version, known = _rules(rules), _fields(fields, zone)
    source = _open(events, _NEEDED)
    began, entries, waits = time.perf_counter(), list[Entry](), Counter[str]()
    refunds: list[Event] = []
    origins: dict[tuple[str, str], Outcome] = {}
    taken_back = {
        event.origin_key for batch in _events(source, events) for event, _, _ in batch if event.type == REFUND
    }
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("scoring", total=source.metadata.num_rows)
        seen: set[tuple[str, str]] = set()
        for told in _events(source, events):
            batch = []
            for each in told:
                if each[0].key not in seen:
                    seen.add(each[0].key)
                    batch.append(each)
            refunds += [event for event, _, _ in batch if event.type == REFUND]
            for outcome in _score([told for told in batch if told[0].type != REFUND], version, known, zone):
                entries += outcome.entries
                waits[outcome.doubt.reason.value if outcome.doubt else "SCORED"] += 1
                if outcome.event.key in taken_back:
                    origins[outcome.event.key] = outcome
            progress.advance(task, len(told))
    done: set[tuple[str, str]] = set()
    for event in sorted(refunds, key=lambda event: (event.occur_time, event.key)):
        outcome = posting.refund(event, _origin(origins.get(event.origin_key), event.origin_key in done), zone)
        done |= {event.origin_key} if outcome.doubt is None else set()
        entries += outcome.entries
        waits[outcome.doubt.reason.value if outcome.doubt else "SCORED"] += 1
    seconds = time.perf_counter() - began
    _write(out, entries)
    for period in sorted({entry.period_id for entry in entries}):
        mine = [entry for entry in entries if entry.period_id == period]
        print(f"{period}  {len(mine):,} entries  sha256 {digest(mine)}")
    print(
        f"{waits.total():,} events in {seconds:.1f} s, {waits.total() / seconds:,.0f} a second; rules {version.sha256}"
    )
    for reason, count in sorted(waits.items()):
        print(f"  {reason}: {count:,}")


def _score(
    batch: Sequence[Told], version: Rules, known: dict[int, list[field.Assignment]], zone: ZoneInfo
) -> list[Outcome]:
    owners = {each.row.staff_id for rows in known.values() for each in rows}
    staff = {staff_id: Employee("", "") for staff_id in owners}
    staff |= {event.staff_id: Employee("", role) for event, _, role in batch if event.staff_id}
    reference = Reference(
        ready=True,
        zone=zone,
        categories={event.product_id: category for event, category, _ in batch},
        staff=staff,
        fields=known,
        effective=[("replay", date.min, version.rule_set_id)],
        rules={version.rule_set_id: version},
    )
    return posting.score([event for event, _, _ in batch], reference)


def _origin(outcome: Outcome | None, refunded: bool) -> Origin | None:
    if outcome is None:
        return None
    return Origin(outcome.event.type, outcome.doubt is None, refunded, outcome.entries)


def _rules(path: Path) -> Rules:
    try:
        rules = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}") from error
    except Refusal as refusal:
        raise BadInput(f"{path}: {refusal.message}") from refusal
    return Rules("replay", checksum(rules), Compiled(rules))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise BadInput(f"--timezone {name} is not a time zone") from error


def _fields(path: Path | None, zone: ZoneInfo) -> dict[int, list[field.Assignment]]:
    if path is None:
        return {}
    columns = _open(path, _FIELDS).read(columns=list(_FIELDS)).to_pydict()
    rows = []
    for line, (key, staff_id, role, share, begin, end) in enumerate(zip(*columns.values(), strict=True), 1):
        if None in (key, staff_id, role, share, begin):
            raise BadInput(f"{path}: row {line}: a cell is empty")
        until = None if end is None else to_instant(end, zone)
        rows.append(field.Row(key, staff_id, role, share, to_instant(begin, zone), until, path.name, line))
    standing, refused = field.told(rows)
    if refused:
        raise BadInput(f"{path}: row {refused[0][0].line}: {refused[0][1]}")
    known: dict[int, list[field.Assignment]] = {}
    for number, row in enumerate(standing, 1):
        known.setdefault(row.customer_key, []).append(field.Assignment(number, row, _LONG_AGO, None))
    return known


def _open(path: Path, needed: Sequence[str]) -> pq.ParquetFile:
    try:
        source = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path}: {error}") from error
    missing = [name for name in needed if name not in source.schema_arrow.names]
    if missing:
        raise BadInput(f"{path}: the column {missing[0]} is missing")
    return source


def _events(source: pq.ParquetFile, path: Path) -> Iterator[list[Told]]:
    names = [name for name in (*_NEEDED, *_TEXTS) if name in source.schema_arrow.names]
    line = 0
    for batch in source.iter_batches(_BATCH, columns=names):
        told = []
        for row in batch.to_pylist():
            line += 1
            told.append(_event(row, f"{path}: row {line}"))
        yield told


def _event(row: dict[str, Any], place: str) -> Told:
    for name in ("source", "source_event_id", "type", "occur_time"):
        if row[name] is None:
            raise BadInput(f"{place}: {name} is empty")
    occur_time = row["occur_time"]
    if not isinstance(occur_time, datetime) or occur_time.tzinfo is None:
        raise BadInput(f"{place}: occur_time is not a timestamp with a zone")
    event = Event(
        event_id="",
        source=row["source"],
        source_event_id=row["source_event_id"],
        type=row["type"],
        customer_key=row["customer_key"] or 0,
        product_id=row.get("product_id") or "",
        staff_id=row.get("staff_id") or "",
        channel=row.get("channel") or "",
        amount_fen=row["amount_fen"],
        origin_event_id=row.get("origin_event_id") or "",
        occur_time=occur_time,
        receive_time=occur_time,
    )
    return event, row.get("category") or "", row.get("staff_role") or ""


def _write(path: Path, entries: list[Entry]) -> None:
    entries.sort(key=lambda entry: entry.entry_id)
    columns = {name: [getattr(entry, name) for entry in entries] for name in _OUT}
    columns["occur_time"] = pa.array(columns["occur_time"], pa.timestamp("us", tz="UTC"))
    part = path.with_name(f".{path.name}.part")
    try:
        pq.write_table(pa.table(columns), part, compression="zstd")
        part.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: {error}") from error
