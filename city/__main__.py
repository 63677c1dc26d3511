"""The city's command line: `python -m city [generate] …` and `python -m city answer …`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from city.answer import Answer, answer
from city.files import CityError, Delivered
from city.generate import Order, generate


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m city", description="The synthetic city: operator files with planted truth, from one seed."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("generate", help="write a city's operator files and its truth (the default verb)")
    make.add_argument("--customers", type=int, default=5000, metavar="N", help="how many customers (default 5000)")
    make.add_argument("--days", type=int, default=30, metavar="D", help="how many days of signalling (default 30)")
    make.add_argument("--seed", type=int, default=1, metavar="S", help="same seed, same bytes (default 1)")
    make.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the operator files")
    make.add_argument("--truth", type=Path, metavar="DIR", help="folder for the truth (default: <out>-truth)")
    make.add_argument(
        "--start",
        type=date.fromisoformat,
        default=date(2026, 9, 1),
        metavar="YYYY-MM-DD",
        help="first day (default 2026-09-01)",
    )
    make.add_argument(
        "--wrong-map", type=float, default=0.0, metavar="SHARE", help="share of the cell-place rows that are wrong"
    )
    make.add_argument(
        "--shared-cells", type=float, default=0.0, metavar="SHARE", help="share of the places that share a cell"
    )
    reply = verbs.add_parser("answer", help="answer OCRM hand-over files with feedback, orders and business events")
    reply.add_argument("--handover", type=Path, required=True, metavar="DIR", help="folder of OCRM_CONTACT_*.TXT")
    reply.add_argument("--truth", type=Path, required=True, metavar="DIR", help="the city's truth folder")
    reply.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the answer's operator files")
    reply.add_argument("--seed", type=int, metavar="S", help="seed of the outcomes (default: the city's own)")
    for verb in (make, reply):
        verb.add_argument("--quiet", action="store_true", help="no progress bars and no summary")
    return parser


def _summary(console: Console, delivered: Sequence[Delivered]) -> None:
    table = Table("feed", "files", "rows", "of these dirty", "MB")
    for feed in dict.fromkeys(file.feed for file in delivered):
        files = [file for file in delivered if file.feed == feed]
        rows, dirty = sum(file.rows for file in files), sum(len(file.dirty) for file in files)
        size = sum(file.size for file in files) / 1e6
        table.add_row(feed, str(len(files)), f"{rows:,}", str(dirty), f"{size:,.1f}")
    console.print(table)


def _generate(options: argparse.Namespace) -> list[Delivered]:
    out: Path = options.out
    order = Order(
        options.customers,
        options.days,
        options.seed,
        options.start,
        out,
        options.truth or out.resolve().with_name(out.resolve().name + "-truth"),
        options.wrong_map,
        options.shared_cells,
    )
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=options.quiet) as progress:
        bars = {stage: progress.add_task(stage, total=None) for stage in ("people", "files", "days lived")}
        return generate(order, lambda stage, done, total: progress.update(bars[stage], completed=done, total=total))


def main(arguments: Sequence[str]) -> int:
    """Runs one verb; 0 when all is written, 2 when the user can put something right."""
    words = list(arguments)
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help"):
        words.insert(0, "generate")
    options = _parser().parse_args(words)
    try:
        if options.verb == "generate":
            delivered = _generate(options)
        else:
            delivered = answer(Answer(options.handover, options.truth, options.out, options.seed))
    except (CityError, OSError) as error:
        print(f"city: {error}", file=sys.stderr)
        return 2
    if not options.quiet:
        _summary(Console(), delivered)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
