"""Scores what the platform found against what the city planted: home F1, tag F1, acceptance AUC."""

from __future__ import annotations

import asyncio
import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from lifecircle import Lifecircle
from lifecircle.ingest.v1 import ResolveIdentitiesRequest
from lifecircle.portrait.v1 import Anchor, BatchGetPortraitsRequest, Portrait
from lifecircle.recommend.v1 import RecommendRequest

# Enough for a standard error of the AUC below .005; every customer would only take longer.
ASKED_MOST = 1000
AT_ONCE = 32


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Reads a truth table."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def f1(right: int, said: int, planted: int) -> float:
    """Gives the harmonic mean of precision and recall; 1 when there was nothing to say and nothing was said."""
    return 2 * right / (said + planted) if said + planted else 1.0


def auc(pairs: list[tuple[float, float]]) -> float:
    """Gives the probability that a pair (score, planted probability) is ordered as planted, in expectation.

    Every pair counts as an acceptance with its planted probability and as a refusal with the rest (the expected
    Mann-Whitney statistic), so that no draw adds noise; equal scores count half.
    """
    ordered = sorted(pairs)
    accepted_all, refused_all = sum(p for _, p in pairs), sum(1 - p for _, p in pairs)
    wins = refused = 0.0
    place = 0
    while place < len(ordered):
        end = place
        while end < len(ordered) and ordered[end][0] == ordered[place][0]:
            end += 1
        accepted = sum(p for _, p in ordered[place:end])
        ties = sum(1 - p for _, p in ordered[place:end])
        wins += accepted * (refused + ties / 2)
        refused += ties
        place = end
    return wins / (accepted_all * refused_all)


async def resolve(platform: Lifecircle, msisdns: list[str]) -> dict[str, int]:
    """Gives the customer keys of clear numbers; unknown numbers are left out."""
    keys: dict[str, int] = {}
    for start in range(0, len(msisdns), 10_000):
        part = msisdns[start : start + 10_000]
        answer = await platform.ingest.ResolveIdentities(
            ResolveIdentitiesRequest(msisdns=part, purpose="scores against the planted truth")
        )
        keys.update({msisdn: key for msisdn, key in zip(part, answer.customer_keys, strict=True) if key})
    return keys


async def portraits(platform: Lifecircle, keys: list[int]) -> dict[int, Portrait]:
    """Gives the portraits of customers by key."""
    found: dict[int, Portrait] = {}
    for start in range(0, len(keys), 500):
        ask = BatchGetPortraitsRequest(customer_keys=keys[start : start + 500])
        found.update({one.customer_key: one for one in (await platform.portrait.BatchGetPortraits(ask)).portraits})
    return found


def place_f1(
    known: dict[int, Portrait], keys: dict[str, int], planted: dict[str, str], role: Anchor.Role.ValueType
) -> float:
    """Gives the F1 of an anchor: right when the place is the planted one."""
    said = {
        key: anchor.place_id for key, portrait in known.items() for anchor in portrait.anchors if anchor.role == role
    }
    right = sum(said.get(keys.get(msisdn, 0)) == place for msisdn, place in planted.items() if place)
    return f1(right, len(said), sum(bool(place) for place in planted.values()))


def tag_f1(known: dict[int, Portrait], keys: dict[str, int], planted: dict[str, set[str]]) -> dict[str, float]:
    """Gives the F1 of each planted tag (`CODE`, or `CODE=value` of an enum)."""
    said: dict[str, set[int]] = defaultdict(set)
    for key, portrait in known.items():
        for borne in portrait.tags:
            said[f"{borne.code}={borne.value}" if borne.value else borne.code].add(key)
    scores = {}
    for tag, msisdns in sorted(planted.items()):
        bearers = {keys[msisdn] for msisdn in msisdns if msisdn in keys}
        scores[tag] = f1(len(bearers & said[tag]), len(said[tag]), len(msisdns))
    return scores


async def acceptance(
    platform: Lifecircle, keys: dict[str, int], planted: dict[str, dict[str, float]]
) -> list[tuple[float, float]]:
    """Gives (score, planted probability) of what is recommended to up to 1,000 customers, every eligible product."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def ask(msisdn: str) -> list[tuple[float, float]]:
        async with limit:
            try:
                said = await platform.recommend.Recommend(RecommendRequest(customer_key=keys[msisdn], most=100))
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:  # a number that only signalled: no profile, no features
                    return []
                raise
        probability = planted[msisdn]
        return [
            (one.score, probability[one.product_id]) for one in said.recommendations if one.product_id in probability
        ]

    asked = [msisdn for msisdn in sorted(planted) if msisdn in keys][:ASKED_MOST]
    return [pair for found in await asyncio.gather(*map(ask, asked)) for pair in found]


async def score(platform: Lifecircle, folder: Path, show: Callable[[float, float, str], None]) -> dict[str, float]:
    """Gives the scores by name; `show` is told how far it is."""
    customers = {row["msisdn"]: row for row in rows(folder / "customers.csv")}
    keys = await resolve(platform, list(customers))
    show(1, 4, "portraits")
    known = await portraits(platform, list(keys.values()))
    homes = {msisdn: row["home_anchor"] for msisdn, row in customers.items()}
    works = {msisdn: row["work_anchor"] for msisdn, row in customers.items()}
    planted_tags: dict[str, set[str]] = defaultdict(set)
    for row in rows(folder / "tags.csv"):
        planted_tags[row["tag"]].add(row["msisdn"])
    tags = tag_f1(known, keys, planted_tags)
    show(2, 4, "recommendations")
    planted: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows(folder / "acceptance.csv"):
        planted[row["msisdn"]][row["product_id"]] = float(row["probability"])
    pairs = await acceptance(platform, keys, planted)
    return {
        "home F1": place_f1(known, keys, homes, Anchor.ROLE_HOME),
        "work F1": place_f1(known, keys, works, Anchor.ROLE_WORK),
        f"tag F1, macro over {len(tags)}": sum(tags.values()) / len(tags),
        f"tag F1, lowest ({min(tags, key=lambda tag: tags[tag])})": min(tags.values()),
        "acceptance AUC": auc(pairs),
        "acceptance AUC, best possible": auc([(probability, probability) for _, probability in pairs]),
    }
