"""Fraud planted among the business events: `python -m city.fraud --files DIR --truth DIR [--seed S]`.

Adds one file `BIZEVT_<last day>_700.TXT` to a city's files and `fraud.csv` to its truth; what is there stays byte for
byte. Four patterns: the same business told twice (replay), an employee who sells to himself (self_referral), sales
taken back as soon as the month that they counted for is over (void_after_earn), one order in pieces (split_orders).
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from city.files import CityError, deliver

SEQUENCE = 700
EACH = 3
"""Instances of each pattern."""


@dataclass(frozen=True)
class Sale:
    """A business event as the operator tells it; `pattern` is the truth, "" for a bystander of one."""

    event_id: str
    time: datetime
    type: str
    msisdn: int
    product_id: str
    staff_id: str
    channel: str
    amount_fen: int
    origin_event_id: str
    pattern: str


def plant(customers: Sequence[tuple[int, str]], last: date, seed: int) -> tuple[list[Sale], dict[str, int]]:
    """Draws the events of the patterns and the own numbers of the employees who sell to themselves.

    `customers` are (msisdn, who serves him); `last` is the last day of the city.
    """
    dice = random.Random(f"fraud/{seed}")
    drawn = dice.sample(list(customers), EACH * 4)
    made: list[Sale] = []
    own: dict[str, int] = {}

    def sale(pattern: str, who: tuple[int, str], at: datetime, fen: int, kind: str = "NEW", of: str = "") -> Sale:
        name = f"F{last:%Y%m%d}{len(made) + 1:05d}"
        made.append(Sale(name, at, kind, who[0], "P01", who[1], "store", fen, of, pattern))
        return made[-1]

    noon = datetime.combine(last - timedelta(days=6), time(12))
    for n, who in enumerate(drawn[:EACH]):
        at = noon + timedelta(hours=n)
        sale("", who, at, 4_000 + n)
        sale("REPLAY", who, at + timedelta(minutes=dice.randint(1, 8)), 4_000 + n)
    for n, who in enumerate(drawn[EACH : 2 * EACH]):
        own[who[1]] = who[0]
        sale("SELF_REFERRAL", who, noon + timedelta(days=1, hours=n), 5_000 + n)
    cheat = drawn[2 * EACH][1]
    after = datetime.combine((last.replace(day=1) + timedelta(days=32)).replace(day=3), time(9))
    for n, (msisdn, _) in enumerate(drawn[2 * EACH : 3 * EACH]):
        sold = sale("VOID_AFTER_EARN", (msisdn, cheat), noon + timedelta(days=2, hours=2 * n), 6_000 + n)
        sale("", (msisdn, cheat), after + timedelta(minutes=n), 6_000 + n, "REFUND", sold.event_id)
    for n, who in enumerate(drawn[3 * EACH :]):
        for piece in range(3):
            at = noon + timedelta(days=3, hours=2 * n, minutes=12 * piece)
            sale("SPLIT_ORDERS", who, at, 1_000 + 10 * n + piece)
    return made, own


def write(files: Path, truth: Path, seed: int) -> list[Sale]:
    """Adds the file and the truth; gives the events."""
    try:
        manifest = json.loads((truth / "manifest.json").read_text())
        rows = list(csv.DictReader((truth / "customers.csv").open(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CityError(f"{truth}: {error}") from error
    last = date.fromisoformat(manifest["last"])
    made, own = plant([(int(r["msisdn"]), r["serving_staff"]) for r in rows if r["serving_staff"]], last, seed)
    told = [
        {"event_id": s.event_id, "time": f"{s.time:%Y%m%d%H%M%S}", "type": s.type, "msisdn": s.msisdn,
         "product_id": s.product_id, "staff_id": s.staff_id, "channel": s.channel, "amount_fen": s.amount_fen,
         "origin_event_id": s.origin_event_id}
        for s in made
    ]  # fmt: skip
    deliver(files, "business_events", last, pl.DataFrame(told), (), sequence=SEQUENCE)
    with (truth / "fraud.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["event_id", "pattern", "staff_id", "msisdn", "own_msisdn"])
        writer.writerows(
            [s.event_id, s.pattern, s.staff_id, s.msisdn, own.get(s.staff_id, "")] for s in made if s.pattern
        )
    return made


def main(arguments: Sequence[str]) -> int:
    """Plants fraud into a city; 2 when the folders are not a city's."""
    parser = argparse.ArgumentParser(prog="python -m city.fraud", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=Path, required=True, metavar="DIR", help="the city's operator files")
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="the city's truth")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="same seed, same events (default 1)")
    wanted = parser.parse_args(list(arguments))
    try:
        made = write(wanted.files, wanted.truth, wanted.seed)
    except (CityError, OSError) as error:
        print(f"city: {error}", file=sys.stderr)
        return 2
    print(f"{sum(bool(s.pattern) for s in made)} events of fraud among {len(made)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
