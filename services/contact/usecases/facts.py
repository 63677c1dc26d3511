"""Tells what is learned of contacts, in the transaction in which it is learned."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from services.contact.domain.attribution import OPENING, OUTCOME, OutcomeFact, from_json, to_json
from services.contact.domain.fact import Opening
from services.contact.domain.outcome import Outcome
from services.contact.store import Store
from services.kit import outbox
from services.kit.cursors import Followed
from services.kit.db import Database, Write
from services.kit.outbox import Checkpoint

KIND = "contact.learned"
_MOST = 500


async def tell(tx: Write, facts: Sequence[OutcomeFact]) -> None:
    """Put facts on the outbox, many in one row, since they come by the thousand."""
    for at in range(0, len(facts), _MOST):
        part = facts[at : at + _MOST]
        await outbox.put(tx, KIND, part[0].known.contact_id, {"facts": [to_json(fact) for fact in part]})


async def tell_outcomes(tx: Write, store: Store, outcomes: Sequence[Outcome]) -> None:
    """Tell the outcomes that are new or better than what was known."""
    if not outcomes:
        return
    known = await store.attributions.known(tx, [outcome.contact_id for outcome in outcomes])
    await tell(
        tx,
        [
            OutcomeFact(
                OUTCOME,
                known[outcome.contact_id],
                result=outcome.result,
                opened=outcome.opened,
                open_time=outcome.open_time,
            )
            for outcome in outcomes
        ],
    )


async def attribute(tx: Write, store: Store, openings: Sequence[Opening], now: datetime) -> None:
    """Attribute openings to the contacts before them, and tell those that count for the first time."""
    times: Mapping[str, datetime] = dict(await store.attributions.attribute(tx, openings, now))
    if times:
        known = await store.attributions.known(tx, list(times))
        await tell(tx, [OutcomeFact(OPENING, known[one], opened=True, open_time=at) for one, at in times.items()])


async def follow(
    db: Database, cursor: str, stop: asyncio.Event | None = None
) -> AsyncIterator[Followed[Sequence[OutcomeFact]]]:
    """What was learned after the cursor, in one order, for ever. Raises cursor_invalid."""
    async for item in outbox.follow(db, cursor=cursor, kinds={KIND}, stop=stop):
        if isinstance(item, Checkpoint):
            yield Followed(item.cursor, None)
        else:
            yield Followed(item.cursor, [from_json(told) for told in item.payload["facts"]], item.traceparent)
