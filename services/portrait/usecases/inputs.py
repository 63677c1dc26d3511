"""The files of a run's inputs, as long as they are in force."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from services.kit.jobs import Running
from services.portrait.domain.readiness import Inputs
from services.portrait.domain.run import LakeFile
from services.portrait.refusals import feeds_incomplete

Snapshot = Callable[[str, Inputs], Awaitable[list[LakeFile]]]
"""The lake's files of one feed, of all periods that a run may read."""
Files = Mapping[str, Sequence[LakeFile]]

_LOOK_SECONDS = 0.5


async def facts_of(
    running: Running, inputs: Inputs, snapshot: Snapshot, required: Collection[str], patience: float
) -> Files:
    """The files of the inputs by feed. Raises Cancelled, feeds_incomplete.

    Ingest gives a delivery up the moment that another takes its place, and we hear of that a little later: then the job
    of the newer inputs cancels this one. To have been overtaken is no failure, so it is waited for, `patience` seconds.
    """
    facts, gone = await _in_force(inputs, snapshot, required)
    for _ in range(round(patience / _LOOK_SECONDS) if gone else 0):
        await running.progress(0, 1, message="an input was superseded")
        await asyncio.sleep(_LOOK_SECONDS)
    if gone:
        raise feeds_incomplete(gone)
    return facts


async def _in_force(inputs: Inputs, snapshot: Snapshot, required: Collection[str]) -> tuple[Files, list[str]]:
    """The files by feed, and which deliveries of the required feeds have none any more."""
    feeds = sorted(inputs.deliveries)
    manifests = await asyncio.gather(*(snapshot(feed, inputs) for feed in feeds))
    facts = {
        feed: [file for file in manifest if file.deliveries & set(inputs.deliveries[feed])]
        for feed, manifest in zip(feeds, manifests, strict=True)
    }
    gone = [
        f"{feed} {delivery_id}"
        for feed in feeds
        if feed in required
        for delivery_id in sorted(set(inputs.deliveries[feed]).difference(*(file.deliveries for file in facts[feed])))
    ]
    return facts, gone
