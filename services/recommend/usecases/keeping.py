"""The champion in memory: loaded when the registry names another, and kept when the new one cannot be trusted."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from services.kit import telemetry
from services.kit.db import Read
from services.recommend import refusals, store
from services.recommend.domain.association import Association
from services.recommend.domain.product import Catalogue, Product
from services.recommend.domain.rf_cf import Forest
from services.recommend.lake import Lake, model_path, workbench
from services.recommend.model import Graph, unpack_trees

_log = structlog.get_logger(__name__)
_refused = telemetry.counter("lifecircle.recommend.models.refused", "{model}", "Models that could not be loaded.")

_FRESH_SECONDS = 1.0
_AGAIN_SECONDS = 30.0


@dataclass(frozen=True)
class Loaded:
    """A champion ready to serve."""

    model: store.Model
    graph: Graph
    forest: Forest


@dataclass(frozen=True)
class View:
    """All that answering needs beside the customer: read at most once a second, and never changed afterwards.

    `places` are those of the model's features among the served run's columns, -1 for one that the run lacks.
    """

    loaded: Loaded | None
    served: store.Served | None
    products: Mapping[str, Product]
    owners: Mapping[str, int]
    catalogue: Catalogue
    customers: int
    together: Mapping[str, Sequence[Association]]
    places: "np.ndarray[tuple[int], np.dtype[np.int64]]"


class Keeper:
    """Keeps the view fresh; one refresh at a time, and requests go on with the last good one."""

    def __init__(self, inputs: store.Inputs, knowledge: store.Knowledge, models: store.Models, lake: Lake) -> None:
        self._inputs = inputs
        self._knowledge = knowledge
        self._models = models
        self._lake = lake
        self._view: View | None = None
        self._read_at = 0.0
        self._loaded: Loaded | None = None
        self._bad: tuple[str, float] = ("", 0.0)
        self._lock = asyncio.Lock()

    async def view(self, read: Read) -> View:
        """The view, at most a second old."""
        if self._view is not None and time.monotonic() - self._read_at < _FRESH_SECONDS:
            return self._view
        async with self._lock:
            if self._view is None or time.monotonic() - self._read_at >= _FRESH_SECONDS:
                self._view = await self._refresh(read)
                self._read_at = time.monotonic()
        return self._view

    async def _refresh(self, read: Read) -> View:
        await self._follow_champion(read)
        served = await self._inputs.served(read)
        held = await self._knowledge.products(read)
        together: dict[str, list[Association]] = {}
        for each in await self._knowledge.associations(read):
            together.setdefault(each.right, []).append(each)
        catalogue = Catalogue.of([each.product for each in held])
        places = np.zeros(0, dtype=np.int64)
        if self._loaded is not None:
            model = self._loaded.model
            catalogue = catalogue.aligned(model.product_ids)
            column = {name: number for number, name in enumerate(served.columns if served else ())}
            places = np.array([column.get(name, -1) for name in model.features], dtype=np.int64)
        return View(
            self._loaded,
            served,
            {each.product.product_id: each.product for each in held},
            {each.product.product_id: each.owners for each in held},
            catalogue,
            await self._knowledge.customers(read),
            together,
            places,
        )

    async def _follow_champion(self, read: Read) -> None:
        """Load the champion unless it is there; one that cannot be loaded is tried again later, the last good stays."""
        champion = await self._models.champion_id(read)
        if self._loaded is not None and self._loaded.model.model_id == champion:
            return
        if not champion or (self._bad[0] == champion and time.monotonic() < self._bad[1]):
            return
        model = await self._models.model(read, champion)
        assert model is not None, "the registry names a champion that it does not hold"
        try:
            self._loaded = await asyncio.to_thread(self._load, model)
            _log.info("model_loaded", model=champion, sha256=model.sha256)
        except Exception as error:
            self._bad = (champion, time.monotonic() + _AGAIN_SECONDS)
            _refused(1, why=type(error).__name__)
            _log.error("model_refused", model=champion, why=f"{type(error).__name__}: {error}")

    def _load(self, model: store.Model) -> Loaded:
        graph = Graph(self._lake.get(model_path(model.model_id, workbench.GRAPH)), model.sha256)
        trees = self._lake.get(model_path(model.model_id, workbench.TREES))
        return Loaded(model, graph, unpack_trees(trees, model.trees_sha256))


def champion(view: View) -> Loaded:
    """The model that serves. Raises model_missing."""
    if view.loaded is None:
        raise refusals.model_missing()
    return view.loaded
