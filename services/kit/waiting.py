"""Waiting that can be told to stop, and back-off that spreads replicas."""

import asyncio
import random


async def pause(seconds: float, stop: asyncio.Event) -> bool:
    """Wait, at most until `stop` is set; says whether it is."""
    if not stop.is_set() and seconds > 0:
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            pass
    return stop.is_set()


def backoff(failures: int, *, first: float = 0.1, most: float = 30.0) -> float:
    """Seconds to wait after the n-th failure in a row: doubling from `first` to `most`, spread by a half either way."""
    return min(first * 2.0 ** min(failures - 1, 30), most) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret in it
