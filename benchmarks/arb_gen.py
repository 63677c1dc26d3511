"""The instance generator "arb-gen v1": an auction with the structure of a telecom's campaigns, from a seed alone.

`python -m benchmarks.arb_gen --customers 100000 --seed 1 --out FOLDER [--days]` writes candidates.parquet,
customers.parquet and limits.yaml as `python -m services.contact arbitrate` takes them. Customers come in chunks of
100,000, chunk j drawn from `default_rng([seed, j])` and what is common to all from `default_rng([seed, 999983])`, so a
larger instance begins with the smaller one.

40 offers through 3 channels. Customers and offers have latent tastes; whether a customer is eligible, and how likely
he accepts, go by both. `value` is acceptance × worth, before the channel's cost. With `--days` (the hard variant) each
candidate may be made on seven days, on each with probability 0.8 and at a factor of its own, at most one contact a day
and the same channel at least three days apart.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray
from scipy.special import expit, ndtri

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK, OFFERS, DAYS = 100_000, 40, 7
CHANNELS = ("sms", "call", "app")
_CONSENT = np.array([0.88, 0.42, 0.62])
_COST = np.array([0.05, 1.00, 0.01])
_SHARE = np.array([0.55, 0.04, 0.40])
_GROUPS = (4, 4, 3, 3, 2)
_CANDIDATES = 12.0
_SUBSIDISED = 14


@dataclass(frozen=True)
class Common:
    """What all customers share: tastes of the offers [40, 4], shares eligible, base rates, worths, limits' shares."""

    tastes: Floats
    eligible: Floats
    base: Floats
    worth: Floats
    most: Floats
    least: Floats


def common(seed: int) -> Common:
    """The offers of a seed."""
    dice = np.random.default_rng([seed, 999983])
    tastes = dice.normal(size=(OFFERS, 4))
    tastes /= np.linalg.norm(tastes, axis=1, keepdims=True)
    eligible = dice.beta(2, 9, OFFERS)
    eligible *= _CANDIDATES / (eligible.sum() * _CONSENT.sum() * 0.97)
    eligible = np.minimum(eligible, 0.95)
    base = dice.uniform(-5, -2.5, OFFERS)
    worth = np.clip(dice.lognormal(np.log(60), 0.9, OFFERS), 5, 600)
    most = dice.uniform(0.10, 0.45, OFFERS) * eligible
    least = np.zeros(OFFERS)
    least[np.argsort(worth)[:_SUBSIDISED]] = dice.uniform(0.3, 0.7, _SUBSIDISED)
    return Common(tastes, eligible, base, worth, most, least * most)


def chunk(seed: int, number: int, size: int, told: Common) -> tuple[Ints, Ints, Ints, Floats, NDArray[np.int32]]:
    """Candidates of a chunk: customer within it, offer, channel, value; and the caps of its customers [size]."""
    dice = np.random.default_rng([seed, number])
    latent = dice.normal(size=(CHUNK, 4))
    affinity = latent @ told.tastes.T
    eligible = 0.6 * affinity + 0.8 * dice.normal(size=(CHUNK, OFFERS)) > ndtri(1 - told.eligible)
    consent = (dice.random((CHUNK, 3)) < _CONSENT) & (dice.random((CHUNK, 1)) >= 0.03)
    by_channel = np.array([0.0, 1.1, 0.3]) + dice.normal(0, 0.4, (CHUNK, 3))
    cap = dice.choice(np.array([2, 1, 3], np.int32), CHUNK, p=[0.55, 0.30, 0.15])
    there = np.argwhere(eligible[:size, :, None] & consent[:size, None, :])
    customer, offer, channel = there.T
    noise = dice.normal(0, 0.3, int(np.sum(eligible[:, :, None] & consent[:, None, :])))[: len(customer)]
    logit = told.base[offer] + 0.8 * affinity[customer, offer] + by_channel[customer, channel] + noise
    value: Floats = expit(logit) * told.worth[offer]
    return customer, offer, channel, value, cap[:size]


def on_days(customer: Ints, offer: Ints, channel: Ints, value: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """The hard variant: which of seven days [J, 7] each candidate can be made on, and its value there [J, 7]."""
    name = ((customer * OFFERS + offer) * 3 + channel).astype(np.uint64)
    numbers = (name[:, None] * np.uint64(DAYS) + np.arange(1, DAYS + 1, dtype=np.uint64)).astype(np.uint64)
    bits: NDArray[np.uint64] = numbers * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    usable = (bits & np.uint64(0xFFFFF)).astype(np.float64) / (1 << 20) < 0.8
    factor = 0.7 + 0.6 * (bits >> np.uint64(40)).astype(np.float64) / (1 << 24)
    return usable, value[:, None] * factor


def limits(customers: int, told: Common, *, days: bool) -> dict[str, Any]:
    """The limits of so many customers, as the verb reads them."""
    names = [f"o{offer:02d}" for offer in range(OFFERS)]
    channels = {
        name: {
            "daily_capacity" if days else "capacity": int(share * customers / (DAYS if days else 1)),
            "cost": float(cost),
        }
        for name, share, cost in zip(CHANNELS, _SHARE, _COST, strict=True)
    }
    campaigns = {
        name: {"min": int(least * customers), "max": int(most * customers)} if least else {"max": int(most * customers)}
        for name, most, least in zip(names, told.most, told.least, strict=True)
    }
    ends = np.cumsum((0, *_GROUPS))
    groups = [names[start:end] for start, end in itertools.pairwise(ends)]
    made: dict[str, Any] = {"channels": channels, "campaigns": campaigns, "exclusive_groups": groups}
    return made | ({"spacing_days": 3} if days else {})


def chunks(customers: int, seed: int, *, days: bool = False) -> Iterator[tuple[pa.Table, pa.Table]]:
    """(candidates, customers) chunk by chunk; the candidates stand customer by customer."""
    told = common(seed)
    offers = pa.array([f"o{offer:02d}" for offer in range(OFFERS)])
    for number, first in enumerate(range(0, customers, CHUNK)):
        customer, offer, channel, value, cap = chunk(seed, number, min(CHUNK, customers - first), told)
        customer = customer + first
        columns: dict[str, Any] = {}
        if days:
            usable, worth = on_days(customer, offer, channel, value)
            at, day = np.nonzero(usable)
            customer, offer, channel, value = customer[at], offer[at], channel[at], worth[usable]
            columns["day"] = pa.array(day, pa.int32())
        table = {
            "customer_id": pa.array(customer, pa.int64()),
            "offer_id": pa.DictionaryArray.from_arrays(pa.array(offer, pa.int32()), offers),
            "channel": pa.DictionaryArray.from_arrays(pa.array(channel, pa.int32()), pa.array(CHANNELS)),
            "value": pa.array(value),
        }
        people = {"customer_id": pa.array(np.arange(first, first + len(cap)), pa.int64()), "cap": pa.array(cap)}
        yield pa.table(table | columns), pa.table(people)


def write(customers: int, seed: int, folder: Path, *, days: bool = False) -> None:
    """Write the three files of an instance."""
    folder.mkdir(parents=True, exist_ok=True)
    writers: list[pq.ParquetWriter] = []
    for tables in chunks(customers, seed, days=days):
        if not writers:
            names = ("candidates.parquet", "customers.parquet")
            writers = [
                pq.ParquetWriter(folder / name, table.schema, compression="zstd")
                for name, table in zip(names, tables, strict=True)
            ]
        for writer, table in zip(writers, tables, strict=True):
            writer.write_table(table)
    for writer in writers:
        writer.close()
    text = yaml.safe_dump(limits(customers, common(seed), days=days), sort_keys=False)
    (folder / "limits.yaml").write_text(text)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.arb_gen", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", action="store_true", help="the hard variant: seven days, contacts kept apart")
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    write(told.customers, told.seed, told.out, days=told.days)


if __name__ == "__main__":
    main()
