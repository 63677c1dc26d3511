"""A counter at which decisions are made: customers with consent, one campaign's offers, and replicas that decide.

Run as a program (`python -m tests.contact.counter URL SEED`) it decides until it is killed and prints each grant that
was acknowledged.
"""

import asyncio
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from services.contact.domain.auction import Customer, Matrix
from services.contact.domain.campaign import ACTIVE, Campaign
from services.contact.domain.fact import ConsentChange
from services.contact.domain.fact import Matrix as Published
from services.contact.domain.policy import Policy
from services.contact.domain.slot import Showing, Slot
from services.contact.store import Store
from services.contact.usecases.deciding import Ask
from services.contact.usecases.decisions import Decisions
from services.kit.clock import system_clock
from services.kit.db import Database
from tests.contact.made import campaign, limit, offer, policy

NOW = datetime(2026, 10, 1, 4, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")
PRODUCTS = ("P01", "P02", "P03")


def rules(**changes: Any) -> Policy:
    return policy(
        limit("sms", quiet_from_hour=0, quiet_to_hour=0), limit("app", quiet_from_hour=0, quiet_to_hour=0), **changes
    )


def offers(name: str = "秋季", **changes: Any) -> Campaign:
    told = {
        "org_id": "",  # the whole company: whom it reaches needs no loading
        "create_time": NOW,
        "start_date": date(2026, 1, 1),
        "end_date": date(2036, 12, 31),
        "state": ACTIVE,
    }
    mine = [
        offer(product, offer_id=f"{name}-{product}", channels=("sms", "app"), content=f"{product} 半价")
        for product in PRODUCTS
    ]
    return campaign(name, *mine, **(told | changes))


async def furnish(
    db: Database, *, customers: int = 20, rule: Policy | None = None, campaigns: Sequence[Campaign] = ()
) -> None:
    """Customers 1 … n with consent to sms and app, the policy, and the campaigns."""
    store = Store()
    keys = range(1, customers + 1)
    async with db.begin() as tx:
        await store.policies.add(tx, rule or rules(), NOW)
        for one in campaigns or [offers()]:
            await store.campaigns.add(tx, one)
        await store.customers.put(tx, [(key, Customer("G01", "B", "active")) for key in keys])
        given = [
            ConsentChange(key, channel, "marketing", True, datetime(2026, 8, 1, tzinfo=UTC))
            for key, channel in itertools.product(keys, ("sms", "app"))
        ]
        await store.customers.put_consents(tx, given)
        await store.matrices.add(tx, Published("m1", None, NOW))
        await tx.commit()


async def _files(matrix_id: str) -> list[Any]:
    return []


async def _showings(slot_ids: Sequence[str], moment: str) -> list[Showing]:
    return [
        Showing(one, Slot(one, one, "app", 0, 0, "DATA", "ROTATE", "欢迎"), None, "nothing due") for one in slot_ids
    ]


async def replica(
    db: Database,
    *,
    customers: int = 20,
    clock: Callable[[], datetime] = lambda: NOW,
    scores: Mapping[str, float] | None = None,
) -> Decisions:
    """A process that decides, with its scores read."""
    told = scores or {"P01": 0.3, "P02": 0.2, "P03": 0.1}
    keys = np.repeat(np.arange(1, customers + 1), len(told))
    matrix = Matrix(
        keys,
        np.tile(np.arange(len(told), dtype=np.int32), customers),
        np.tile(np.array(list(told.values())), customers) * (1 + (keys % 7) / 100),
        tuple(told),
    )
    made = Decisions(db, Store(), clock, SHANGHAI, _showings, _files, lambda files: matrix)
    await made.ready()
    return made


_NUMBERS = itertools.count()


def ask(customer: int = 1, *places: str, request_id: str = "", **changes: Any) -> Ask:
    """Places are slots by name, or channels as `=sms`; by default one message."""
    told = tuple(("", one[1:]) if one.startswith("=") else (one, "") for one in places or ("=sms",))
    return Ask("tests", request_id or f"r{next(_NUMBERS)}", customer, told, **changes)


async def _run(url: str, seed: int) -> None:
    db = await Database.open(url, schema="contact", application="counter")
    deciding = await replica(db, clock=system_clock)
    numbers = itertools.count()

    async def one(customer: int) -> None:
        while True:
            mine = ask(customer, request_id=f"{seed}-{next(numbers)}")
            [answer] = await deciding.decide(mine)
            if answer.decided.offer_id:
                print(answer.decided.grant_id, flush=True)

    await asyncio.gather(*(one(customer) for customer in range(1, 21)))


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2])))
