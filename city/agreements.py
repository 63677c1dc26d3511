"""What the operator's systems say of plans, of terminals, and of agreements: contracts with a term, corporate members.

Every draw is of a stream of its own (`agreements.…`), so that nothing else of a seed changes.
"""

from pathlib import Path

import numpy as np
import polars as pl

from city.accounts import Accounts, device_names, plan_names
from city.dice import Dice, Ints
from city.files import Delivered, deliver
from city.people import LEFT, People
from city.tables import Days, numbers

CLASSES = ("入门", "中端", "高端", "旗舰")
_MODELS = 36
_MAKERS = 6
_TERMS = (12, 24)
_BOUND, _MEMBER = 0.4, 0.25
"""Shares: of everybody who has a contract, of those with a place of work who are members of its corporate customer."""


def write(people: People, accounts: Accounts, dice: Dice, days: Days, out: Path) -> list[Delivered]:
    """Writes the plans, the terminals and the agreements, as of the start."""
    frames = {"plans": plans(), "terminals": terminals(), "agreements": agreements(people, dice, days)}
    return [deliver(out, feed, days.start, frame) for feed, frame in frames.items()]


def plans() -> pl.DataFrame:
    """All plans with what they hold."""
    names = plan_names(np.arange(len(numbers("plans", "fee_fen"))))
    held = {name: numbers("plans", name).astype(np.int64) for name in ("fee_fen", "voice_minutes", "data_mb")}
    return pl.DataFrame({"plan": names, "name": names + "元套餐", **held})


def terminals() -> pl.DataFrame:
    """All terminals: the series and the radio generation make the class."""
    device = np.arange(_MODELS)
    series, radio = device // 2 // _MAKERS, device % 2
    rank = np.array([1, 0, 2])[series] + radio
    told = {"device": device_names(device), "terminal_class": pl.Series(CLASSES).gather(rank), "radio": 4 + radio}
    return pl.DataFrame(told)


def agreements(people: People, dice: Dice, days: Days) -> pl.DataFrame:
    """Contracts of 12 or 24 months, begun at any time of their term, and members of corporate customers."""
    everybody = np.flatnonzero(people.status != LEFT)
    bound = everybody[dice.uniform("agreements.bound", everybody) < _BOUND]
    term = np.array(_TERMS)[dice.choice([0.5, 0.5], "agreements.term", bound)]
    gone = np.floor(term * dice.uniform("agreements.gone", bound)).astype(np.int64)
    first = np.datetime64(days.start.replace(day=1), "M") - gone
    last = (first + term).astype("datetime64[D]") - np.timedelta64(1, "D")
    contracts = _frame(people, bound, "contract", bound, first.astype("datetime64[D]")).with_columns(
        to_date=pl.Series(last).dt.strftime("%Y%m%d")
    )
    working = everybody[people.work[everybody] >= 0]
    member = working[dice.uniform("agreements.member", working) < _MEMBER]
    since = np.full(len(member), np.datetime64(f"{days.start.year - 1}-01-01"))
    groups = _frame(people, member, "group", people.work[member], since).with_columns(to_date=pl.lit(""))
    return pl.concat([contracts, groups]).sort("msisdn", "kind")


def _frame(people: People, who: Ints, kind: str, reference: Ints, first: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "msisdn": people.msisdn[who],
            "kind": [kind] * len(who),
            "reference": [f"{kind[0].upper()}{number:07d}" for number in reference.tolist()],
            "from_date": pl.Series(first).dt.strftime("%Y%m%d"),
        }
    )
