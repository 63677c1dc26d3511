"""`python -m services.portrait compute …`: from raw signalling to life circles, files in, files out, no database."""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from services.portrait.domain.calendar import MOST_DAYS, Window, WorkCalendar, parse_calendar
from services.portrait.domain.cells import places_of as place_numbers
from services.portrait.domain.homes import Seen, definitions
from services.portrait.domain.place import NOWHERE
from services.portrait.domain.tag import Catalogue, parse
from services.portrait.domain.track import SLOTS_A_DAY, Rows, stays
from services.portrait.lake.mapping import zone_offset
from services.portrait.offline.facts import CellNames, People, base_of, events_of, map_of, people_of, places_of
from services.portrait.offline.inputs import InputError, Read, batches_of, files_of, millis, rows_about
from services.portrait.offline.outputs import Outputs
from services.portrait.offline.spool import Spool
from services.portrait.usecases.bucket import Work, lives

_BUCKET_ROWS = 4_000_000
_MOST_BUCKETS = 500
"""Each is an open file."""
_MOST_BROKEN = 0.05
_EPILOG = """\
Tables are CSV (with a header; UTF-8 or GB18030) or Parquet; columns go by name, others are ignored:
  signalling  customer_id, time, cell_id (or lac and cell); one file or a folder of files
  cells       cell_id (or lac and cell), place_id, weight (default 1), lon, lat (both optional), valid_from, valid_to
  places      place_id, class_code (dotted, e.g. edu.school.university), name, town, lon, lat
  profiles    customer_id and any of the catalogue's stat_columns (age, arpu_3m_avg, …); status, org_id
  events      event_id, type, place_id, start_time, end_time
Times: timestamps, 2026-09-01 08:30:00, ISO 8601 with an offset, 20260901083000, or seconds or milliseconds since 1970;
without an offset they are local times of --timezone. customer_id and cell_id may be numbers or texts. The operator's
own files (SIGNAL_*.TXT, PLACE_*.TXT, CELL_*.TXT with --cell-places CELLPLACE_*.TXT, …) are read as they are.

Written to --out: visits, dwell, grades, anchors, homes, tags, features (.parquet) and summary.json.

Example:
  python -m services.portrait compute --signalling sig/ --cells cells.csv --places places.csv --profiles people.csv \\
      --events events.csv --catalogue services/portrait/catalogue/tags.yaml --from 2026-09-01 --to 2026-09-30 --out out/
"""


@dataclass(frozen=True)
class Order:
    """What was asked for, checked."""

    signalling: list[Path]
    window: Window
    catalogue: Catalogue
    calendar: WorkCalendar
    out: Path
    repair: bool
    run_id: str


def compute(words: Sequence[str]) -> int:
    """Compute life circles of files; gives 0, or 2 with one line on what the caller can put right."""
    options = _parser().parse_args(words)
    try:
        order = _order(options)
        places = places_of(options.places)
        cells = map_of(options.cells, options.cell_places, places)
        events = events_of(options.events, places, order.catalogue, options.timezone) if options.events else ()
        with _progress(options.quiet) as bars:
            about = rows_about(order.signalling)
            buckets = options.buckets or min(max(1, -(-about // _BUCKET_ROWS)), _MOST_BUCKETS)
            with Spool(order.out, buckets) as spool:
                people = people_of(options.profiles, order.catalogue)
                read = _deal(order, cells, spool, people, bars, about)
                base = base_of(
                    people, order.window, order.calendar, order.catalogue, places, cells.stated, events,
                    spool.sample(), repair=order.repair,
                )  # fmt: skip
                work = Work(order.run_id, base, order.window, order.calendar, order.catalogue, buckets)
                summary = _compute(order, work, spool, people, bars)
        _tell(order, summary | {"signalling_rows": read.rows, "broken_rows": read.broken}, options.quiet)
    except (InputError, OSError) as error:
        print(f"portrait compute: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.portrait compute",
        description="Signalling to visits, dwell, home, work and study, and all tags of a catalogue, with evidence.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--signalling", type=Path, required=True, metavar="DIR|FILE", help="who was heard where, when")
    parser.add_argument("--cells", type=Path, required=True, metavar="CELLS", help="cells and the places they serve")
    parser.add_argument("--cell-places", type=Path, metavar="FILE", help="the places by cell, when --cells has none")
    parser.add_argument("--places", type=Path, required=True, metavar="PLACES", help="places with their class")
    parser.add_argument("--profiles", type=Path, metavar="FILE", help="static columns of customers")
    parser.add_argument("--events", type=Path, metavar="FILE", help="city events: games, concerts, shows")
    parser.add_argument("--catalogue", type=Path, required=True, metavar="YAML", help="the tag catalogue, lct/1")
    parser.add_argument("--from", dest="first", required=True, metavar="DATE", help="first day, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", required=True, metavar="DATE", help="last day, inclusive")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--timezone", default="Asia/Shanghai", help="zone of local times (default Asia/Shanghai)")
    parser.add_argument("--calendar", type=Path, help="work calendar date,kind (default: China's)")
    parser.add_argument(
        "--map",
        choices=("repair", "as-stated"),
        default="repair",
        help="read impossible map rows as what they must be (default), or as they stand",
    )
    parser.add_argument("--buckets", type=int, default=0, help="parts computed one by one (default: by the size)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    return parser


def _order(options: argparse.Namespace) -> Order:
    """Raises InputError."""
    try:
        first, last = date.fromisoformat(options.first), date.fromisoformat(options.last)
        ZoneInfo(options.timezone)
    except (ValueError, KeyError, OSError) as error:
        raise InputError(f"--from, --to or --timezone: {error}") from error
    if not 0 <= (last - first).days < MOST_DAYS:
        raise InputError(f"--to must be 0 to {MOST_DAYS - 1} days after --from")
    if not 0 <= options.buckets <= _MOST_BUCKETS:
        raise InputError(f"--buckets must be 0 to {_MOST_BUCKETS}")
    try:
        document = yaml.safe_load(options.catalogue.read_text(encoding="utf-8"))
        catalogue = parse(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{options.catalogue}: {' '.join(str(error).split())}") from error
    shipped = Path(__file__).parents[1] / "calendar.csv"
    try:
        calendar = parse_calendar((options.calendar or shipped).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{options.calendar}: {error}") from error
    window = Window(first, last, options.timezone)
    run_id = f"{last:%Y%m%d}-{hashlib.sha256(f'{first}{last}{catalogue.digest}'.encode()).hexdigest()[:12]}"
    signalling = files_of(options.signalling)
    _writable(options.out)
    return Order(signalling, window, catalogue, calendar, options.out, options.map == "repair", run_id)


def _writable(out: Path) -> None:
    """Make the folder, and find out before hours of work that nothing can be written to it. Raises InputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"\0")
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from error


def _progress(quiet: bool) -> Progress:
    columns = (
        TextColumn("{task.description:<20}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    return Progress(*columns, console=Console(stderr=True), disable=quiet)


def _deal(order: Order, cells: CellNames, spool: Spool, people: People, bars: Progress, about: int) -> Read:
    """Read all signalling into the spool. Raises InputError."""
    bar = bars.add_task("reading signalling", total=about)
    borders, read, unusable = order.window.borders(), Read(), 0
    for path in order.signalling:
        for batch in batches_of(path, ("customer_id", "time", "cell_id"), read):
            time = millis(batch["time"], order.window.zone)
            customer = people.keys_of(batch["customer_id"])
            usable = pc.and_(pc.is_valid(time), pc.is_valid(customer))
            unusable += len(time) - (pc.sum(usable).as_py() or 0)
            time, customer = pc.fill_null(time, 0), pc.fill_null(customer, -1)
            cell = cells.numbers_of(batch["cell_id"])
            time_, customer_ = _longs(time), _longs(customer)
            kept = (customer_ >= 0) & (time_ >= borders[0]) & (time_ < borders[-1])
            line = np.arange(read.rows - len(time_), read.rows, dtype=np.int64).astype(np.int32)
            spool.put(customer_[kept], time_[kept], cell[kept], line[kept])
            people.heard(customer_[kept])
            bars.update(bar, completed=min(read.rows, about))
    bars.update(bar, completed=about)
    read.broken += unusable
    if read.broken > _MOST_BROKEN * max(read.rows, 1):
        raise InputError(f"{order.signalling[0].parent}: {read.broken} of {read.rows} signalling rows cannot be read")
    return read


def _longs(column: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def _compute(order: Order, work: Work, spool: Spool, people: People, bars: Progress) -> dict[str, object]:
    bar = bars.add_task("computing", total=work.buckets)
    with Outputs(order.out, work, people) as outputs:
        for bucket in range(work.buckets):
            at = work.base.bucket(bucket, work.buckets)
            found = spool.take(bucket)
            customer = np.searchsorted(work.base.customer_key[at], found["customer"]).astype(np.int32)
            place = place_numbers(found["cell"], found["time"], work.base.cells.cells)
            rows = Rows(customer, found["time"], place, found["line"])
            stayed = stays(rows, len(at), work.window.borders()[::SLOTS_A_DAY], work.catalogue.track)
            visits, life = lives(work, bucket, at, stayed)
            outputs.add(visits, life, _homes(work, rows, len(at)))
            bars.update(bar, completed=bucket + 1)
        return outputs.finish()


def _homes(work: Work, rows: Rows, customers: int) -> Mapping[str, npt.NDArray[np.int32]]:
    """Homes by the definitions of others: a shared cell counts for the place of its largest weight."""
    shared = work.base.cells.cells.shared
    known = np.append(shared.place[shared.first[:-1]], np.int32(NOWHERE))
    undecided = rows.place >= shared.places
    place = np.where(undecided, known[np.where(undecided, rows.place - shared.places, -1)], rows.place)
    local = rows.time + zone_offset(work.window)
    return definitions(Seen.of(rows.customer, local, place, rows.line), customers)


def _tell(order: Order, summary: dict[str, object], quiet: bool) -> None:
    (order.out / "summary.json").write_text(
        json.dumps(summary, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
    if not quiet:
        shown = ", ".join(f"{summary[name]:,} {name.replace('_', ' ')}" for name in (
            "signalling_rows", "customers", "visits", "dwell_rows", "anchors", "tag_values"
        ))  # fmt: skip
        print(f"{order.out}: {shown}")
