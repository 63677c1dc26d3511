"""The other side of a benchmark: calls at once, for some seconds, every status looked at.

Run as a process: it reads one JSON line {target, method, token, requests (hex), at_once, seconds} and prints
{"calls": n, "seconds": s, "milliseconds": {"p50": …, "p99": …}}; a call that fails ends it with its status.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time

import grpc
import uvloop


async def call(target: str, method: str, token: str, requests: list[str], at_once: int, seconds: float) -> None:
    """Calls until the time is up and prints the count."""
    bodies = itertools.cycle([bytes.fromhex(request) for request in requests])
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    took: list[float] = []
    async with grpc.aio.insecure_channel(target) as channel:
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        await stub(next(bodies), metadata=metadata, timeout=10)
        started = time.perf_counter()
        end = started + seconds

        async def one() -> None:
            while (now := time.perf_counter()) < end:
                await stub(next(bodies), metadata=metadata, timeout=10)
                took.append(time.perf_counter() - now)

        await asyncio.gather(*(one() for _ in range(at_once)))
        spent = time.perf_counter() - started
    took.sort()
    quantiles = {
        name: round(1000 * took[int(part * (len(took) - 1))], 2) for name, part in (("p50", 0.5), ("p99", 0.99))
    }
    print(json.dumps({"calls": len(took), "seconds": spent, "milliseconds": quantiles}))


if __name__ == "__main__":
    uvloop.run(call(**json.loads(sys.stdin.readline())))
