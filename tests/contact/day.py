"""A day online, played over arrays: customers of arb-gen arrive in random order, each decided for at the prices then.

What is decided is what `Decide` decides (the best set of bids above the prices, within what is left of every limit),
a share of the day at a time, with the prices moved between by `pacing`.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.arb_gen import CHANNELS, OFFERS, chunk, common, limits
from services.contact.domain import pacing
from services.contact.domain.arbitration import dual
from services.contact.domain.arbitration.problem import Floats, Ints, Problem, from_columns


def made(seed: int, number: int, customers: int, *, factor: float = 1.0) -> Problem:
    """The auction of a chunk of customers, its acceptances times a factor."""
    told = common(seed)
    customer, offer, channel, value, cap = chunk(seed, number, customers, told)
    rules = limits(customers, told, days=False)
    cost = np.array([rules["channels"][name]["cost"] for name in CHANNELS])
    group = np.arange(OFFERS)
    for at, names in enumerate(rules["exclusive_groups"]):
        group[[int(name[1:]) for name in names]] = OFFERS + at
    kinds = np.arange(OFFERS * 3)
    campaigns = list(rules["campaigns"].values())
    return from_columns(
        customer=customer,
        kind=offer * 3 + channel,
        value=value * factor - cost[channel],
        cap=cap,
        group_of=group[kinds // 3],
        channel_of=kinds % 3,
        campaign_of=kinds // 3,
        capacity=[rules["channels"][name]["capacity"] for name in CHANNELS],
        most=[one["max"] for one in campaigns],
        least=[one.get("min", 0) for one in campaigns],
        channels=CHANNELS,
        campaigns=[f"o{at:02d}" for at in range(OFFERS)],
    )[0]


@dataclass(frozen=True)
class Ended:
    """What a day comes to: the value won, and what is used of every limit [C + K]."""

    won: float
    used: Ints


def played(
    day: Problem, prices: Floats, order: Ints, steps: int, *, paced: bool = True, again_after: float | None = None
) -> Ended:
    """A day at these prices [C + K], kept in pace step by step; `again_after` that share of it they are made anew."""
    bounds = np.concatenate([day.capacity, day.most])
    names = [f"{at}" for at in range(len(bounds))]
    limited = {name: float(bound) for name, bound in zip(names, bounds, strict=True) if bound >= 0}
    used, won, since, begun = np.zeros(len(bounds), np.int64), 0.0, np.zeros(len(bounds), np.int64), 0.0
    for step, part in enumerate(np.array_split(order, steps)):
        passed = step / steps
        if again_after is not None and passed >= again_after:
            again_after = None
            rest = np.sort(order[int(passed * len(order)) :])
            left = np.where(bounds < 0, bounds, np.maximum(bounds - used, 0))
            least = np.maximum(day.least - used[len(day.capacity) :], 0)
            prices = dual.solve(day.chosen(rest, left[:3], left[3:], least)).prices
            limited = {name: limited[name] - used[int(name)] for name in limited}
            since, begun = used.copy(), passed
        here = day.chosen(np.sort(part), day.capacity, day.most, day.least)
        now = prices
        if paced:
            gone = {name: float(used[at] - since[at]) for at, name in enumerate(names)}
            told = pacing.all_paced(dict(zip(names, prices.tolist(), strict=True)), gone, limited,
                                    (passed - begun) / (1 - begun))  # fmt: skip
            now = np.array(list(told.values()))
        best = np.zeros(here.candidates, np.bool_)
        dual.look(here, np.where((bounds >= 0) & (used >= bounds), 1e9, now), best)
        rank = np.empty(day.customers, np.int64)
        rank[part] = np.arange(len(part))
        picks = np.flatnonzero(best)
        picks = picks[np.argsort(rank[np.sort(part)][here.customer[picks]], kind="stable")]
        for pick in picks.tolist():
            rows = here.channel[pick], len(day.capacity) + here.campaign[pick]
            if all(bounds[row] < 0 or used[row] < bounds[row] for row in rows):
                for row in rows:
                    used[row] += 1
                won += float(here.value[pick])
    return Ended(won, used)
