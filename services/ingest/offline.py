"""`python -m services.ingest check --feed FEED.yaml FILE…`: tells a supplier what is wrong, before he sends.

Same contract, same judging as the service; nothing is stored, and no value of a row is printed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from services.ingest.domain import definition, lines, reconciliation
from services.ingest.domain.contract import Judge
from services.ingest.domain.delivery import Problem
from services.ingest.domain.feed import Feed, control_name
from services.ingest.domain.reconciliation import Measured, Tally
from services.ingest.lake import content
from services.ingest.lake.landing import read_control, read_measured
from services.kit.errors import Refusal

_EXAMPLE = """\
example:
  python -m services.ingest check --feed services/ingest/feeds/bills.yaml out/BILL_20260801_001.TXT

Each data file lies beside its control file (BILL_20260801_001.CHK). Files may be compressed (.gz, .zst, .zip).
References to other
feeds are not looked up.

exit code: 0 all would be loaded without a rejected row, 1 there are findings, 2 it could not be checked.
"""


class _Unusable(Exception):
    """The command cannot be done; the message says what to mend."""


def check(words: Sequence[str]) -> int:
    """Check files against a feed's definition; gives 0 when all is good, 1 with findings, 2 for wrong usage."""
    arguments = _parser().parse_args(words)
    try:
        feed = _feed(arguments.feed)
        _check_usage(arguments)
    except _Unusable as unusable:
        print(f"check: {unusable}", file=sys.stderr)
        return 2
    out, worst = Console(width=None if sys.stdout.isatty() else 160, highlight=False), 0
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        for path in progress.track(arguments.files, description="checking"):
            findings = _Findings(path, arguments.most)
            _check(feed, path, arguments.timezone, findings)
            findings.show(out)
            worst = max(worst, int(findings.bad))
    return worst


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.ingest check",
        description="Tell what is wrong with files before they are sent.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--feed", type=Path, required=True, metavar="FEED.yaml", help="the feed's definition")
    parser.add_argument("--timezone", default="Asia/Shanghai", help="zone of the local times in the files")
    parser.add_argument("--most", type=int, default=20, metavar="N", help="rows shown per file (default 20)")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="data files, each beside its control file")
    return parser


def _feed(path: Path) -> Feed:
    try:
        return definition.read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _Unusable(f"--feed {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _Unusable(f"--feed {path}: is not UTF-8") from error
    except Refusal as refusal:
        told = [f"{key.removeprefix('feed.definition').lstrip('.')}: {problem}" for key, problem in refusal.fields]
        raise _Unusable(f"--feed {path}: {'; '.join(each.removeprefix(': ') for each in told)}") from refusal


def _check_usage(arguments: argparse.Namespace) -> None:
    try:
        ZoneInfo(arguments.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise _Unusable(f"--timezone {arguments.timezone}: no zone has this name") from error
    if arguments.most < 0:
        raise _Unusable("--most must not be negative")
    for path in arguments.files:
        if not path.is_file():
            raise _Unusable(f"{path}: {'is no file' if path.exists() else 'No such file or directory'}")


class _Findings:
    """What is said of one file."""

    def __init__(self, path: Path, most: int) -> None:
        self._path = path
        self._most = most
        self._rows: list[tuple[str, str, str, str]] = []
        self._tally: Tally | None = None

    @property
    def bad(self) -> bool:
        """Whether anything was found."""
        return bool(self._rows)

    def whole(self, problems: Sequence[Problem]) -> None:
        """Problems of the file as a whole: it would be held."""
        self._rows += [("", "", problem.reason, problem.message) for problem in problems]

    def rows(self, feed: Feed, tally: Tally, rejected: pl.DataFrame) -> None:
        """Rejected rows."""
        self._tally = tally
        shown = rejected.head(self._most).rows()
        self._rows += [
            (str(line), column, reason, reconciliation.explain(feed, column, reason)) for line, column, reason in shown
        ]
        left = tally.rejected - len(shown)
        if left:
            self._rows.append(("…", "", "", f"and {left} more rows"))

    def show(self, out: Console) -> None:
        """Print them: one line when all is good, else a table."""
        counts = f"{self._tally.loaded} rows good, {self._tally.rejected} bad" if self._tally else "not looked into"
        out.print(f"{self._path}: {counts}", markup=False, soft_wrap=True)
        if self._rows:
            table = Table("line", "column", "reason", "what is wrong")
            for row in self._rows:
                table.add_row(*row)
            out.print(table)


def _check(feed: Feed, path: Path, zone: str, findings: _Findings) -> None:
    place = feed.match(path.name)
    if place is None:
        findings.whole([Problem("NAME_UNKNOWN", f"the contract's pattern is {feed.file_name}")])
        return
    try:
        measured = read_measured(path)
        problems = _control_problems(feed, path, measured)
    except OSError as error:
        findings.whole([Problem("NOT_READABLE", error.strerror or "it cannot be read")])
        return
    fatal = reconciliation.usable(measured, header=feed.header)
    findings.whole([*problems, *(each for each in fatal if each not in problems)])
    if fatal:
        return
    tally, rejected = _judge(feed, path, Judge(feed, place[0], zone))
    findings.rows(feed, tally, rejected)
    verdict = tally.verdict(feed, reconciliation.source_rows(measured, header=feed.header))
    findings.whole([verdict] if verdict else [])
    if not problems and feed.control.totals:
        stated = reconciliation.read_control(_control(feed, path), feed.control)
        findings.whole([] if isinstance(stated, Problem) else tally.differences(stated))


def _control_problems(feed: Feed, path: Path, measured: Measured) -> list[Problem]:
    name = control_name(path.name, feed.control)
    if not path.with_name(name).is_file():
        return [Problem("CONTROL_FILE_MISSING", f"{name} is not there")]
    stated = reconciliation.read_control(_control(feed, path), feed.control)
    if isinstance(stated, Problem):
        return [stated]
    return reconciliation.compare(path.name, measured, stated, header=feed.header)


def _control(feed: Feed, path: Path) -> bytes:
    return read_control(path.with_name(control_name(path.name, feed.control)))


def _judge(feed: Feed, path: Path, judge: Judge) -> tuple[Tally, pl.DataFrame]:
    tally = Tally()
    found: list[pl.DataFrame] = []
    names = [column.name for column in feed.columns]
    for batch in lines.without_head(lines.batches(content.blocks(path)), header=feed.header):
        split = lines.split(batch, encoding=feed.encoding, delimiter=feed.delimiter, names=names)
        result = judge.judge(split.rows)
        bad = pl.concat([split.broken, result.bad]).sort("line")
        tally.add(result.good.height, bad)
        tally.sum(split.rows, feed.control.totals)
        found.append(bad.select("line", "column", "reason"))
    return tally, pl.concat(found)
