"""From a matrix of acceptances to a plan's contacts: who may bid for whom, the auction, and the draw of the control.

A customer of the control has won like any other and takes up cap, capacity and volume in this plan, so that treated
and control differ by the contact alone; since he is not contacted, later plans do not count it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, tzinfo

import numpy as np

from services.contact.domain import arbitration, budget, plan
from services.contact.domain.answering import Leaning
from services.contact.domain.arbitration.checker import Limits, Won, violations
from services.contact.domain.arbitration.problem import NO_LIMIT, Flags, Floats, Ints, Problem, Small, from_columns
from services.contact.domain.campaign import Campaign, Offer, exclusion_classes
from services.contact.domain.experiment import held_out, shares
from services.contact.domain.membership import Members
from services.contact.domain.policy import MARKETING, ChannelLimit, Earlier, Policy, Touch, contact_time

LEFT = "left"
"""Status of a customer who is one no more."""


@dataclass(frozen=True)
class Matrix:
    """Acceptances: customer [R], index into `products` [R], probability [R]; rows in any order."""

    customer: Ints
    product: Small
    score: Floats
    products: tuple[str, ...]


@dataclass(frozen=True)
class Customer:
    """What contact knows of a customer."""

    org_id: str
    level: str
    status: str


@dataclass(frozen=True)
class Audience:
    """The customers as they stand when the plan is made.

    `consents` are the customers with consent to marketing by channel; who is not among them has refused, or was
    never asked, and is not contacted. `earlier` are the contacts that count, `used` how many of a channel's contacts
    of the day went out already, `unwanted` who must not be contacted at all.
    """

    customers: Mapping[int, Customer]
    consents: Mapping[str, Ints]
    earlier: Mapping[int, Earlier]
    used: Mapping[str, int] = field(default_factory=dict)
    unwanted: Collection[int] = ()
    members: Mapping[str, Members] = field(default_factory=dict)
    """Campaign id → its audience."""
    spent: Mapping[str, int] = field(default_factory=dict)
    """Campaign id → what it has spent of its budget, in fen."""
    refusals: Mapping[tuple[str, str], Ints] = field(default_factory=dict)
    """(channel, purpose) → who refused to be contacted so."""
    leanings: Mapping[str, Leaning] = field(default_factory=dict)
    """Channel → who answers more, or less, through it than otherwise."""


@dataclass(frozen=True)
class Bids:
    """The auction: its problem, the customers [N], the offer [J] of each candidate, and what was left out why.

    `cost` [T] is what a contact of each kind costs, `budget` [K] what is left of each campaign's (−1: no bound); fen.
    """

    problem: Problem
    customers: Ints
    offer: Small
    offers: tuple[tuple[Campaign, Offer], ...]
    cost: Ints
    budget: Ints
    counts: Mapping[str, int]


def bids(
    matrix: Matrix,
    campaigns: Sequence[Campaign],
    policy: Policy,
    audience: Audience,
    on: date,
    purpose: str = MARKETING,
) -> Bids:
    """Every candidate of the campaigns of a purpose: matrix row × offer of its product × channel with consent.

    Its value in fen is score × lift × leaning × worth − cost, where the leaning is by how much he answers more through
    the channel than otherwise; a candidate that loses money bids only for a campaign that has a minimum to meet.
    Service and care are made for whomever they concern: theirs is above 0, and no consent, blackout or cool-down of
    marketing binds them. Campaigns are taken by name, so that ids and the order of creation change nothing; those that
    wait for moments bid online alone.
    """
    ordered = [one for one in sorted(campaigns, key=lambda one: one.name) if one.purpose == purpose and not one.moments]
    offers = tuple((campaign, offer) for campaign in ordered for offer in campaign.offers)
    number = {campaign.name: index for index, campaign in enumerate(ordered)}
    classes = exclusion_classes(ordered)
    keys, row = np.unique(matrix.customer, return_inverse=True)
    room, counts = _room(keys, policy, audience, on, purpose)
    consents = {limit.channel: _consented(keys, audience, limit.channel, purpose) for limit in policy.channel_limits}
    consented = np.any([*consents.values(), np.zeros(len(keys), np.bool_)], axis=0)
    counts["without_consent"] = int(np.sum(~consented))
    marketing = purpose == MARKETING
    cool = _cooling(keys, offers, policy, audience, on) if marketing else [[] for _ in offers]
    may = [(room > 0) & campaign.reaches(keys, audience.members) for campaign, _ in offers]
    for those, cooling in zip(may, cool, strict=True):
        those[cooling] = False
    closed = {limit.channel for limit in policy.channel_limits if marketing and policy.closed(on, limit.channel)}
    columns = _columns(matrix, keys, row, offers, may, consents, closed, policy, audience.leanings, purpose)
    columns = _within_channels(columns, _rooms(keys, policy, audience, on, purpose), room)
    channels = len(policy.channel_limits)
    kinds = np.arange(len(offers) * channels)
    problem, order = from_columns(
        customer=np.concatenate([where for where, _, _, _ in columns] or [_NONE]),
        kind=np.concatenate([np.full(len(where), index * channels + at) for where, _, index, at in columns] or [_NONE]),
        value=np.concatenate([value for _, value, _, _ in columns] or [_NONE.astype(np.float64)]),
        group_of=np.array([classes[offer.offer_id] for _, offer in offers], np.int32)[kinds // channels],
        channel_of=kinds % channels,
        campaign_of=np.array([number[campaign.name] for campaign, _ in offers], np.int32)[kinds // channels],
        cap=room,
        capacity=[_left(limit.daily_capacity, audience.used.get(limit.channel, 0)) for limit in policy.channel_limits],
        most=[NO_LIMIT if campaign.contacts_max is None else campaign.contacts_max for campaign in ordered],
        least=[campaign.contacts_min for campaign in ordered],
        channels=[limit.channel for limit in policy.channel_limits],
        campaigns=[campaign.name for campaign in ordered],
    )
    counts |= {"customers": len(keys), "candidates": problem.candidates}
    cost = np.array([limit.cost_fen for limit in policy.channel_limits], np.int64)
    return Bids(
        problem=problem,
        customers=keys,
        offer=(order // channels).astype(np.int32)[problem.kind],
        offers=offers,
        cost=cost[problem.channel_of] if channels else np.zeros(0, np.int64),
        budget=np.array([_budget_left(campaign, audience) for campaign in ordered], np.int64),
        counts=counts,
    )


def _columns(
    matrix: Matrix,
    keys: Ints,
    row: Ints,
    offers: Sequence[tuple[Campaign, Offer]],
    may: Sequence[Flags],
    consents: Mapping[str, Flags],
    closed: Collection[str],
    policy: Policy,
    leanings: Mapping[str, Leaning],
    purpose: str,
) -> list[tuple[Ints, Floats, int, int]]:
    """The candidates of each offer by each channel: the places of their customers in `keys`, and their values in fen.

    `row` [M] is where in `keys` each row of the matrix belongs, `may` [J × N] whom each offer may reach.
    """
    leaning = {channel: one.of(keys) for channel, one in leanings.items()}
    products = {product: index for index, product in enumerate(matrix.products)}
    columns = []
    for index, (campaign, offer) in enumerate(offers):
        rows = np.flatnonzero((matrix.product == products.get(offer.product_id, -1)) & may[index][row])
        for at, limit in enumerate(policy.channel_limits):
            if limit.channel in closed or limit.channel not in offer.channels:
                continue
            reached = rows[consents[limit.channel][row[rows]]]
            score = matrix.score[reached]
            if limit.channel in leaning:
                score = score * leaning[limit.channel][row[reached]]
            value = _value(score, offer, limit, purpose)
            worthy = value > 0 if campaign.contacts_min == 0 else np.ones(len(value), np.bool_)
            columns.append((row[reached[worthy]], value[worthy], index, at))
    return columns


_NONE = np.zeros(0, np.int64)


def _budget_left(campaign: Campaign, audience: Audience) -> int:
    bound = campaign.budget_fen or None
    return _left(bound, audience.spent.get(campaign.campaign_id, 0))


def _consented(keys: Ints, audience: Audience, channel: str, purpose: str) -> Flags:
    """Who of `keys` may be contacted through a channel as far as it is his to say."""
    if purpose == MARKETING:
        return np.isin(keys, audience.consents.get(channel, _NONE), assume_unique=True)
    return ~np.isin(keys, audience.refusals.get((channel, purpose), _NONE), assume_unique=True)


def _room(keys: Ints, policy: Policy, audience: Audience, on: date, purpose: str) -> tuple[Small, dict[str, int]]:
    """How many contacts each customer [N] may get, and how many customers the holdout and the caps keep out.

    Who has left, or is not known (so that nobody can say which level's caps hold), gets none.
    """
    by_level: dict[str, int] = {}
    room = np.zeros(len(keys), np.int32)
    for index, key in enumerate(keys.tolist()):
        customer = audience.customers.get(key)
        if customer is None or customer.status == LEFT or key in audience.unwanted:
            continue
        earlier = audience.earlier.get(key)
        if earlier:
            room[index] = policy.room(customer.level, earlier, on, purpose=purpose)
        else:
            if customer.level not in by_level:
                by_level[customer.level] = policy.room(customer.level, (), on, purpose=purpose)
            room[index] = by_level[customer.level]
    capped = int(np.sum(room == 0))
    out = held_out("holdout", keys, policy.holdout_bps if purpose == MARKETING else 0)
    room[out] = 0
    return room, {"holdout": int(np.sum(out)), "without_room": capped}


def _left(bound: int | None, used: int) -> int:
    return NO_LIMIT if bound is None else max(bound - used, 0)


def _cooling(
    keys: Ints, offers: Sequence[tuple[Campaign, Offer]], policy: Policy, audience: Audience, on: date
) -> list[list[int]]:
    """For each offer the places in `keys` of the customers for whom it cools down."""
    by_product: dict[str, list[int]] = {}
    by_group: dict[str, list[int]] = {}
    for index, (_, offer) in enumerate(offers):
        by_product.setdefault(offer.product_id, []).append(index)
        if offer.exclusive_group:
            by_group.setdefault(offer.exclusive_group, []).append(index)
    cool: list[list[int]] = [[] for _ in offers]
    for key, earlier in audience.earlier.items():
        at = int(np.searchsorted(keys, key))
        if at == len(keys) or keys[at] != key:
            continue
        for one in (Touch(*told) for told in earlier):
            if policy.cools(one, on):
                for index in (*by_product.get(one.product_id, ()), *by_group.get(one.exclusive_group, ())):
                    cool[index].append(at)
    return cool


def _rooms(keys: Ints, policy: Policy, audience: Audience, on: date, purpose: str) -> dict[int, Small]:
    """Channel's place → room of each customer [N] in it, for the channels that have caps of their own."""
    capped = {cap.channel for cap in policy.customer_caps if cap.channel and cap.purpose == purpose}
    rooms: dict[int, Small] = {}
    for at, limit in enumerate(policy.channel_limits):
        if limit.channel in capped:
            told = [(audience.customers.get(key), audience.earlier.get(key, ())) for key in keys.tolist()]
            rooms[at] = np.array(
                [
                    policy.room(one.level, earlier, on, channel=limit.channel, purpose=purpose) if one else 0
                    for one, earlier in told
                ],
                np.int32,
            )
    return rooms


def _within_channels(
    columns: list[tuple[Ints, Floats, int, int]], rooms: Mapping[int, Small], room: Small
) -> list[tuple[Ints, Floats, int, int]]:
    """Where a channel has less room for a customer than all together, only his best bids for it are kept.

    So many as there is room: whatever the auction picks of them keeps the cap of the channel too.
    """
    kept = list(columns)
    for at, channel_room in rooms.items():
        mine = [index for index, column in enumerate(columns) if column[3] == at]
        if not mine:
            continue
        who = np.concatenate([columns[index][0] for index in mine])
        value = np.concatenate([columns[index][1] for index in mine])
        order = np.lexsort((np.arange(len(who)), -value, who))
        ordered = who[order]
        first = np.searchsorted(ordered, ordered, side="left")
        rank = np.empty(len(who), np.int64)
        rank[order] = np.arange(len(who)) - first
        keep = (rank < channel_room[who]) | (channel_room[who] >= room[who])
        begin = 0
        for index in mine:
            end = begin + len(columns[index][0])
            part = keep[begin:end]
            kept[index] = (columns[index][0][part], columns[index][1][part], columns[index][2], at)
            begin = end
    return kept


def _value(score: Floats, offer: Offer, limit: ChannelLimit, purpose: str) -> Floats:
    """Expected value of a contact in fen; the acceptance never exceeds 1, whatever the lift."""
    acceptance = np.minimum(score.astype(np.float64) * (limit.lift_bps / 10_000), 1.0)
    if purpose != MARKETING:
        return 1.0 + acceptance * offer.worth_fen
    value: Floats = acceptance * offer.worth_fen - limit.cost_fen
    return value


def auction(bid: Bids, engine: str = arbitration.DUAL_PRICES) -> arbitration.Solution:
    """The best plan, looked at once more by the independent checker. Raises plan_infeasible."""
    solution = budget.solve(bid.problem, bid.cost, bid.budget, engine)
    found = violations(_won(bid, solution.picked), _limits(bid))
    found |= {row.name: row.used for row in solution.rows if row.name.startswith("budget ") and row.used > row.bound}
    if any(found.values()):
        raise AssertionError(f"the plan breaks limits: {found}")
    return solution


def _picks(bid: Bids, picked: Flags) -> list[tuple[int, int, str]]:
    """(customer key, offer index, channel) of every pick, in the order of the candidates."""
    where = np.flatnonzero(picked)
    customer = bid.customers[np.searchsorted(bid.problem.starts, where, side="right") - 1]
    channels = [bid.problem.channels[at] for at in bid.problem.channel_of[bid.problem.kind[where]].tolist()]
    return list(zip(customer.tolist(), bid.offer[where].tolist(), channels, strict=True))


def winners(bid: Bids, solution: arbitration.Solution) -> list[int]:
    """The customers who won a contact, once for each."""
    return [key for key, _, _ in _picks(bid, solution.picked)]


def _won(bid: Bids, picked: Flags) -> list[Won]:
    classes = exclusion_classes([campaign for campaign, _ in bid.offers])
    return [
        Won(key, classes[bid.offers[index][1].offer_id], channel, bid.offers[index][0].name)
        for key, index, channel in _picks(bid, picked)
    ]


def _limits(bid: Bids) -> Limits:
    policy_rows = zip(bid.problem.channels, bid.problem.capacity.tolist(), strict=True)
    campaigns = {campaign.name: campaign for campaign, _ in bid.offers}
    return Limits(
        cap=dict(zip(bid.customers.tolist(), bid.problem.cap.tolist(), strict=True)),
        capacity={name: bound for name, bound in policy_rows if bound >= 0},
        most={name: one.contacts_max for name, one in campaigns.items() if one.contacts_max is not None},
        least={name: one.contacts_min for name, one in campaigns.items()},
    )


def contacts(
    bid: Bids,
    solution: arbitration.Solution,
    *,
    plan_id: str,
    sequence: int,
    on: date,
    policy: Policy,
    audience: Audience,
    zone: tzinfo,
) -> list[plan.Contact]:
    """The won contacts in the order of the candidates, each with its time, and those of the control marked as such."""
    control = {
        campaign.name: held_out(f"control {campaign.name}", bid.customers, campaign.control_bps)
        for campaign, _ in bid.offers
    }
    spread = {
        (index, limit.channel): shares(f"time {on} {offer.product_id} {limit.channel}", bid.customers)
        for index, (_, offer) in enumerate(bid.offers)
        for limit in policy.channel_limits
    }
    limits = {limit.channel: limit for limit in policy.channel_limits}
    values = bid.problem.value[solution.picked].tolist()
    won = []
    for (key, index, channel), value in zip(_picks(bid, solution.picked), values, strict=True):
        campaign, offer = bid.offers[index]
        at = int(np.searchsorted(bid.customers, key))
        won.append(
            plan.Contact(
                contact_id=plan.contact_id(on, sequence, key, campaign.name, offer.product_id, channel),
                plan_id=plan_id,
                plan_date=on,
                customer_key=key,
                org_id=audience.customers[key].org_id,
                campaign_id=campaign.campaign_id,
                offer_id=offer.offer_id,
                product_id=offer.product_id,
                channel=channel,
                purpose=campaign.purpose,
                value_fen=value,
                cost_fen=limits[channel].cost_fen,
                worth_fen=offer.worth_fen,
                contact_time=contact_time(limits[channel], on, zone, float(spread[index, channel][at])),
                state=plan.CONTROL if control[campaign.name][at] else plan.PLANNED,
            )
        )
    return won
