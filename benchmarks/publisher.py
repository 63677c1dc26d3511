"""The other side of the event lane: streams of batches, each acknowledgement looked at.

Run as a process: it reads one JSON line {target, method, token, streams, batches, size, under_way, seed} and prints
{"events": n, "seconds": s, "cpu_seconds": c, "milliseconds": {"p50": …, "p99": …}}; a batch not wholly written ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import grpc
import uvloop

from lifecircle.ingest.v1 import Event, PublishEventsRequest, PublishEventsResponse


def batch(seed: str, stream: int, number: int, size: int) -> bytes:
    """Makes one batch such as a billing system sends it."""
    request = PublishEventsRequest(batch_id=f"{stream}-{number}")
    for index in range(size):
        event = Event(source="boss", source_event_id=f"{seed}-{stream}-{number}-{index}", type="business.NEW")
        event.occur_time.seconds = 1_790_000_000 + index
        event.attributes.update(
            {"product_id": f"P{index % 40:02d}", "staff_id": f"S{index % 300:04d}", "channel": "store"}
        )
        event.attributes.update({"amount_fen": str(100 * (index % 500))})
        request.events.append(event)
    return request.SerializeToString()


async def publish(
    target: str, method: str, token: str, streams: int, batches: int, size: int, under_way: int, seed: str
) -> None:
    """Publishes all batches and prints what it took; making them is not counted."""
    made = [[batch(seed, stream, number, size) for number in range(batches)] for stream in range(streams)]
    took: list[float] = []
    metadata = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(target) as channel:
        call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)

        async def one(mine: list[bytes]) -> None:
            room, sent = asyncio.Semaphore(under_way), []

            async def requests() -> AsyncIterator[bytes]:
                for body in mine:
                    await room.acquire()
                    sent.append(time.perf_counter())
                    yield body

            heard = 0
            async for answer in call(requests(), metadata=metadata):
                took.append(time.perf_counter() - sent[heard])
                heard += 1
                room.release()
                if PublishEventsResponse.FromString(answer).written != size:
                    sys.exit(f"not all were written: {PublishEventsResponse.FromString(answer)}")
            if heard != len(mine):
                sys.exit(f"{heard} of {len(mine)} batches were acknowledged")

        cpu, started = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one(mine) for mine in made))
        spent, cpu = time.perf_counter() - started, time.process_time() - cpu
    took.sort()
    quantiles = {
        name: round(1000 * took[int(part * (len(took) - 1))], 1) for name, part in (("p50", 0.5), ("p99", 0.99))
    }
    print(json.dumps({"events": len(took) * size, "seconds": spent, "cpu_seconds": cpu, "milliseconds": quantiles}))


if __name__ == "__main__":
    uvloop.run(publish(**json.loads(sys.stdin.readline())))
