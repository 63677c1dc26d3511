"""`python -m services.ingest check --feed FEED.yaml FILE…`: tells a supplier what is wrong, before he sends.

Same contract, same judging as the service; nothing is stored, and no value of a row is printed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from services.ingest.domain import definition, lines, reconciliation
from services.ingest.domain.contract import Judge
from services.ingest.domain.delivery import Problem
from services.ingest.domain.feed import Feed
from services.ingest.domain.reconciliation import Tally
from services.ingest.lake.landing import read_blocks, read_control, read_measured
from services.kit.errors import Refusal

_SHOWN = 20


def check(words: Sequence[str]) -> int:
    """Check files against a feed's definition; gives 0 when all would be loaded, 1 when not, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m services.ingest check", description="Check files before sending.")
    parser.add_argument("--feed", type=Path, required=True, help="the feed's definition, YAML")
    parser.add_argument("--timezone", default="Asia/Shanghai", help="zone of the local times in the files")
    parser.add_argument("files", type=Path, nargs="+", help="data files, each beside its control file")
    arguments = parser.parse_args(words)
    try:
        feed = definition.read(arguments.feed.read_text(encoding="utf-8"))
    except Refusal as refusal:
        for path, problem in refusal.fields:
            print(f"{arguments.feed}: {path.removeprefix('feed.definition.')}: {problem}", file=sys.stderr)
        return 2
    return max([_check(feed, path, arguments.timezone) for path in arguments.files])


def _check(feed: Feed, path: Path, zone: str) -> int:
    place = feed.match(path.name)
    if place is None:
        print(f"{path}: NAME_UNKNOWN: the contract's pattern is {feed.file_name}")
        return 1
    measured = read_measured(path)
    control = path.with_suffix(feed.control.suffix)
    if not control.exists():
        print(f"{path}: CONTROL_FILE_MISSING: {control.name} is not there")
        return 1
    stated = reconciliation.read_control(read_control(control), feed.control)
    problems = (
        [stated]
        if isinstance(stated, Problem)
        else reconciliation.compare(path.name, measured, stated, header=feed.header)
    )
    problems = problems or reconciliation.usable(measured, header=feed.header)
    if not problems:
        tally, rejected = _judge(feed, path, Judge(feed, place[0], zone))
        for line, column, reason in rejected.head(_SHOWN).rows():
            print(f"{path}:{line}: {reason}: {reconciliation.explain(feed, column, reason)}")
        verdict = tally.verdict(feed, reconciliation.source_rows(measured, header=feed.header))
        print(f"{path}: {tally.loaded} rows good, {tally.rejected} bad")
        problems = [verdict] if verdict else []
    for problem in problems:
        print(f"{path}: {problem.reason}: {problem.message}")
    return 1 if problems else 0


def _judge(feed: Feed, path: Path, judge: Judge) -> tuple[Tally, pl.DataFrame]:
    tally = Tally()
    found: list[pl.DataFrame] = []
    names = [column.name for column in feed.columns]
    for batch in lines.without_head(lines.batches(read_blocks(path)), header=feed.header):
        split = lines.split(batch, encoding=feed.encoding, delimiter=feed.delimiter, names=names)
        result = judge.judge(split.rows)
        bad = pl.concat([split.broken, result.bad]).sort("line")
        tally.add(result.good.height, bad)
        if sum(each.height for each in found) < _SHOWN:
            found.append(bad.select("line", "column", "reason"))
    return tally, pl.concat(found)
