"""The job `matrix`: every customer of a run × every product he could open, by the graph, published at once."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import structlog

from services.kit import outbox
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.jobs import Running
from services.recommend import refusals, store
from services.recommend.domain import matrix
from services.recommend.domain.ownership import State
from services.recommend.domain.product import Catalogue, Singles
from services.recommend.domain.registry import Matrix, Model
from services.recommend.domain.snapshot import FEEDS, File, Inputs
from services.recommend.lake import Features, Lake, model_path, workbench
from services.recommend.model import Graph
from services.recommend.usecases import moving
from services.recommend.usecases.moving import Moving

_log = structlog.get_logger(__name__)

PUBLISHED = "matrix.published"
_ROWS = 2_000  # that the graph ranks at once; more of them leave the cache of the processor


class Scoring:
    """Scores matrices."""

    def __init__(
        self,
        db: Database,
        inputs: store.Inputs,
        models: store.Models,
        matrices: store.Matrices,
        lake: Lake,
        clock: Clock,
    ) -> None:
        self._db = db
        self._inputs = inputs
        self._models = models
        self._matrices = matrices
        self._acceptances = store.Acceptances()
        self._lake = lake
        self._clock = clock

    async def score(self, running: Running) -> None:
        """Run the job: a file per bucket, then matrix, manifest, event and the job's end in one transaction."""
        inputs = Inputs(running.job.spec["run_id"], running.job.spec["deliveries"])
        async with self._db.read() as read:
            run = await self._inputs.run(read, inputs.run_id)
            model = await self._models.model(read, running.job.spec["model_id"])
            sources = {feed: await self._inputs.files(read, inputs.deliveries[feed]) for feed in FEEDS}
            terms = await store.Guidance().terms(read)
            gone = await store.Outcomes().gone(read)
            serving = await self._acceptances.serving(read)
        if run is None or model is None:
            raise refusals.inputs_incomplete("run or model")
        matrix_id = running.job.job_id
        graph = await asyncio.to_thread(self._graph, model)
        products = await asyncio.to_thread(self._lake.products, sources["products"])
        catalogue = Catalogue.of(products).with_terms(terms).aligned(model.product_ids)
        drifts: list[dict[str, float]] = []
        until = datetime.combine(run.to_date + timedelta(days=1), datetime.min.time(), UTC)
        now = int(until.timestamp() * 1000)
        held = await asyncio.to_thread(self._lake.states, sources["orders"], catalogue, gone, len(run.files))

        def ranked(source: File) -> moving.Ranked:
            return _ranked(self._lake, graph, model, catalogue, held, source, now, gone)

        sources_ = sorted(run.files, key=lambda file: file.bucket)
        moved = await asyncio.to_thread(moving.prepared, self._lake, serving, model.product_ids, sources_, ranked)
        files: list[File] = []
        customers = 0
        for number, source in enumerate(sources_, 1):
            part = await asyncio.to_thread(
                bucket, self._lake, matrix_id, graph, model, catalogue, held, source, now, gone, moved
            )
            file, scored, drift = part
            files.append(file)
            drifts.append(drift)
            customers += scored
            await running.progress(number, len(run.files), customers=customers)
        cells = sum(file.rows for file in files)
        made = Matrix(matrix_id, model.model_id, run.run_id, run.to_date, customers, cells, self._clock(), mean(drifts))
        if moved is not None:
            shifts = await asyncio.to_thread(moved.publish, self._lake, matrix_id)
            made = replace(made, acceptance=moved.acceptance, shifts=shifts)
        async with self._db.begin() as tx:
            await self._matrices.publish(tx, made, files)
            await outbox.put(tx, PUBLISHED, matrix_id, {"matrix_id": matrix_id})
            await running.succeed(tx, customers=customers, cells=cells)
            await tx.commit()
        _log.info("matrix_published", matrix=matrix_id, customers=customers, cells=cells)

    def _graph(self, model: Model) -> Graph:
        return Graph(self._lake.get(model_path(model.model_id, workbench.GRAPH)), model.sha256)


def bucket(
    lake: Lake,
    matrix_id: str,
    graph: Graph,
    model: Model,
    catalogue: Catalogue,
    held: Sequence[State],
    source: File,
    now: int,
    gone: Collection[int] = (),
    moved: Moving | None = None,
) -> tuple[File, int, dict[str, float]]:
    """Score one bucket of customers into a file; gives it, the number of customers, and their drift."""
    features, profile, ids, scores = _ranked(lake, graph, model, catalogue, held, source, now, gone)
    if moved is not None:
        ids, scores = moved.move(features, ids, scores)
    file = lake.write_matrix(matrix_id, source.bucket, features, matrix.cells(ids, scores), model.product_ids)
    return file, len(profile), drift_of(model, profile)


def _ranked(
    lake: Lake,
    graph: Graph,
    model: Model,
    catalogue: Catalogue,
    held: Sequence[State],
    source: File,
    now: int,
    gone: Collection[int],
) -> moving.Ranked:
    """The customers of one bucket, and what the graph says of them."""
    features = lake.features([source]).without(gone)
    mine = held[source.bucket].of(features.customer_key)
    profile, cooling = aligned(features, model.features), mine.cooling(catalogue, now)
    shape = len(profile), len(model.product_ids)
    ids, scores = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
    for start in range(0, len(profile), _ROWS):
        part = slice(start, start + _ROWS)
        eligible = catalogue.eligible(mine.owned[part]) & ~cooling[part]
        told = graph.rank(profile[part], mine.owned[part], eligible)
        ids[part], scores[part] = told.ids, told.scores
    return features, profile, ids, scores


def drift_of(model: Model, profile: Singles) -> dict[str, float]:
    """The population stability index by feature, of the customers scored against those learned from."""
    known = model.report.get("classes", {})
    return {
        name: round(matrix.stability(np.array(known[name]["edges"]), np.array(known[name]["shares"]), profile[:, n]), 4)
        for n, name in enumerate(model.features)
        if name in known and len(profile)
    }


def mean(drifts: list[dict[str, float]]) -> dict[str, float]:
    """The mean over the buckets, each of which is a sample of the customers by key."""
    told = [each for each in drifts if each]
    return {name: round(sum(each[name] for each in told) / len(told), 4) for name in (told[0] if told else ())}


def aligned(features: Features, names: tuple[str, ...]) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """The columns that a model wants, in its order; one that the run lacks is missing (NaN). What is not finite too."""
    if features.names == names:
        wanted = features.values.copy()
    else:
        place = {name: number for number, name in enumerate(features.names)}
        wanted = np.full((len(features.values), len(names)), np.nan, dtype=np.float32)
        for number, name in enumerate(names):
            if name in place:
                wanted[:, number] = features.values[:, place[name]]
    wanted[np.isinf(wanted)] = np.nan
    return wanted
