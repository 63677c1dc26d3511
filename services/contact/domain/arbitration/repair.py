"""From the best sets at the prices to a plan that keeps every limit: drop overs, lift minima, fill what is free.

At good prices only a handful of sets are over or under, and the regret of moving the cheapest ones is what the gap
consists of. Every step walks its moves in a fixed order (by loss, then by candidate), so the plan is always the same.
"""

from dataclasses import dataclass

import numba
import numpy as np

from services.contact.domain.arbitration.kernels import clash
from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Kinds, Problem, Small

Apart = tuple[Small, Small, Small, Ints]
"""What keeps two kinds apart [T]: group, medium, day; and the spacing [1]."""

_ROUNDS = 8
_FAR = np.int64(1) << 60


@dataclass
class Selection:
    """A selection under repair: what is picked [J], and the usage of customers [N], channels [C], campaigns [K]."""

    problem: Problem
    picked: Flags
    customer: Ints
    channel: Small
    campaign: Small
    beyond: Floats
    customer_used: Ints
    channel_used: Ints
    campaign_used: Ints

    def shortage(self) -> Ints:
        """How many contacts each campaign lacks to its minimum [K]."""
        lacking: Ints = np.maximum(self.problem.least - self.campaign_used, 0)
        return lacking


def repair(problem: Problem, prices: Floats, picked: Flags) -> Flags:
    """The selection [J] after repair; only minima may still be short, every other limit is kept."""
    channel_used, campaign_used = problem.usage(picked)
    selection = Selection(
        problem=problem,
        picked=picked.copy(),
        customer=problem.customer,
        channel=problem.channel,
        campaign=problem.campaign,
        beyond=problem.value - problem.price_of(prices)[problem.kind],
        customer_used=np.bincount(problem.customer[picked], minlength=problem.customers),
        channel_used=channel_used,
        campaign_used=campaign_used,
    )
    _drop_overs(selection)
    for evict in (False, True):
        for _ in range(_ROUNDS):
            if not selection.shortage().any() or not _lift(selection, evict=evict):
                break
    for _ in range(_ROUNDS):
        if not _fill(selection):
            break
    return selection.picked


def _ceilings(problem: Problem) -> tuple[Ints, Ints]:
    return (
        np.where(problem.capacity < 0, _FAR, problem.capacity),
        np.where(problem.most < 0, _FAR, problem.most),
    )


def _arrays(selection: Selection) -> tuple[Ints, Small, Kinds, Apart, Small, Small, Flags, Ints, Ints, Ints]:
    problem = selection.problem
    return (
        problem.starts,
        problem.cap,
        problem.kind,
        (problem.group_of, problem.medium_of, problem.day_of, np.array([problem.spacing])),
        selection.channel,
        selection.campaign,
        selection.picked,
        selection.customer_used,
        selection.channel_used,
        selection.campaign_used,
    )


def _drop_overs(selection: Selection) -> None:
    """Drop or swap contacts of limits that are exceeded, the smallest regret first, sparing minima while possible."""
    problem = selection.problem
    capacity, most = _ceilings(problem)
    for spare in (True, True, True, False):
        over = (selection.channel_used > capacity)[selection.channel] | (selection.campaign_used > most)[
            selection.campaign
        ]
        moves = np.flatnonzero(selection.picked & over)
        if not len(moves):
            return
        other, regret = _alternatives(moves, selection.customer, selection.beyond, *_arrays(selection), capacity, most)
        order = np.lexsort((moves, regret))
        least = problem.least if spare else np.zeros_like(problem.least)
        _swap_down(moves[order], other[order], selection.customer, *_arrays(selection), capacity, most, least)


@numba.njit(cache=True, nogil=True)
def _alternatives(
    moves: Ints,
    customer: Ints,
    beyond: Floats,
    starts: Ints,
    cap: Small,
    kind: Kinds,
    apart: Apart,
    channel: Small,
    campaign: Small,
    picked: Flags,
    customer_used: Ints,
    channel_used: Ints,
    campaign_used: Ints,
    capacity: Ints,
    most: Ints,
) -> tuple[Ints, Floats]:
    """For each pick in `moves` the customer's best other candidate with room (−1: none), and the regret of moving."""
    other = np.full(len(moves), -1, np.int64)
    regret = np.empty(len(moves), np.float64)
    for index in range(len(moves)):
        move = moves[index]
        best = 0.0
        who = customer[move]
        for at in range(starts[who], starts[who + 1]):
            if picked[at] or beyond[at] <= best:
                continue
            if channel_used[channel[at]] >= capacity[channel[at]] or campaign_used[campaign[at]] >= most[campaign[at]]:
                continue
            if _clashing(starts, kind, apart, picked, who, at, move)[0]:
                continue
            best = beyond[at]
            other[index] = at
        regret[index] = beyond[move] - best
    return other, regret


@numba.njit(cache=True, nogil=True)
def _clashing(
    starts: Ints, kind: Kinds, apart: Apart, picked: Flags, who: int, wanted: int, but: int
) -> tuple[int, int]:
    """How many of the customer's picks stand in the way of the candidate `wanted`, `but` apart; and one of them."""
    group_of, medium_of, day_of, spacing = apart
    count, one = 0, -1
    for at in range(starts[who], starts[who + 1]):
        if picked[at] and at != but and clash(kind[at], kind[wanted], group_of, medium_of, day_of, spacing[0]):
            count += 1
            one = at
    return count, one


@numba.njit(cache=True, nogil=True)
def _swap_down(
    moves: Ints,
    other: Ints,
    customer: Ints,
    starts: Ints,
    cap: Small,
    kind: Kinds,
    apart: Apart,
    channel: Small,
    campaign: Small,
    picked: Flags,
    customer_used: Ints,
    channel_used: Ints,
    campaign_used: Ints,
    capacity: Ints,
    most: Ints,
    least: Ints,
) -> None:
    """Take back picks while one of their limits is exceeded, giving the customer the other candidate if it fits."""
    for index in range(len(moves)):
        move = moves[index]
        row, volume = channel[move], campaign[move]
        if channel_used[row] <= capacity[row] and campaign_used[volume] <= most[volume]:
            continue
        if campaign_used[volume] <= most[volume] and campaign_used[volume] <= least[volume]:
            continue
        picked[move] = False
        who = customer[move]
        customer_used[who] -= 1
        channel_used[row] -= 1
        campaign_used[volume] -= 1
        at = other[index]
        if at < 0 or picked[at] or customer_used[who] >= cap[who]:
            continue
        if channel_used[channel[at]] >= capacity[channel[at]] or campaign_used[campaign[at]] >= most[campaign[at]]:
            continue
        if _clashing(starts, kind, apart, picked, who, at, -1)[0]:
            continue
        picked[at] = True
        customer_used[who] += 1
        channel_used[channel[at]] += 1
        campaign_used[campaign[at]] += 1


def _lift(selection: Selection, *, evict: bool) -> int:
    """Add contacts to campaigns below their minimum, the smallest loss first; gives the number of moves made.

    With `evict` a full channel gives way: its contact that is worth least, of a campaign that can spare one, goes.
    """
    problem = selection.problem
    capacity, _ = _ceilings(problem)
    moves = np.flatnonzero(~selection.picked & (selection.shortage() > 0)[selection.campaign])
    if not len(moves):
        return 0
    out, loss = _replacements(moves, selection.customer, selection.beyond, *_arrays(selection), problem.least)
    possible = np.isfinite(loss)
    moves, out, loss = moves[possible], out[possible], loss[possible]
    order = np.lexsort((moves, loss))
    picks = np.flatnonzero(selection.picked) if evict else np.zeros(0, np.int64)
    ranked = picks[np.lexsort((picks, selection.beyond[picks]))]
    return int(
        _lift_in_order(
            moves[order], out[order], ranked, selection.customer, *_arrays(selection), capacity, problem.least
        )
    )


@numba.njit(cache=True, nogil=True)
def _replacements(
    moves: Ints,
    customer: Ints,
    beyond: Floats,
    starts: Ints,
    cap: Small,
    kind: Kinds,
    apart: Apart,
    channel: Small,
    campaign: Small,
    picked: Flags,
    customer_used: Ints,
    channel_used: Ints,
    campaign_used: Ints,
    least: Ints,
) -> tuple[Ints, Floats]:
    """For each candidate in `moves` the pick that must go for it (−1: none), and the loss (infinite: impossible)."""
    out = np.full(len(moves), -1, np.int64)
    loss = np.full(len(moves), np.inf)
    for index in range(len(moves)):
        move = moves[index]
        who = customer[move]
        if cap[who] <= 0:
            continue
        clashing, must = _clashing(starts, kind, apart, picked, who, move, -1)
        if clashing > 1:
            continue
        weakest = -1
        for at in range(starts[who], starts[who + 1]):
            if not picked[at]:
                continue
            if campaign_used[campaign[at]] > least[campaign[at]] and (weakest < 0 or beyond[at] < beyond[weakest]):
                weakest = at
        goes = must
        if must < 0 and customer_used[who] >= cap[who]:
            if weakest < 0:
                continue
            goes = weakest
        if goes >= 0 and campaign_used[campaign[goes]] <= least[campaign[goes]]:
            continue
        out[index] = goes
        loss[index] = -beyond[move] + (beyond[goes] if goes >= 0 else 0.0)
    return out, loss


@numba.njit(cache=True, nogil=True)
def _lift_in_order(
    moves: Ints,
    out: Ints,
    ranked: Ints,
    customer: Ints,
    starts: Ints,
    cap: Small,
    kind: Kinds,
    apart: Apart,
    channel: Small,
    campaign: Small,
    picked: Flags,
    customer_used: Ints,
    channel_used: Ints,
    campaign_used: Ints,
    capacity: Ints,
    least: Ints,
) -> int:
    """Make the moves that still fit; `ranked` are the picks that may be evicted from a full channel, cheapest first."""
    made = 0
    cursor = np.zeros(len(capacity), np.int64)
    for index in range(len(moves)):
        move, goes = moves[index], out[index]
        who, row = customer[move], channel[move]
        if picked[move] or campaign_used[campaign[move]] >= least[campaign[move]]:
            continue
        if goes >= 0 and (not picked[goes] or campaign_used[campaign[goes]] <= least[campaign[goes]]):
            continue
        if goes < 0 and customer_used[who] >= cap[who]:
            continue
        if _clashing(starts, kind, apart, picked, who, move, goes)[0]:
            continue
        room = capacity[row] - channel_used[row] + (1 if goes >= 0 and channel[goes] == row else 0)
        if room <= 0:
            evicted = -1
            while cursor[row] < len(ranked):
                at = ranked[cursor[row]]
                if picked[at] and channel[at] == row and campaign_used[campaign[at]] > least[campaign[at]]:
                    evicted = at
                    break
                cursor[row] += 1
            if evicted < 0 or evicted == goes:
                continue
            shared = goes >= 0 and campaign[evicted] == campaign[goes]
            if shared and campaign_used[campaign[goes]] - 1 <= least[campaign[goes]]:
                continue
            picked[evicted] = False
            customer_used[customer[evicted]] -= 1
            channel_used[row] -= 1
            campaign_used[campaign[evicted]] -= 1
        if goes >= 0:
            picked[goes] = False
            customer_used[who] -= 1
            channel_used[channel[goes]] -= 1
            campaign_used[campaign[goes]] -= 1
        picked[move] = True
        customer_used[who] += 1
        channel_used[row] += 1
        campaign_used[campaign[move]] += 1
        made += 1
    return made


def _fill(selection: Selection) -> int:
    """Use what is free: add or swap in contacts that bring more, the greatest gain first; gives the moves made."""
    problem = selection.problem
    capacity, most = _ceilings(problem)
    open_channel, open_campaign = selection.channel_used < capacity, selection.campaign_used < most
    moves = np.flatnonzero(~selection.picked & open_campaign[selection.campaign])
    # A full channel may still be swapped within: a customer trades one of its contacts for a better one.
    held = np.zeros(problem.customers, np.bool_)
    held[selection.customer[selection.picked & ~open_channel[selection.channel]]] = True
    moves = moves[open_channel[selection.channel[moves]] | held[selection.customer[moves]]]
    out, loss = _replacements(moves, selection.customer, problem.value, *_arrays(selection), problem.least)
    better = loss < -1e-9
    moves, out, loss = moves[better], out[better], loss[better]
    order = np.lexsort((moves, loss))
    return int(
        _fill_in_order(moves[order], out[order], selection.customer, *_arrays(selection), capacity, most, problem.least)
    )


@numba.njit(cache=True, nogil=True)
def _fill_in_order(
    moves: Ints,
    out: Ints,
    customer: Ints,
    starts: Ints,
    cap: Small,
    kind: Kinds,
    apart: Apart,
    channel: Small,
    campaign: Small,
    picked: Flags,
    customer_used: Ints,
    channel_used: Ints,
    campaign_used: Ints,
    capacity: Ints,
    most: Ints,
    least: Ints,
) -> int:
    """Make the moves that still fit, each at most once a customer in one walk, since its gain changes by another."""
    made = 0
    touched = np.zeros(len(cap), np.bool_)
    for index in range(len(moves)):
        move, goes = moves[index], out[index]
        who, row, volume = customer[move], channel[move], campaign[move]
        if touched[who]:
            continue
        freed_row = 1 if goes >= 0 and channel[goes] == row else 0
        freed_volume = 1 if goes >= 0 and campaign[goes] == volume else 0
        if channel_used[row] - freed_row >= capacity[row] or campaign_used[volume] - freed_volume >= most[volume]:
            continue
        if goes >= 0 and not freed_volume and campaign_used[campaign[goes]] <= least[campaign[goes]]:
            continue
        if goes >= 0:
            picked[goes] = False
            customer_used[who] -= 1
            channel_used[channel[goes]] -= 1
            campaign_used[campaign[goes]] -= 1
        picked[move] = True
        touched[who] = True
        customer_used[who] += 1
        channel_used[row] += 1
        campaign_used[volume] += 1
        made += 1
    return made
