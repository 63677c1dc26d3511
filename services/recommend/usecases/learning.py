"""The job `train`: from a run and the orders to a model in the registry, the profiles that answer, and the next job."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.jobs import Running
from services.recommend import refusals, store
from services.recommend.domain import association, feature, live, matrix, ownership, shortlist
from services.recommend.domain.ownership import Folded
from services.recommend.domain.product import Catalogue, Flags
from services.recommend.domain.registry import SHADOW, Model
from services.recommend.domain.snapshot import CALLS, FEEDS, File, Inputs
from services.recommend.lake import Features, Lake, model_path, profiles, workbench
from services.recommend.model import check
from services.recommend.usecases.asking import Asking

_log = structlog.get_logger(__name__)

Train = Callable[[Path, Callable[[str], Awaitable[None]]], Awaitable[None]]
"""Runs the training program on a folder, telling each of its steps; raises when it failed."""

_STEPS = ("reading", "profiles", "tuning", "measuring", "fitting", "exporting", "proving", "publishing")
_SLICE, _MOST_SKEWED = 20_000, 50_000
_STALE_SECONDS = 24 * 3600
MARGIN = 0.01
"""How much NDCG@5 a new champion may lack to popularity on the same questions."""


@dataclass(frozen=True)
class Recipe:
    """How models are trained: the number of trees, threads, most customers to learn from, and where to work."""

    trees: int
    threads: int
    most_customers: int
    scratch: Path


@dataclass(frozen=True)
class Holdings:
    """Who owns what, and what each opened at any time, (n, p)."""

    folded: Folded
    opened: Flags


class Skewed(Exception):
    """What answers read is not what training read; the attempt fails."""


class Learning:
    """Trains models."""

    def __init__(
        self,
        db: Database,
        inputs: store.Inputs,
        knowledge: store.Knowledge,
        models: store.Models,
        asking: Asking,
        lake: Lake,
        train: Train,
        recipe: Recipe,
        clock: Clock,
    ) -> None:
        self._db = db
        self._inputs = inputs
        self._knowledge = knowledge
        self._models = models
        self._guidance = store.Guidance()
        self._outcomes = store.Outcomes()
        self._asking = asking
        self._lake = lake
        self._train = train
        self._recipe = recipe
        self._clock = clock

    async def train(self, running: Running) -> None:
        """Run the job. Raises training_data_unfit; a graph without parity fails the attempt."""
        spec = running.job.spec
        inputs = Inputs.of(spec)
        await self._tell(running, "reading")
        features, catalogue, folded, opened = await self._read(inputs)
        await self._tell(running, "profiles")
        await self._load_profiles(inputs.run_id, features, running)
        folder = self._recipe.scratch / running.job.job_id
        task = workbench.Task(
            features.names,
            features.values,
            folded.owned,
            catalogue,
            int(spec["seed"]),
            self._recipe.trees,
            self._recipe.threads,
            self._recipe.most_customers,
            spec.get("algorithm") or "rf_cf",
            tuple(spec.get("excluded", ())),
        )
        await asyncio.to_thread(self._sweep, folder)
        report = await self._trained(running, folder, task)
        await self._tell(running, "publishing")
        await self._publish(running, inputs, features, task, Holdings(folded, opened), report)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _read(self, inputs: Inputs) -> tuple[Features, Catalogue, Folded, Flags]:
        async with self._db.read() as read:
            run = await self._inputs.run(read, inputs.run_id)
            files = {feed: await self._inputs.files(read, inputs.deliveries[feed]) for feed in FEEDS}
            gone = await self._outcomes.gone(read)
        if run is None:
            raise refusals.inputs_incomplete(f"run {inputs.run_id}")

        def read_all() -> tuple[Features, Catalogue, Folded, Flags]:
            features = self._lake.features(run.files).without(gone)
            catalogue = Catalogue.of(self._lake.products(files["products"]))
            orders, keys = ownership.mapped(self._lake.orders(files["orders"]), gone), features.customer_key
            opened = ownership.ever(orders, keys, catalogue)
            return features, catalogue, ownership.fold(orders, keys, catalogue), opened

        return await asyncio.to_thread(read_all)

    async def _load_profiles(self, run_id: str, features: Features, running: Running) -> None:
        """Slice by slice, each in a transaction of its own; nothing answers from them until the run serves."""
        for start in range(0, len(features.customer_key), _SLICE):
            part = slice(start, start + _SLICE)
            async with self._db.begin() as tx:
                keys = features.customer_key[part].tolist()
                await self._inputs.load_profiles(tx, run_id, _records(features, part), (keys[0], keys[-1]))
                await tx.commit()
            await self._tell(running, "profiles", profiles=start + len(keys))

    async def _trained(self, running: Running, folder: Path, task: workbench.Task) -> dict[str, Any]:
        """The report of the training program; an earlier attempt that came to its end is not repeated."""
        report = await asyncio.to_thread(workbench.read_report, folder)
        if report is None:
            await asyncio.to_thread(workbench.write_input, folder, task)
            await self._train(folder, lambda step: self._tell(running, step))
            report = await asyncio.to_thread(workbench.read_report, folder)
        assert report is not None, "the training program ended well without a report"
        if "refusal" in report:
            raise refusals.training_data_unfit(report["refusal"])
        return report

    async def _publish(
        self,
        running: Running,
        inputs: Inputs,
        features: Features,
        task: workbench.Task,
        held: Holdings,
        report: Mapping[str, Any],
    ) -> None:
        model = Model(
            model_id=running.job.job_id,
            state="CANDIDATE",
            algorithm=report["algorithm"],
            run_id=inputs.run_id,
            sha256=report["sha256"],
            trees_sha256=report["trees_sha256"],
            data_sha256=await asyncio.to_thread(lambda: task.sha256),
            seed=task.seed,
            customers=report["customers"],
            bytes=report["bytes"],
            features=tuple(report["features"]),
            product_ids=task.catalogue.ids,
            metrics=report["metrics"],
            report={
                **report,
                "unknown_customers": held.folded.unknown_customers,
                "unknown_products": held.folded.unknown_products,
                "classes": _classes(features, report["features"]),
            },
            create_time=self._clock(),
        )
        await asyncio.to_thread(self._keep_files, model, self._recipe.scratch / model.model_id)
        owned, names, shadow = held.folded.owned, features.names, bool(running.job.spec.get("shadow"))
        async with self._db.read() as read:
            run = await self._inputs.run(read, inputs.run_id)
        labels = run.labels if run is not None else {}
        found = await asyncio.to_thread(
            association.four_tables, owned, task.catalogue, names, feature.cleaned(features.values), labels
        )
        pack = await asyncio.to_thread(profiles.write, self._lake, inputs.run_id, features)
        skew = await asyncio.to_thread(skew_of, pack, features, model.features)
        model = replace(model, metrics={**model.metrics, "skew": float(skew)})
        counts = shortlist.counts(names, features.values, held.opened, owned, task.catalogue.ids)
        async with self._db.begin(statement_seconds=300) as tx:
            await self._models.put(tx, model)
            if shadow:
                await self._models.move(tx, model.model_id, SHADOW)
            elif worthy(model.metrics):
                await self._models.promote(tx, model.model_id, self._clock())
            await self._knowledge.put_associations(tx, found)
            await self._guidance.put_counts(tx, counts)
            if await self._inputs.is_newer(tx, inputs.run_id):
                await self._inputs.serve_run(tx, inputs.run_id, features.names, pack)
            champion = await self._models.champion_id(tx)
            if await self._outcomes.teaches(tx, live.FEWEST):
                await self._asking.queue_acceptance(tx, inputs, task.seed)
            if inputs.graph.get(CALLS):
                await self._asking.queue_influence(tx, inputs)
            if champion:
                await self._asking.queue_matrix(tx, inputs, champion)
            await running.succeed(tx, customers=model.customers, products=len(model.product_ids))
            await tx.commit()
        _log.info("model_trained", model=model.model_id, sha256=model.sha256, promoted=champion == model.model_id)

    def _keep_files(self, model: Model, folder: Path) -> None:
        for name, sha256 in ((workbench.GRAPH, model.sha256), (workbench.TREES, model.trees_sha256)):
            content = (folder / name).read_bytes()
            check(content, sha256)
            self._lake.put(model_path(model.model_id, name), content)

    def _sweep(self, mine: Path) -> None:
        """Remove what trainings left that failed or were cancelled; nobody trains beside us on this scratch."""
        for other in self._recipe.scratch.glob("*/"):
            if other != mine and time.time() - other.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(other, ignore_errors=True)

    async def _tell(self, running: Running, step: str, **counts: int) -> None:
        done = _STEPS.index(step) if step in _STEPS else running.job.done
        await running.progress(done, len(_STEPS), message=step, **counts)


def _classes(features: Features, names: Sequence[str]) -> dict[str, Any]:
    """Quantile classes of the features that a model learned from, to tell later whether the customers are others."""
    place = {name: number for number, name in enumerate(features.names)}
    found = {}
    for name in names:
        edges, shares = matrix.classes(feature.cleaned(features.values[:, place[name]]))
        found[name] = {"edges": edges.tolist(), "shares": shares.tolist()}
    return found


def skew_of(file: File, features: Features, names: Sequence[str]) -> int:
    """How many values an answer would read from the pack otherwise than training read them. Raises Skewed for any."""
    pack, place = profiles.opened(file), {name: number for number, name in enumerate(features.names)}
    places = np.array([place[name] for name in names], dtype=np.int64)
    some = slice(None, None, max(1, len(features.values) // _MOST_SKEWED))
    taught = feature.cleaned(features.values[some])[:, places]
    found = feature.skew(taught, feature.served(pack.values[pack.rows(features.customer_key[some])], places))
    if found:
        raise Skewed(f"{found} of {taught.size} values are answered from otherwise than they were learned from")
    return found


def worthy(metrics: Mapping[str, float]) -> bool:
    """Whether a model may serve: not worse than popularity on the same questions by more than MARGIN or chance.

    Chance is two standard errors of the difference per customer: a small town cannot tell more. Without a held-out
    customer of two products there is nothing to compare, and parity alone decides.
    """
    allowance = max(MARGIN, 2.0 * metrics.get("ndcg@5_gain_error", 0.0))
    return metrics.get("ndcg@5_gain", 0.0) >= -allowance


def _records(features: Features, part: slice) -> Iterator[tuple[int, str, bytes]]:
    packed = features.values[part].astype("<f4")
    keys: Sequence[int] = features.customer_key[part].tolist()
    for key, org_id, row in zip(keys, features.org_id[part].tolist(), np.ascontiguousarray(packed), strict=True):
        yield key, org_id or "", row.tobytes()
