"""The city's answer to an OCRM hand-over: feedback of the contacted, openings of everybody.

Whether a customer opens a product without being contacted depends on (seed, msisdn, product) alone, so that contacted
and held-out customers are comparable: a contacted one opens it on his own, or because he was reached and accepts.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from city.dice import Dice, Floats, Ints
from city.files import CityError, Delivered, deliver
from city.products import ORGANIC_SHARE, PRODUCTS
from city.tables import SHANGHAI, numbers

# How often a channel reaches people, and what it makes of the planted acceptance.
REACH = {"sms": 0.92, "call": 0.62, "app": 0.80}
FORCE = {"sms": 0.85, "call": 1.15, "app": 1.00}
OTHER_REACH, OTHER_FORCE = 0.7, 0.9
ANSWER_SEQUENCE = 500  # orders and business events of an answer: 500 + the hand-over's sequence
_COLUMNS = (9, 10)  # without the customers' tags and with them
_NAME = re.compile(r"OCRM_CONTACT_(\d{8})_([0-4]\d{2})\.TXT")
_NOTES = {"unreached": "未接通", "responded": "客户已了解"}
_REFUSALS = ("暂不需要", "资费偏高", "已有同类业务", "再考虑一下")


@dataclass(frozen=True)
class Answer:
    """What to answer, and where to; without a seed the city's own is taken from its manifest."""

    handover: Path
    truth: Path
    out: Path
    seed: int | None = None


@dataclass(frozen=True)
class Contacts:
    """The rows of a hand-over, in its order; products are indices."""

    ids: list[str]
    msisdn: Ints
    product: Ints
    channel: list[str]
    time: list[datetime]


@dataclass(frozen=True)
class Opening:
    """A product opened by a customer."""

    msisdn: int
    product: int
    time: datetime
    channel: str


Rows = list[tuple[str, str, str, str, str | None, str]]


class Town:
    """The people as far as they answer: planted probabilities, who serves whom, and their own wishes."""

    def __init__(self, folder: Path, seed: int | None) -> None:
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            people = pl.read_csv(folder / "customers.csv", columns=["msisdn", "owner_staff", "serving_staff"])
            pairs = pl.read_csv(folder / "acceptance.csv")
            own = int(manifest["seed"])
        except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
            raise CityError(f"{folder} is not a truth folder: {error}") from error
        self.dice = Dice(own if seed is None else seed)
        self.staff = dict(people.select("msisdn", pl.coalesce("owner_staff", "serving_staff")).iter_rows())
        self.msisdn = pairs["msisdn"].to_numpy().astype(np.int64)
        self.product = pairs["product_id"].replace_strict(PRODUCTS, range(len(PRODUCTS))).to_numpy().astype(np.int64)
        self._chance = pairs["probability"].to_numpy()
        self._keys = pair_keys(self.msisdn, self.product)
        self._order = np.argsort(self._keys, kind="stable")

    def chance(self, msisdn: Ints, product: Ints) -> Floats:
        """Planted acceptance; zero for what somebody cannot open, and for strangers."""
        keys = pair_keys(msisdn, product)
        at = np.minimum(np.searchsorted(self._keys, keys, sorter=self._order), len(self._keys) - 1)
        found = self._order[at]
        return np.where(self._keys[found] == keys, self._chance[found], 0.0)

    def alone(self, msisdn: Ints, product: Ints) -> Ints:
        """Which of the pairs open the product without any contact (indices)."""
        wish = self.dice.uniform("answer.organic", msisdn, product)
        return np.flatnonzero(wish < self.chance(msisdn, product) * ORGANIC_SHARE)

    def own_times(self, msisdn: Ints, product: Ints, period: date) -> list[datetime]:
        """When people open alone: within the seven days from the hand-over's date, between nine and eight."""
        days = np.floor(7 * self.dice.uniform("answer.day", msisdn, product))
        seconds = np.floor(39_600 * self.dice.uniform("answer.clock", msisdn, product))
        morning = datetime(period.year, period.month, period.day, 9, tzinfo=SHANGHAI)
        return [morning + timedelta(seconds=wait) for wait in (days * 86_400 + seconds).tolist()]

    def ids(self, openings: list[Opening], prefix: str) -> pl.Series:
        """Ids of the customer and the product alone: an opening told twice is the same opening."""
        bits = self.dice.bits("answer.id", *_pairs(openings))
        return pl.Series([f"{prefix}{number:016x}" for number in bits[: len(openings)].tolist()], dtype=pl.String)


def pair_keys(msisdn: Ints, product: Ints) -> Ints:
    """One number for a customer and a product."""
    return msisdn * 100 + product


def _pairs(openings: list[Opening]) -> tuple[Ints, Ints]:
    pairs = np.array([(one.msisdn, one.product) for one in openings], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def answer(order: Answer) -> list[Delivered]:
    """Answers every hand-over of a folder, oldest first; the same hand-overs always get the same files."""
    files = sorted(path for path in order.handover.glob("OCRM_CONTACT_*.TXT") if _NAME.fullmatch(path.name))
    if not files:
        raise CityError(f"no OCRM_CONTACT_<YYYYMMDD>_<000..499>.TXT in {order.handover}")
    read = [(path, _contacts(path)) for path in files]
    town = Town(order.truth, order.seed)
    order.out.mkdir(parents=True, exist_ok=True)
    delivered: list[Delivered] = []
    opened: set[int] = set()
    for number, (path, contacts) in enumerate(read):
        _, _, day, rest = path.stem.split("_")
        period, sequence = date.fromisoformat(day), int(rest)
        rows, openings = _outcomes(contacts, town, period, opened)
        if number == 0:
            openings += _organic(town, period, contacts, opened)
        openings.sort(key=lambda one: (one.time, one.msisdn, one.product))
        names = ("contact_id", "contact_time", "result", "opened", "open_time", "note")
        feedback = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
        later = ANSWER_SEQUENCE + sequence
        delivered += [
            deliver(order.out, "orders", period, _orders(openings, town), sequence=later),
            deliver(order.out, "business_events", period, _events(openings, town), sequence=later),
            deliver(order.out, "feedback", period, feedback, sequence=sequence),
        ]
    return delivered


def _contacts(path: Path) -> Contacts:
    """The rows of a hand-over whose control file agrees."""
    data = path.read_bytes()
    control = path.with_suffix(".CHK")
    if not control.exists():
        raise CityError(f"{path.name} has no control file {control.name}")
    told = control.read_text(encoding="ascii", errors="replace").strip()
    rows, digest = data.count(b"\n"), hashlib.md5(data, usedforsecurity=False).hexdigest()
    found = f"{path.name}|{rows}|{digest}|{len(data)}"
    if told != found and not re.fullmatch(re.escape(found) + r"\|\d+", told):
        raise CityError(f"{control.name} says {told}, the file is {found}")
    contacts = Contacts([], np.zeros(rows, np.int64), np.zeros(rows, np.int64), [], [])
    line = 0
    try:
        for line, text in enumerate(data.decode("gb18030").split("\n")[:rows], 1):
            fields = text.split("|")
            if len(fields) not in _COLUMNS:
                raise ValueError(f"{len(fields)} columns instead of {' or '.join(map(str, _COLUMNS))}")
            contacts.msisdn[line - 1], contacts.product[line - 1] = int(fields[1]), PRODUCTS.index(fields[4])
            contacts.ids.append(fields[0])
            contacts.channel.append(fields[5])
            contacts.time.append(datetime.strptime(fields[7], "%Y%m%d%H%M%S").replace(tzinfo=SHANGHAI))
    except ValueError as error:
        raise CityError(f"{path.name} line {line}: {error}") from error
    return contacts


def _outcomes(contacts: Contacts, town: Town, period: date, opened: set[int]) -> tuple[Rows, list[Opening]]:
    """Feedback rows of the contacted, and what they opened; also who was not reached may open on his own."""
    msisdn, product = contacts.msisdn, contacts.product
    hashes = [hashlib.blake2b(name.encode(), digest_size=7).digest() for name in contacts.ids]
    turn = np.array([int.from_bytes(digest) for digest in hashes], dtype=np.int64)
    reach, accept, talk, delay = (
        town.dice.uniform("answer." + what, msisdn, product, turn) for what in ("reach", "accept", "talk", "delay")
    )
    reached = reach < np.array([REACH.get(channel, OTHER_REACH) for channel in contacts.channel])
    force = np.array([FORCE.get(channel, OTHER_FORCE) for channel in contacts.channel])
    accepts = reached & (accept < np.minimum(town.chance(msisdn, product) * force, 0.95))
    alone = set(town.alone(msisdn, product).tolist())
    own_times = town.own_times(msisdn, product, period)
    rows: Rows = []
    openings: list[Opening] = []
    for i, key in enumerate(pair_keys(msisdn, product).tolist()):
        asked, new = contacts.time[i], key not in opened
        persuaded, opens = new and bool(accepts[i]), new and (bool(accepts[i]) or i in alone)
        wait = 2 + (28 if contacts.channel[i] == "call" else 2_000) * float(delay[i])
        time = asked + timedelta(seconds=int(60 * wait))
        if opens and not persuaded:
            time = max(own_times[i], asked + timedelta(hours=1))
        if opens:
            opened.add(key)
            channel = contacts.channel[i] if persuaded else "store"
            openings.append(Opening(int(msisdn[i]), int(product[i]), time, channel))
        known = opens and bool(reached[i])
        result = "unreached" if not reached[i] else "responded" if known or talk[i] < 0.15 else "refused"
        note = _NOTES.get(result, _REFUSALS[int(talk[i] * 97) % len(_REFUSALS)])
        when = f"{time:%Y%m%d%H%M%S}" if known else None
        rows.append((contacts.ids[i], f"{asked:%Y%m%d%H%M%S}", result, "Y" if known else "N", when, note))
    return rows, openings


def _organic(town: Town, period: date, contacts: Contacts, opened: set[int]) -> list[Opening]:
    """Openings that no contact caused, of everybody and every product that was not offered to him."""
    offered = np.isin(pair_keys(town.msisdn, town.product), pair_keys(contacts.msisdn, contacts.product))
    msisdn, product = town.msisdn[~offered], town.product[~offered]
    chosen = town.alone(msisdn, product)
    msisdn, product = msisdn[chosen], product[chosen]
    opened.update(pair_keys(msisdn, product).tolist())
    times = town.own_times(msisdn, product, period)
    return [
        Opening(number, item, time, "store")
        for number, item, time in zip(msisdn.tolist(), product.tolist(), times, strict=True)
    ]


def _orders(openings: list[Opening], town: Town) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "order_id": town.ids(openings, "OA"),
            "msisdn": [one.msisdn for one in openings],
            "product_id": [PRODUCTS[one.product] for one in openings],
            "action": ["open"] * len(openings),
            "time": [f"{one.time:%Y%m%d%H%M%S}" for one in openings],
        }
    )


def _events(openings: list[Opening], town: Town) -> pl.DataFrame:
    fees = numbers("products", "fee_fen").astype(np.int64)
    return pl.DataFrame(
        {
            "event_id": town.ids(openings, "A"),
            "time": [f"{one.time:%Y%m%d%H%M%S}" for one in openings],
            "type": ["NEW"] * len(openings),
            "msisdn": [one.msisdn for one in openings],
            "product_id": [PRODUCTS[one.product] for one in openings],
            "staff_id": [town.staff[one.msisdn] for one in openings],
            "channel": [one.channel for one in openings],
            "amount_fen": [int(fees[one.product]) for one in openings],
            "origin_event_id": [""] * len(openings),
        }
    )
