"""What jobs about contacts read: the answered contacts, each with what was known of the customer just before."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from services.kit.db import Database
from services.recommend import refusals, store
from services.recommend.domain import history, ownership
from services.recommend.domain.call_graph import CallGraph
from services.recommend.domain.history import Contacts
from services.recommend.domain.outcome import Answered
from services.recommend.domain.ownership import Orders
from services.recommend.domain.product import Catalogue, Ints, Singles
from services.recommend.domain.snapshot import CALLS, CUSTOMERS, FEEDS, ORDERS, PRODUCTS, File, Inputs, Run
from services.recommend.domain.trial import Trial, Trials, experiments, opened_after
from services.recommend.lake import Features, Lake
from services.recommend.lake.calls import Calls
from services.recommend.usecases.scoring import aligned

MOST = 200_000
"""Contacts that are looked at, the latest."""


@dataclass(frozen=True)
class Sources:
    """What a job reads: the run asked for, all runs by last day, the answered contacts by time."""

    run: Run
    runs: Sequence[Run]
    answered: Sequence[Answered]
    files: Mapping[str, Sequence[File]]
    gone: Mapping[int, int]
    calls: Sequence[tuple[date, File]] = ()


async def sources(db: Database, store_: store.Inputs, inputs: Inputs) -> Sources:
    """Read them in one transaction. Raises inputs_incomplete."""
    async with db.read() as read:
        run = await store_.run(read, inputs.run_id)
        runs = await store_.runs(read)
        files = {feed: await store_.files(read, inputs.deliveries[feed]) for feed in FEEDS}
        files |= {CUSTOMERS: await store_.files(read, inputs.graph.get(CUSTOMERS, ()))}
        calls = await store_.dated_files(read, inputs.graph.get(CALLS, ()))
        outcomes = store.Outcomes()
        answered, gone = await outcomes.answered(read, MOST), await outcomes.gone(read)
    if run is None:
        raise refusals.inputs_incomplete(f"run {inputs.run_id}")
    return Sources(run, runs, answered, files, gone, calls)


@dataclass(frozen=True)
class Known:
    """The customers of the run asked for, what everybody ordered, and the products."""

    features: Features
    orders: Orders
    catalogue: Catalogue


async def known(lake: Lake, told: Sources) -> Known:
    """Read them from the lake."""

    def read() -> Known:
        features = lake.features(told.run.files).without(told.gone)
        orders = ownership.mapped(lake.orders(told.files[ORDERS]), told.gone)
        return Known(features, orders, Catalogue.of(lake.products(told.files[PRODUCTS])))

    return await asyncio.to_thread(read)


def called_names(told: Sources, catalogue: Catalogue) -> tuple[str, ...]:
    """The names of what `called` gives; none without calls."""
    return ("called_customers", *(f"called_have_{each}" for each in catalogue.ids)) if told.calls else ()


def called(lake: Lake, told: Sources, run: Run, keys: Ints, orders: Orders, catalogue: Catalogue) -> Singles:
    """Of each customer, (n, p + 1): how many customers he called in the days up to a run's last one, and the share of
    them who held each product at its end; (n, 0) without calls. Blocks.
    """
    if not told.calls:
        return np.zeros((len(keys), 0), dtype=np.float32)
    graph = Calls(lake, told.files[CUSTOMERS], told.calls, told.gone).until(run.to_date, keys)
    end = datetime.combine(run.to_date + timedelta(days=1), datetime.min.time(), UTC)
    owned = ownership.fold(ownership.before(orders, int(end.timestamp() * 1000)), keys, catalogue).owned
    many = np.diff(graph.calls.indptr).astype(np.float32)
    return np.hstack([many[:, None], graph.shares(owned)])


def graph_of(lake: Lake, told: Sources, keys: Ints) -> CallGraph:
    """Who called whom in the days up to the run's last one. Blocks."""
    return Calls(lake, told.files[CUSTOMERS], told.calls, told.gone).until(told.run.to_date, keys)


def trials_of(
    lake: Lake, told: Sources, names: tuple[str, ...], known: Known, found: Sequence[Trial], product_ids: Sequence[str]
) -> Trials | None:
    """What is known of trials of some products, as of contacts; None without one. Blocks."""
    chosen, campaigns = experiments(found, told.gone)
    asked = [
        Answered(each.contact_id, told.gone.get(each.customer_key, each.customer_key), each.product_id, each.time,
                 each.treated)
        for each in chosen if each.product_id in product_ids
    ]  # fmt: skip
    if not asked:
        return None
    mine = gathered(lake, replace(told, answered=asked), names, known.orders, known.catalogue)
    opened = opened_after(mine.customer, mine.product, mine.time, known.orders, known.catalogue)
    place = {known.catalogue.index[each]: number for number, each in enumerate(product_ids)}
    return Trials(
        np.hstack([mine.profile, mine.owned.astype(np.float32), mine.called]),
        np.array([place[each] for each in mine.product.tolist()], dtype=np.int64),
        mine.accepted,
        opened,
        {each: campaigns[each] for each in product_ids if each in campaigns},
    )


def gathered(lake: Lake, told: Sources, names: tuple[str, ...], orders: Orders, catalogue: Catalogue) -> Contacts:
    """The contacts of known products and customers, with the columns `names` of the latest run before each. Blocks."""
    days = [run.to_date for run in told.runs]
    answered = [each for each in told.answered if each.product_id in catalogue.index]
    place = np.array([history.run_before(days, each.time) for each in answered], dtype=np.int64)
    profile = np.full((len(answered), len(names)), np.nan, dtype=np.float32)
    peers = np.full((len(answered), len(called_names(told, catalogue))), np.nan, dtype=np.float32)
    found = np.zeros(len(answered), dtype=bool)
    keys = np.array([each.customer_key for each in answered], dtype=np.int64)
    for number in sorted(set(place[place >= 0].tolist())):
        features = lake.features(told.runs[number].files)
        values, rows = aligned(features, names), np.flatnonzero(place == number)
        at = np.minimum(np.searchsorted(features.customer_key, keys[rows]), max(len(features.customer_key) - 1, 0))
        there = features.customer_key[at] == keys[rows]
        profile[rows[there]] = values[at[there]]
        theirs = called(lake, told, told.runs[number], features.customer_key, orders, catalogue)
        peers[rows[there]] = theirs[at[there]]
        found[rows[there]] = True
    whole = Contacts(
        keys,
        np.array([catalogue.index[each.product_id] for each in answered], dtype=np.int64),
        np.array([each.accepted for each in answered], dtype=bool),
        np.array([each.time.timestamp() for each in answered], dtype=np.float64),
        profile,
        history.owned_before(answered, orders, catalogue),
        peers,
    )
    return whole.of(found)
