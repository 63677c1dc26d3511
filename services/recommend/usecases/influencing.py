"""The job `influence`: who has weight in his circles, and what those hold with whom each customer speaks."""

import asyncio

import numpy as np
import structlog

from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.jobs import Running
from services.recommend import store
from services.recommend.domain import call_graph, ownership
from services.recommend.domain.call_graph import Influence, Published
from services.recommend.domain.snapshot import Inputs
from services.recommend.lake import Features, Lake, influences, profiles
from services.recommend.usecases import contacts

_log = structlog.get_logger(__name__)


class Influencing:
    """Looks at calls."""

    def __init__(self, db: Database, inputs: store.Inputs, lake: Lake, clock: Clock) -> None:
        self._db = db
        self._inputs = inputs
        self._influences = store.Influences()
        self._lake = lake
        self._clock = clock

    async def weigh(self, running: Running) -> None:
        """Run the job. Raises inputs_incomplete."""
        told = await contacts.sources(self._db, self._inputs, Inputs.of(running.job.spec))
        await running.progress(0, 2, message="reading calls")
        known = await contacts.known(self._lake, told)
        graph = await asyncio.to_thread(contacts.graph_of, self._lake, told, known.features.customer_key)
        await running.progress(1, 2, message="weighing", customers=len(known.features.customer_key))
        made = await asyncio.to_thread(self._publish, running.job.job_id, told, known, graph)
        async with self._db.begin() as tx:
            await self._influences.put(tx, made)
            await running.succeed(tx, customers=made.customers, links=made.links)
            await tx.commit()
        _log.info("influence_published", influence=made.influence_id, links=made.links)

    def _publish(
        self, job_id: str, told: contacts.Sources, known: contacts.Known, graph: call_graph.CallGraph
    ) -> Published:
        features, spoken = known.features, graph.spoken
        everybody = call_graph.influence("", np.arange(len(features.customer_key)), spoken)
        circles = call_graph.circles(features.names, features.values)
        found = [everybody, *(call_graph.influence(name, members, spoken) for name, members in circles)]
        weight = np.zeros(len(features.customer_key))
        weight[everybody.row] = everybody.score
        owned = ownership.fold(known.orders, features.customer_key, known.catalogue).owned
        shares = Features(features.customer_key, features.org_id, known.catalogue.ids, graph.social(owned, weight))
        return Published(
            job_id,
            told.run.run_id,
            len(features.customer_key),
            int(spoken.nnz) // 2,
            influences.publish(self._lake, job_id, features, _told(found)),
            profiles.write(self._lake, job_id, shares, "social"),
            known.catalogue.ids,
            self._clock(),
        )


def _told(found: list[Influence]) -> list[Influence]:
    return [each for each in found if len(each.row)]
