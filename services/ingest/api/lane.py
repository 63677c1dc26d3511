"""The event lane: batches of one stream under way, their acknowledgements in order."""

import asyncio
from collections.abc import AsyncIterator

from lifecircle.ingest.v1 import PublishEventsRequest
from services.ingest.api import translate
from services.ingest.usecases import Events
from services.ingest.usecases.writing import Outcome

_UNDER_WAY = 8

Next = tuple[str, "asyncio.Future[Outcome]"] | None


async def acknowledged(
    events: Events, requests: AsyncIterator[PublishEventsRequest], caller: str, stop: asyncio.Event
) -> AsyncIterator[tuple[str, Outcome]]:
    """(batch_id, outcome) of every batch after its commit, in the order of the batches.

    At most so many batches of one stream are under way; then, or when the writer has no room, nothing is read: HTTP/2
    flow control lets the caller feel it. At `stop` nothing more is read, and what was read is acknowledged.
    """
    under_way: asyncio.Queue[Next] = asyncio.Queue(_UNDER_WAY)
    reading = asyncio.create_task(_read(events, requests, caller, under_way))
    stopping = asyncio.create_task(stop.wait())
    try:
        while True:
            taking = asyncio.ensure_future(under_way.get())
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done() and under_way.empty():  # the process stops, and nothing is owed to this caller
                taking.cancel()
                return
            item = await taking
            if item is None:
                await reading  # raises what broke the stream
                return
            yield item[0], await item[1]
    finally:
        reading.cancel()
        stopping.cancel()
        await asyncio.gather(reading, stopping, return_exceptions=True)


async def _read(
    events: Events, requests: AsyncIterator[PublishEventsRequest], caller: str, under_way: "asyncio.Queue[Next]"
) -> None:
    try:
        async for request in requests:
            future = await events.publish_batch(translate.batch(request, caller))
            await under_way.put((request.batch_id, future))
    except Exception:
        await under_way.put(None)
        raise
    await under_way.put(None)
