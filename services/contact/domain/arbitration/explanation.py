"""Winners and losers with their reasons, and how evenly the auction treats business lines."""

from dataclasses import dataclass

import numba
import numpy as np

from services.contact.domain.arbitration.kernels import clash
from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Kinds, Problem, Small

REASONS = ("won", "no_room", "worthless", "rival", "capacity", "max", "cap")
"""Why a bid won or lost.

no_room: the customer may not be contacted at all · worthless: it costs more than it brings · rival: an offer that
excludes it brings more · capacity, max: the channel's or the campaign's price is more than it brings · cap: the
customer's other offers bring more, and his cap is reached.
"""
_PART = 1 << 18
_WON, _NO_ROOM, _WORTHLESS, _RIVAL, _CAPACITY, _MAX, _CAP = range(7)


@dataclass(frozen=True)
class Losses:
    """Of each candidate: its reason [J], by how much it lost [J], and the candidate that it lost to (−1: none) [J]."""

    reason: "np.typing.NDArray[np.uint8]"
    short: Floats
    rival: Ints


def losses(problem: Problem, prices: Floats, picked: Flags) -> Losses:
    """Why each candidate won or lost, at the prices [C + K] of the plan."""
    count = len(problem.capacity)
    found = Losses(
        np.zeros(problem.candidates, np.uint8),
        np.zeros(problem.candidates),
        np.full(problem.candidates, -1, np.int64),
    )
    tables = problem.group_of, problem.medium_of, problem.day_of
    prices_of = prices[:count][problem.channel_of], prices[count:][problem.campaign_of]
    _explain(
        problem.starts,
        problem.cap,
        problem.kind,
        problem.value,
        *tables,
        problem.spacing,
        *prices_of,
        picked,
        found.reason,
        found.short,
        found.rival,
    )
    return found


@numba.njit(cache=True, nogil=True)
def _explain(
    starts: Ints,
    cap: Small,
    kind: Kinds,
    value: Floats,
    group_of: Small,
    medium_of: Small,
    day_of: Small,
    spacing: int,
    channel_price: Floats,
    campaign_price: Floats,
    picked: Flags,
    reason: "np.typing.NDArray[np.uint8]",
    short: Floats,
    rival: Ints,
) -> None:
    for customer in range(len(cap)):
        for at in range(starts[customer], starts[customer + 1]):
            if picked[at]:
                continue
            one = kind[at]
            beyond = value[at] - channel_price[one] - campaign_price[one]
            if cap[customer] <= 0:
                reason[at] = _NO_ROOM
                continue
            if value[at] <= 0.0:
                reason[at] = _WORTHLESS
                short[at] = -value[at]
                continue
            weakest, won, bar = -1, 0, np.inf
            for other in range(starts[customer], starts[customer + 1]):
                if not picked[other]:
                    continue
                won += 1
                theirs = value[other] - channel_price[kind[other]] - campaign_price[kind[other]]
                if clash(kind[other], one, group_of, medium_of, day_of, spacing):
                    reason[at] = _RIVAL
                    rival[at] = other
                    short[at] = max(theirs - beyond, 0.0)
                if theirs < bar:
                    weakest, bar = other, theirs
            if reason[at] == _RIVAL:
                continue
            if beyond > 0.0 and won >= cap[customer]:
                reason[at] = _CAP
                rival[at] = weakest
                short[at] = max(bar - beyond, 0.0)
            else:
                reason[at] = _CAPACITY if channel_price[one] >= campaign_price[one] else _MAX
                short[at] = max(-beyond, 0.0)


def reasons(problem: Problem, prices: Floats, picked: Flags) -> dict[str, int]:
    """How many bids won, and how many lost why; customers are looked at in parts, so that memory stays small."""
    counts = np.zeros(len(REASONS), np.int64)
    for first in range(0, problem.customers, _PART):
        last = min(first + _PART, problem.customers)
        mine = slice(problem.starts[first], problem.starts[last])
        starts = problem.starts[first : last + 1] - problem.starts[first]
        limits = problem.capacity, problem.most, problem.least
        part = problem.replaced(starts, problem.cap[first:last], problem.kind[mine], problem.value[mine], *limits)
        counts += np.bincount(losses(part, prices, picked[mine]).reason, minlength=len(REASONS))
    return dict(zip(REASONS, counts.tolist(), strict=True))


@dataclass(frozen=True)
class Share:
    """What a campaign, or a business line, asked for and got; `asked` counts every candidate's own value if above 0."""

    name: str
    candidates: int
    contacts: int
    asked: float
    won: float

    @property
    def part(self) -> float:
        """The part of what was asked for that was won; 1 when nothing was asked for."""
        return self.won / self.asked if self.asked > 0 else 1.0


def shares(problem: Problem, picked: Flags) -> list[Share]:
    """What each campaign asked for and got [K]."""
    kinds = len(problem.group_of)
    told = np.zeros((4, kinds))
    for at in range(0, problem.candidates, _PART):  # in parts, so that no column is ever there in a wider form
        kind, value, won = (column[at : at + _PART] for column in (problem.kind, problem.value, picked))
        told[0] += np.bincount(kind, minlength=kinds)
        told[1] += np.bincount(kind[won], minlength=kinds)
        told[2] += np.bincount(kind, np.maximum(value, 0.0), kinds)
        told[3] += np.bincount(kind[won], value[won], kinds)
    columns = [np.bincount(problem.campaign_of, one, len(problem.most)) for one in told]
    return [
        Share(name, int(columns[0][at]), int(columns[1][at]), float(columns[2][at]), float(columns[3][at]))
        for at, name in enumerate(problem.campaigns)
    ]


def by_line(told: list[Share], lines: tuple[str, ...], line_of: Small) -> list[Share]:
    """The campaigns' shares added up by business line."""
    added = []
    for at, line in enumerate(lines):
        mine = [share for share, of in zip(told, line_of.tolist(), strict=True) if of == at]
        added.append(
            Share(
                line,
                sum(one.candidates for one in mine),
                sum(one.contacts for one in mine),
                sum(one.asked for one in mine),
                sum(one.won for one in mine),
            )
        )
    return added


def evenness(told: list[Share]) -> float:
    """Jain's index (Jain et al. 1984) of the parts won: 1 when all lines win the same part, 1/n when one wins all."""
    parts = np.array([share.part for share in told if share.asked > 0])
    if not len(parts) or not parts.any():
        return 1.0
    return float(parts.sum() ** 2 / (len(parts) * np.sum(parts**2)))
