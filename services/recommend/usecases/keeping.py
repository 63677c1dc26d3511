"""The champion in memory: loaded when the registry names another, and kept when the new one cannot be trusted."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog

from services.kit import telemetry
from services.kit.db import Database, Read
from services.recommend import refusals, store
from services.recommend.domain.association import Association
from services.recommend.domain.customer import Served
from services.recommend.domain.product import Catalogue, Product
from services.recommend.domain.registry import Model
from services.recommend.domain.rf_cf import Forest
from services.recommend.domain.snapshot import File
from services.recommend.lake import Lake, model_path, profiles, workbench
from services.recommend.lake.profiles import Pack
from services.recommend.model import Graph, unpack_trees

_log = structlog.get_logger(__name__)
_refused = telemetry.counter("lifecircle.recommend.models.refused", "{model}", "Models that could not be loaded.")
_created = telemetry.gauge("lifecircle.recommend.model.created", "s", "When the model that serves was made, Unix time.")

_FRESH_SECONDS = 1.0
_AGAIN_SECONDS = 30.0


@dataclass(frozen=True)
class Loaded:
    """A champion ready to serve."""

    model: Model
    graph: Graph
    forest: Forest


@dataclass(frozen=True)
class View:
    """All that answering needs beside the customer: read at most once a second, and never changed afterwards.

    `places` are those of the model's features among the served run's columns, -1 for one that the run lacks.
    `together` are by right product the associations of more than chance, the strongest first.
    `pack` has the profiles of the served run; without one they are read from Postgres. `shifts` is what contacts taught
    in the order of the model's products, and `acceptance` names by product the models that learned it.
    """

    loaded: Loaded | None
    served: Served | None
    products: Mapping[str, Product]
    owners: Mapping[str, int]
    catalogue: Catalogue
    customers: int
    together: Mapping[str, Sequence[Association]]
    places: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    pack: Pack | None
    shifts: Pack | None = None
    acceptance: Mapping[str, str] = field(default_factory=dict)


class Keeper:
    """Keeps the view fresh, one refresh at a time; while another model loads, the last good one answers.

    Only the very first load is waited for. Nothing here holds a connection while a model loads, and a load goes on when
    the caller who began it goes away.
    """

    def __init__(
        self, db: Database, inputs: store.Inputs, knowledge: store.Knowledge, models: store.Models, lake: Lake
    ) -> None:
        self._db = db
        self._inputs = inputs
        self._knowledge = knowledge
        self._models = models
        self._lake = lake
        self._view: View | None = None
        self._matrices = store.Matrices()
        self._packs: dict[str, tuple[str, Pack | None]] = {}
        self._read_at = 0.0
        self._loaded: Loaded | None = None
        self._loading: asyncio.Task[None] | None = None
        self._bad: tuple[str, float] = ("", 0.0)
        self._lock = asyncio.Lock()

    async def view(self, run_id: str = "") -> View:
        """The view, at most a second old; read anew when it is not of the run `run_id`, where one is given."""
        if self._view is not None and self._fresh(self._view, run_id):
            return self._view
        async with self._lock:
            if self._view is None or not self._fresh(self._view, run_id):
                self._view = await self._refresh()
                self._read_at = time.monotonic()
            return self._view

    def _fresh(self, view: View, run_id: str) -> bool:
        if run_id and (view.served is None or view.served.run_id != run_id):
            return False
        return time.monotonic() - self._read_at < _FRESH_SECONDS

    async def _refresh(self) -> View:
        await self._follow_champion()
        async with self._db.read() as read:
            served = await self._inputs.served(read)
            held = await self._knowledge.products(read)
            customers = await self._knowledge.customers(read)
            loaded = self._loaded
            latest = await self._matrices.latest_of(read, loaded.model.model_id) if loaded is not None else None
            together: dict[str, list[Association]] = {}
            for each in await self._knowledge.associations(read):
                if each.lift > 1.0:
                    together.setdefault(each.right, []).append(each)
        for found in together.values():
            found.sort(key=lambda each: (each.lift, each.left), reverse=True)
        catalogue = Catalogue.of([each.product for each in held])
        places = np.zeros(0, dtype=np.int64)
        if loaded is not None:
            catalogue = catalogue.aligned(loaded.model.product_ids)
            column = {name: number for number, name in enumerate(served.columns if served else ())}
            places = np.array([column.get(name, -1) for name in loaded.model.features], dtype=np.int64)
        return View(
            loaded,
            served,
            {each.product.product_id: each.product for each in held},
            {each.product.product_id: each.owners for each in held},
            catalogue,
            customers,
            together,
            places,
            await self._mapped("profiles", served.pack if served is not None else None),
            await self._mapped("shifts", latest.shifts if latest is not None else None),
            latest.acceptance if latest is not None else {},
        )

    async def _mapped(self, kind: str, file: File | None) -> Pack | None:
        """A pack, mapped once; a file that cannot be trusted is not mapped."""
        if file is None:
            return None
        if self._packs.get(kind, ("", None))[0] != file.sha256:
            pack = None
            try:
                pack = await asyncio.to_thread(profiles.opened, file)
                _log.info(f"{kind}_mapped", of=pack.run_id, customers=len(pack.keys))
            except Exception as error:
                _log.error(f"{kind}_refused", uri=file.uri, why=f"{type(error).__name__}: {error}")
            self._packs[kind] = file.sha256, pack
        return self._packs[kind][1]

    async def _follow_champion(self) -> None:
        """Begin to load the champion unless it is there, and wait for it when there is nothing else to serve."""
        if self._loading is None:
            async with self._db.read() as read:
                model = await self._wanted(read)
            if model is None:
                return
            self._loading = asyncio.create_task(self._load(model))
        if self._loaded is None:
            await asyncio.shield(self._loading)

    async def _wanted(self, read: Read) -> Model | None:
        """The champion, if it is to be loaded; one that could not be is tried again later."""
        champion = await self._models.champion_id(read)
        if self._loaded is not None and self._loaded.model.model_id == champion:
            return None
        if not champion or (self._bad[0] == champion and time.monotonic() < self._bad[1]):
            return None
        model = await self._models.model(read, champion)
        assert model is not None, "the registry names a champion that it does not hold"
        return model

    async def _load(self, model: Model) -> None:
        """Load a model; one that cannot be trusted is refused, and the last good one stays."""
        try:
            self._loaded = await asyncio.to_thread(self._read_files, model)
            self._read_at = 0.0  # the next request makes the view of it
            _created(model.create_time.timestamp())
            _log.info("model_loaded", model=model.model_id, sha256=model.sha256)
        except Exception as error:
            self._bad = (model.model_id, time.monotonic() + _AGAIN_SECONDS)
            _refused(1, why=type(error).__name__)
            _log.error("model_refused", model=model.model_id, why=f"{type(error).__name__}: {error}")
        finally:
            self._loading = None

    def _read_files(self, model: Model) -> Loaded:
        graph = Graph(self._lake.get(model_path(model.model_id, workbench.GRAPH)), model.sha256)
        trees = self._lake.get(model_path(model.model_id, workbench.TREES))
        return Loaded(model, graph, unpack_trees(trees, model.trees_sha256))


def champion(view: View) -> Loaded:
    """The model that serves. Raises model_missing."""
    if view.loaded is None:
        raise refusals.model_missing()
    return view.loaded
