"""The job `comparison`: a challenger and a champion on contacts whose answers neither could know."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import numpy as np
import structlog

from services.kit import operations
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.jobs import Running
from services.recommend import refusals, store
from services.recommend.domain import live
from services.recommend.domain.history import Contacts
from services.recommend.domain.live import Comparison
from services.recommend.domain.product import Catalogue, Floats
from services.recommend.domain.registry import CHAMPION, Model
from services.recommend.domain.snapshot import Inputs
from services.recommend.lake import Lake, model_path, workbench
from services.recommend.model import Graph
from services.recommend.usecases import contacts

_log = structlog.get_logger(__name__)
_ROWS = 20_000


class Comparing:
    """Compares models, and promotes what is proven where that was asked for."""

    def __init__(self, db: Database, inputs: store.Inputs, models: store.Models, lake: Lake, clock: Clock) -> None:
        self._db = db
        self._inputs = inputs
        self._models = models
        self._acceptances = store.Acceptances()
        self._lake = lake
        self._clock = clock

    async def compare(self, running: Running) -> None:
        """Run the job. Raises inputs_incomplete, outcomes_missing."""
        spec = running.job.spec
        told = await contacts.sources(self._db, self._inputs, Inputs(spec["run_id"], spec["deliveries"]))
        known = await contacts.known(self._lake, told)
        async with self._db.read() as read:
            both = [await self._models.model(read, spec[name]) for name in ("champion_id", "challenger_id")]
            runs = [await self._inputs.run(read, each.run_id) for each in both if each is not None]
        champion, challenger = both
        if champion is None or challenger is None:
            raise refusals.inputs_incomplete("model")
        learned = max(run.to_date for run in runs if run is not None)
        scores: list[Floats] = []
        for model in (champion, challenger):
            catalogue = known.catalogue.aligned(model.product_ids)
            found = await asyncio.to_thread(
                contacts.gathered, self._lake, told, model.features, known.orders, known.catalogue
            )
            found = found.of(_askable(found, known.catalogue, (champion, challenger), learned_until=learned))
            scores.append(await asyncio.to_thread(self._scores, model, catalogue, known.catalogue, found))
        if min(int(found.accepted.sum()), int((~found.accepted).sum())) < live.FEWEST:
            raise refusals.outcomes_missing(len(found.customer))
        difference = live.compared(scores[0], scores[1], found.accepted, found.product, found.customer)
        await self._keep(running, champion, challenger, found, difference)

    async def _keep(
        self, running: Running, champion: Model, challenger: Model, found: Contacts, told: live.Difference
    ) -> None:
        async with self._db.begin() as tx:
            serves = await self._models.champion_id(tx)
            proven = told.verdict == live.CHALLENGER and serves == champion.model_id
            promoted = proven and bool(running.job.spec.get("promote"))
            made = Comparison(
                running.job.job_id,
                champion.model_id,
                challenger.model_id,
                len(found.customer),
                int(found.accepted.sum()),
                told.one,
                told.other,
                told.difference,
                told.low,
                told.high,
                told.verdict,
                promoted,
                self._clock(),
            )
            await self._acceptances.put_comparison(tx, made)
            if promoted and challenger.state != CHAMPION:
                await self._models.promote(tx, challenger.model_id, self._clock())
                await operations.record(tx, "recommend.PromoteModel", challenger.model_id)
            await running.succeed(tx, message=told.verdict.lower(), contacts=made.contacts, accepted=made.accepted)
            await tx.commit()
        _log.info("models_compared", champion=champion.model_id, challenger=challenger.model_id, verdict=told.verdict)

    def _scores(self, model: Model, mine: Catalogue, catalogue: Catalogue, found: Contacts) -> Floats:
        """What a model says of each contact's product; `mine` are the products in its order. Blocks."""
        graph = Graph(self._lake.get(model_path(model.model_id, workbench.GRAPH)), model.sha256)
        place = np.array([catalogue.index.get(each, -1) for each in mine.ids], dtype=np.int64)
        owned = np.where(place >= 0, found.owned[:, np.maximum(place, 0)], False)
        own = np.array([mine.index[catalogue.ids[each]] for each in found.product.tolist()], dtype=np.int64)
        scores = np.zeros(len(own))
        for start in range(0, len(own), _ROWS):
            part = slice(start, start + _ROWS)
            ranking = graph.rank(found.profile[part], owned[part], ~owned[part])
            row, column = np.nonzero(ranking.ids == own[part][:, None])
            scores[start + row] = ranking.scores[row, column]
        return scores


def _askable(
    found: Contacts, catalogue: Catalogue, models: tuple[Model, Model], *, learned_until: date
) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Contacts after all that either model learned from, of products that both know and the customer lacked."""
    first = datetime.combine(learned_until + timedelta(days=1), datetime.min.time(), UTC).timestamp()
    both = set(models[0].product_ids) & set(models[1].product_ids)
    known = np.array([each in both for each in catalogue.ids], dtype=bool)
    lacked = ~found.owned[np.arange(len(found.product)), found.product]
    return np.asarray((found.time >= first) & known[found.product] & lacked)
