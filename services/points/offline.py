"""Offline verbs for analysts: files in, files out, the same domain code as the service, no database.

    python -m services.points replay --rules RULES.yaml --events EVENTS.parquet [--fields FIELDS.parquet]
        [--adjustments ADJUSTMENTS.parquet] --out ENTRIES.parquet [--engine kernel|sql|reference] [--threads 1]
        [--timezone Asia/Shanghai]
    python -m services.points rules RULES.yaml --out RULES.xlsx      (or the other way round)

RULES     YAML (the format stands at the top of domain/rule_text.py) or Excel (domain/rule_sheet.py);
          services/points/examples/ holds the same rules as both; or a folder of versions NAME@DATE.yaml or .xlsx, each
          in force from its day until the next of its name is
EVENTS    source, source_event_id, type, customer_key, amount_fen, occur_time (timestamp with a zone); and, if there
          are, product_id, category, channel, staff_id, staff_role, customer_type, origin_event_id, cell_id, grid_id,
          receive_time, known_revision
FIELDS    customer_key (or cell_id or grid_id), staff_id, role, share_bps, valid_from, valid_to (dates or timestamps;
          null: open); and, if there are, known_from_revision, known_to_revision
ADJUSTMENTS   adjustment_id, staff_id, component, milli_points, occur_time
ENTRIES   kind, source, source_event_id, occur_time, period_id, rule_id, component, account, contra_account, staff_id,
          role, milli_points, origin_event_id, customer_key, business_date; one double entry a row

Every named employee and product counts as known, and the rules of a file as in force on every day. The checksum printed
for a period is the one that GetPeriod gives as accrual_sha256 for the same events, rules, fields and adjustments, which
ExportPeriod gives as such files: anybody can prove a period. All engines,
any number of threads and any order of the rows give the same file and the same checksum.
Exit status: 0 done, 2 bad input, with one line that says what and where.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from services.points.domain import rule_sheet, rule_text
from services.points.domain.gate import findings
from services.points.domain.rule_set import checksum
from services.points.lake.entries import write
from services.points.lake.events import BadInput, read_events
from services.points.lake.fields import read_fields
from services.points.lake.replay import ENGINES, How, as_events, read_adjustments, read_rules, read_versions, score

_FILES = (("rules", True), ("events", True), ("fields", False), ("adjustments", False), ("out", True))


def replay(arguments: Sequence[str]) -> int:
    """Score a file of events from nothing."""
    parser = _parser("replay", "Score a file of events from nothing.")
    for name, needed in _FILES:
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


def _replay(wanted: argparse.Namespace) -> None:
    zone = _zone(wanted.timezone)
    versions = read_versions(wanted.rules)
    began, spent = time.perf_counter(), time.process_time()
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bar, console=Console(stderr=True)) as progress, _quiet_on_failure(progress):
        reading = progress.add_task("reading", total=None)
        more = read_adjustments(wanted.adjustments)
        read = read_events(wanted.events, zone, lambda rows: progress.advance(reading, rows), as_events(more))
        fields = read_fields(wanted.fields, zone)
        progress.update(reading, total=len(read.events), completed=len(read.events))
        scoring = progress.add_task(f"scoring ({wanted.engine})", total=len(read.events))
        how = How(wanted.engine, fields, zone, wanted.threads)
        lines, doubts = score(versions, read, how, more)
        progress.update(scoring, completed=len(read.events))
        proofs = write(wanted.out, read, lines, _Writing(progress, len(lines.event) + len(lines.period)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    for period_id, proof in sorted(proofs.items()):
        print(f"{period_id}  {proof.lines:,} lines  {proof.milli_points:,} milli-points  sha256 {proof.hex()}")
    every = hashlib.sha256("".join(f"{p} {proof.hex()}\n" for p, proof in sorted(proofs.items())).encode())
    count = len(read.events)
    print(f"output sha256 {every.hexdigest()}")
    print(f"{count:,} events in {seconds:.2f} s, {count / max(seconds, 1e-9):,.0f} events/s "
          f"({count / max(cpu, 1e-9):,.0f} per core-second); rules "
          f"{', '.join(checksum(each.compiled.rule_set) for each in versions)}")  # fmt: skip
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


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise BadInput(f"--timezone {name} is not a time zone") from error
