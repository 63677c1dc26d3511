"""Offline verbs for analysts: files in, files out, the same domain code as the service, no database.

    python -m services.points replay --rules RULES.yaml --events EVENTS.parquet [--fields FIELDS.parquet]
        --out ENTRIES.parquet [--engine kernel|sql|reference] [--threads 1] [--timezone Asia/Shanghai]
    python -m services.points rules RULES.yaml --out RULES.xlsx      (or the other way round)

RULES     YAML (the format stands at the top of domain/rule_text.py) or Excel (domain/rule_sheet.py);
          services/points/examples/ holds the same rules as both
EVENTS    source, source_event_id, type, customer_key, amount_fen, occur_time (timestamp with a zone); and, if there
          are, product_id, category, channel, staff_id, staff_role, customer_type, origin_event_id, receive_time,
          known_revision
FIELDS    customer_key, staff_id, role, share_bps, valid_from, valid_to (dates or timestamps; null: open)
ENTRIES   kind, source, source_event_id, occur_time, period_id, rule_id, component, account, contra_account, staff_id,
          role, milli_points, origin_event_id, customer_key, business_date; one double entry a row

Every named employee and product counts as known, and the rules as in force on every day. The checksum printed for a
period is the one that GetPeriod gives for the same events, rules and fields: anybody can prove a period. All engines,
any number of threads and any order of the rows give the same file and the same checksum.
Exit status: 0 done, 2 bad input, with one line that says what and where.
"""

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from services.kit.errors import Refusal
from services.points.domain import batch, rule_sheet, rule_text
from services.points.domain.gate import findings
from services.points.domain.interpreter import read as interpret
from services.points.domain.rule_set import RuleSet, checksum
from services.points.domain.scoring import Compiled
from services.points.domain.shares import compile_shares
from services.points.lake.entries import Lines, from_result, write
from services.points.lake.events import BadInput, ReadEvents, read_events
from services.points.lake.fields import Fields, read_fields
from services.points.lake.shadow import EventRow, PeriodRow, shadow
from services.points.lake.told import told_rows

ENGINES = ("kernel", "sql", "reference")


def replay(arguments: Sequence[str]) -> int:
    """Score a file of events from nothing."""
    parser = _parser("replay", "Score a file of events from nothing.")
    for name, needed in (("rules", True), ("events", True), ("fields", False), ("out", True)):
        parser.add_argument(f"--{name}", type=Path, required=needed, metavar="FILE")
    parser.add_argument("--engine", choices=ENGINES, default="kernel", help="who computes (default: kernel)")
    parser.add_argument("--threads", type=int, choices=range(1, 65), default=1, metavar="N", help="default 1")
    parser.add_argument("--timezone", default="Asia/Shanghai", help="of business days (default Asia/Shanghai)")
    wanted = parser.parse_args(arguments)
    return _told("replay", lambda: _replay(wanted))


def rules(arguments: Sequence[str]) -> int:
    """Check a rule set and write it as YAML or Excel."""
    parser = _parser("rules", "Check a rule set; write it as YAML or Excel.")
    parser.add_argument("rules", type=Path, metavar="RULES", help="a .yaml or .xlsx file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .yaml or .xlsx file to write")
    wanted = parser.parse_args(arguments)
    return _told("rules", lambda: _rules(wanted.rules, wanted.out))


def _parser(verb: str, about: str) -> argparse.ArgumentParser:
    _, _, columns = (__doc__ or "").partition("\n\n")
    return argparse.ArgumentParser(
        prog=f"python -m services.points {verb}", description=about, epilog=columns,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def _told(verb: str, work: Callable[[], None]) -> int:
    try:
        work()
    except BadInput as problem:
        print(f"{verb}: {problem}", file=sys.stderr)
        return 2
    return 0


def _rules(path: Path, out: Path | None) -> None:
    known = read_rules(path)
    print(f"{checksum(known)}  {len(known.tables)} tables, {sum(len(t.rows) for t in known.tables)} rows")
    for each in findings(known):
        print(f"{each.kind}  {each.place}: {each.message}")
    if out is None:
        return
    try:
        if out.suffix == ".xlsx":
            out.write_bytes(rule_sheet.dump(known))
        else:
            out.write_text(rule_text.dump(known), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{out}: {error}") from error


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


def _replay(wanted: argparse.Namespace) -> None:
    zone = _zone(wanted.timezone)
    known = read_rules(wanted.rules)
    compiled = Compiled(known)
    began, spent = time.perf_counter(), time.process_time()
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bar, console=Console(stderr=True)) as progress, _quiet_on_failure(progress):
        reading = progress.add_task("reading", total=None)
        read = read_events(wanted.events, zone, lambda rows: progress.advance(reading, rows))
        fields = read_fields(wanted.fields, zone)
        progress.update(reading, total=len(read.events), completed=len(read.events))
        scoring = progress.add_task(f"scoring ({wanted.engine})", total=len(read.events))
        lines, doubts = _score(wanted.engine, compiled, read, fields, zone, wanted.threads)
        progress.update(scoring, completed=len(read.events))
        proofs = write(wanted.out, read, lines, known, _Writing(progress, len(lines.event) + len(lines.period)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    for period_id, proof in sorted(proofs.items()):
        print(f"{period_id}  {proof.lines:,} lines  {proof.milli_points:,} milli-points  sha256 {proof.hex()}")
    every = hashlib.sha256("".join(f"{p} {proof.hex()}\n" for p, proof in sorted(proofs.items())).encode())
    count = len(read.events)
    print(f"output sha256 {every.hexdigest()}")
    print(f"{count:,} events in {seconds:.2f} s, {count / max(seconds, 1e-9):,.0f} events/s "
          f"({count / max(cpu, 1e-9):,.0f} per core-second); rules {checksum(known)}")  # fmt: skip
    for reason, number in sorted(doubts.items()):
        print(f"  {reason}: {number:,}")


@contextmanager
def _quiet_on_failure(progress: Progress) -> Iterator[None]:
    """Bad input is told in one line, without the bars that it stopped."""
    try:
        yield
    except BaseException:
        progress.console.quiet = True
        raise


class _Writing:
    """The third bar."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("writing", total=total)

    def __call__(self, rows: int) -> None:
        self._progress.advance(self._task, rows)


def _score(
    engine: str, compiled: Compiled, read: ReadEvents, fields: Fields, zone: ZoneInfo, threads: int
) -> tuple[Lines, Counter[str]]:
    """Lines by one engine, and how many events wait for which reason, SCORED or REPEATED."""
    rule_set = compiled.rule_set
    shares = compile_shares(rule_set, fields.held)
    result = batch.run(compiled, shares, read.events, threads)
    counts = np.bincount(result.doubt, minlength=len(batch.REASONS)).tolist()
    doubts = Counter({getattr(r, "value", "SCORED"): n for r, n in zip(batch.REASONS, counts, strict=True) if n})
    doubts += Counter({"REPEATED": read.repeated})
    if engine == "kernel":
        return from_result(result, rule_set, shares), doubts
    if engine == "sql":
        found = shadow(rule_set, read.events, fields.table(), threads)
        return _lines(found.lines, found.period, rule_set), doubts
    told, place = told_rows(read)
    reading = interpret(rule_set, told, fields.held, zone)
    lines = [
        (place[line.source, line.source_event_id], line.rule_id, line.role, line.staff_id, line.period_id,
         line.milli_points)
        for line in reading.lines
    ]  # fmt: skip
    period: list[PeriodRow] = [
        (p.period_id, p.rule_id, p.customer_key, p.day.toordinal() if p.day else None, p.staff_id, p.milli_points)
        for p in reading.period
    ]
    waits = Counter(reason.value for reason in reading.waits.values())
    scored = Counter({"SCORED": len(told) - waits.total(), "REPEATED": read.repeated})
    return _lines(lines, period, rule_set), scored + waits


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
    return Lines(event, of_rule, of_role, whose, amounts, rule_ids, roles, staff_ids, period)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise BadInput(f"--timezone {name} is not a time zone") from error
