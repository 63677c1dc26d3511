"""Latent tags: people label, a job learns, a second person puts in force, and every run is scored."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Row

from services.kit import idempotency, jobs
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.kit.jobs import Job, Running
from services.portrait.domain import latent
from services.portrait.domain.latent import Cell
from services.portrait.domain.latent.foresight import FORESEEN, LIFE_CYCLE, Foreseen, Foresight, lead_of
from services.portrait.domain.run import LakeFile, Run
from services.portrait.lake import packing, workbench
from services.portrait.lake import segments as lake
from services.portrait.model import Graph
from services.portrait.refusals import (
    customer_not_found,
    latent_labels_unfit,
    latent_model_not_approved,
    latent_model_not_found,
    latent_override_unexplained,
    run_not_found,
)
from services.portrait.store import Runs
from services.portrait.store.latent import Latent, Model, scoring
from services.portrait.usecases.segments import queued

LEARN, SCORE = "latent.learn", "latent.score"
_SEED = 20_260_901
_STATEMENT_SECONDS = 600.0

Train = Callable[[Path, Callable[[str], Awaitable[None]]], Awaitable[None]]
"""Runs the training program on a folder, telling each of its steps; raises when it failed."""


class LatentDesk:
    """What callers ask of latent tags, and what they say of customers."""

    def __init__(self, db: Database, store: Latent, runs: Runs, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._store = store
        self._runs = runs
        self._clock = clock
        self._ids = ids

    async def label(self, target: str, labels: Mapping[int, str], author: str, key: RequestKey) -> tuple[int, int]:
        """Keep labels; gives how many were kept, and how many customers have no portrait."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return earlier["kept"], earlier["unknown"]
            kept = await self._store.put_labels(tx, target, labels, author, self._clock())
            await idempotency.answer(tx, key, {"kept": kept, "unknown": len(labels) - kept})
            await tx.commit()
        return kept, len(labels) - kept

    async def disagreements(self, target: str, skip: int, size: int) -> tuple[list[Row[Any]], str]:
        """Labelled customers whom the live model sees otherwise, and which scoring said so."""
        async with self._db.read() as read:
            ground = scoring(await self._store.scored(read))
            return await self._store.disagreements(read, target, skip, size), ground

    async def create(
        self,
        target: str,
        run_id: str,
        label_tag: str,
        label_run_id: str,
        algorithm: str,
        reason: str,
        author: str,
        key: RequestKey,
    ) -> Job:
        """Queue a learning; the same inputs are the same job. Raises run_not_found, latent_override_unexplained."""
        if algorithm and not reason:
            raise latent_override_unexplained()
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            run = (await _found(tx, self._runs, run_id))[1]
            labelled = (await _found(tx, self._runs, label_run_id))[1] if label_run_id else run
            labels = [] if label_tag else sorted((await self._store.labels(tx, target)).items())
            spec = {
                "target": target, "run_id": run.run_id, "label_tag": label_tag, "label_run_id": labelled.run_id,
                "lead_days": (labelled.to_date - run.to_date).days, "algorithm": algorithm, "reason": reason,
                "author": author, "labels": labels,
            }  # fmt: skip
            job = await queued(tx, LEARN, spec, self._ids(), self._clock())
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def model(self, model_id: str) -> Model:
        """A model. Raises latent_model_not_found."""
        async with self._db.read() as read:
            found = await self._store.model(read, model_id)
        if found is None:
            raise latent_model_not_found(model_id)
        return found

    async def models(self, target: str, after: str, size: int) -> list[Model]:
        """Models, the latest first."""
        async with self._db.read() as read:
            return await self._store.page(read, target, after, size)

    async def approve(self, model_id: str, approver: str, note: str, key: RequestKey) -> Model:
        """Put a candidate in force. Raises latent_model_not_found, latent_model_not_approved."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            model = await self._store.for_update(tx, model_id)
            if model is None:
                raise latent_model_not_found(model_id)
            if earlier is not None:
                return model
            if model.state != "CANDIDATE":
                raise latent_model_not_approved(f"it is no candidate but {model.state.lower()}")
            if model.author == approver:
                raise latent_model_not_approved("its author cannot approve it")
            await self._store.go_live(tx, model, approver, note)
            await idempotency.answer(tx, key, {"model_id": model_id})
            live = await self._store.model(tx, model_id)
            await tx.commit()
        assert live is not None, "it is locked"
        return live

    async def values(self, customer_key: int) -> tuple[list[Row[Any]], list[Row[Any]], str, datetime | None]:
        """A customer's latent values and inferred attributes, with the run and when it was scored.

        Raises customer_not_found."""
        async with self._db.read() as read:
            found = await self._runs.current(read)
            known = await self._runs.org_of(read, found[0], customer_key) if found is not None else None
            if known is None:
                raise customer_not_found(customer_key)
            scored = await self._store.scored(read)
            told = (scored[0], scored[3]) if scored else ("", None)
            return *await self._store.values(read, customer_key), *told

    async def warnings(
        self, kind: str, least: float, skip: int, size: int
    ) -> tuple[list[Row[Any]], str, date | None, str]:
        """A page of warnings with the run and its last day, and which scoring of that run gave them."""
        async with self._db.read() as read:
            scored = await self._store.scored(read)
            rows = await self._store.warnings(read, kind, least, skip, size)
        return rows, scored[0] if scored else "", scored[1] if scored else None, scoring(scored)

    async def matrix(self) -> tuple[list[Cell], str]:
        """Churn × value of the scored run, and the run."""
        async with self._db.read() as read:
            scored = await self._store.scored(read)
            counts = await self._store.matrix(read)
            live = {model.target: model for model in await self._store.live(read)}
        values = live["VALUE"].classes if "VALUE" in live else []
        return latent.matrix(counts, values), scored[0] if scored else ""


class Learning:
    """The jobs: learning, and scoring every run with the live models."""

    def __init__(
        self,
        db: Database,
        store: Latent,
        runs: Runs,
        train: Train,
        scratch: Path,
        clock: Clock,
        ids: Ids,
        encode: Callable[[Foresight], bytes],
        lake_url: str,
    ) -> None:
        self._db = db
        self._store = store
        self._runs = runs
        self._train = train
        self._scratch = scratch
        self._clock = clock
        self._ids = ids
        self._encode = encode
        self._lake_url = lake_url

    async def learn(self, running: Running) -> None:
        """Learn a candidate; a training that came to its end is not repeated. Raises latent_labels_unfit."""
        spec = running.job.spec
        folder = self._scratch / running.job.job_id
        await running.progress(0, 3, message="reading")
        report = await asyncio.to_thread(workbench.read_report, folder)
        if report is None:
            await asyncio.to_thread(workbench.write_input, folder, await self._task(spec))

            async def tell(step: str) -> None:
                await running.progress(1, 3, message=step)

            await self._train(folder, tell)
            report = await asyncio.to_thread(workbench.read_report, folder)
        assert report is not None, "the training program ended well without a report"
        if "refusal" in report:
            raise latent_labels_unfit(report["refusal"])
        content = await asyncio.to_thread((folder / workbench.GRAPH).read_bytes)
        Graph(content, report["sha256"])
        told = {
            **{
                name: report[name]
                for name in ("algorithm", "reason", "classes", "features", "rows", "metrics", "sha256")
            },
            **{name: spec[name] for name in ("target", "run_id", "lead_days", "author")},
            "model_id": running.job.job_id,
            "create_time": self._clock(),
        }
        async with self._db.begin() as tx:
            await self._store.put(tx, told, content)
            await running.succeed(tx, rows=report["rows"])
            await tx.commit()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def score(self, running: Running) -> None:
        """Score a run with the live models; what is said of everybody is replaced at once."""
        spec = running.job.spec
        async with self._db.read() as read:
            run_no, run = await _found(read, self._runs, spec["run_id"])
            files = await self._runs.files(read, run_no, "features")
            models = [model for model in await self._store.live(read) if model.model_id in spec["models"]]
            graphs = {model.model_id: await self._store.graph(read, model.model_id) for model in models}
            since = await self._store.warned_since(read)
            earlier = await self._runs.before(read, run.to_date)
            tags = await self._runs.files(read, run_no, "tags")
            past = await self._runs.files(read, earlier[0], "tags") if earlier is not None else []
        await running.progress(0, 2, message="reading")
        wide = await asyncio.to_thread(lake.read_wide, files)
        await running.progress(1, 2, message="scoring")
        rows = await asyncio.to_thread(_scored, wide, run, models, graphs, since)
        stages = await asyncio.to_thread(lake.tag_values, tags, LIFE_CYCLE)
        before = await asyncio.to_thread(lake.tag_values, past, LIFE_CYCLE)
        pack = await asyncio.to_thread(self._foreseen, spec, wide.customer_key.tolist(), rows, stages, before)
        first: dict[int, date] = {}
        for (key, _), day in since.items():
            first[key] = min(day, first.get(key, day))
        lead = lead_of(stages, before, first, run.to_date)
        async with self._db.begin(statement_seconds=_STATEMENT_SECONDS) as tx:
            await self._store.replace(tx, run.run_id, run.to_date, spec["models"], rows, self._clock())
            await self._runs.replace_files(tx, run_no, FORESEEN, [pack])
            await running.succeed(
                tx,
                customers=len(wide.customer_key),
                warnings=len(rows["customer_warning"]),
                left=lead.left,
                left_warned=lead.warned,
                lead_days=lead.mean_days,
            )
            await tx.commit()

    def _foreseen(
        self,
        spec: Mapping[str, Any],
        keys: Sequence[int],
        rows: Mapping[str, Sequence[Sequence[Any]]],
        stages: Mapping[int, str],
        before: Mapping[int, str],
    ) -> LakeFile:
        """What portraits show of it, as a pack."""
        churn = {key: danger for key, target, _, _, _, danger, _ in rows["latent_value"] if target == "CHURN"}
        expected = {
            key: (value, sure) for key, target, _, value, sure, _, _ in rows["latent_value"] if target == "LIFE_CYCLE"
        }
        warned: dict[int, list[Foreseen]] = {}
        for key, kind, _, score, lead_days, _, since in rows["customer_warning"]:
            warned.setdefault(key, []).append(Foreseen(kind, score, lead_days, since))

        def values() -> Iterator[tuple[int, bytes]]:
            for key in keys:
                told = (tuple(warned.get(key, ())), stages.get(key, ""), before.get(key, ""))
                yield key, self._encode(Foresight(key, churn.get(key), *told, *expected.get(key, ("", 0.0))))

        name = hashlib.sha256(json.dumps(dict(spec), sort_keys=True).encode()).hexdigest()[:16]
        path = f"portrait/foreseen/run={spec['run_id']}/{name}.pack"
        return packing.write_pack(self._lake_url, path, values())

    async def plan(self) -> None:
        """Queue the scoring of the current run by the live models, unless that is what is said already."""
        async with self._db.begin() as tx:
            found = await self._runs.current(tx)
            if found is None:
                return
            models = sorted(model.model_id for model in await self._store.live(tx))
            scored = await self._store.scored(tx)
            if scored is None or (scored[0], sorted(scored[2])) != (found[1].run_id, models):
                spec = {"run_id": found[1].run_id, "models": models}
                await queued(tx, SCORE, spec, self._ids(), self._clock())
                await tx.commit()

    async def _task(self, spec: Mapping[str, Any]) -> workbench.Task:
        async with self._db.read() as read:
            run_no, _ = await _found(read, self._runs, spec["run_id"])
            labelled_no, _ = await _found(read, self._runs, spec["label_run_id"])
            files = await self._runs.files(read, run_no, "features")
            tags = await self._runs.files(read, labelled_no, "tags")
        wide = await asyncio.to_thread(lake.read_wide, files)
        labels = {int(key): str(label) for key, label in spec["labels"]}
        if spec["label_tag"]:
            labels = await asyncio.to_thread(lake.tag_values, tags, spec["label_tag"])
        return _task(wide, labels, spec)


def _task(wide: lake.Wide, labels: Mapping[int, str], spec: Mapping[str, Any]) -> workbench.Task:
    """Labelled customers with their features; tags and columns that do not vary are left out."""
    rows = np.array([row for row, key in enumerate(wide.customer_key.tolist()) if key in labels], dtype=np.int64)
    if not len(rows):
        raise latent_labels_unfit("nobody is labelled")
    names = [name for name in wide.names if not name.startswith("tag_")]
    values = wide.of(names)[rows]
    varied = [place for place in range(len(names)) if _varies(values[:, place])]
    words = [labels[key] for key in wide.customer_key[rows].tolist()]
    classes = _ordered(sorted(set(words)))
    place_of = {name: place for place, name in enumerate(classes)}
    return workbench.Task(
        tuple(names[place] for place in varied), classes, np.ascontiguousarray(values[:, varied]),
        np.array([place_of[word] for word in words], dtype=np.int64), _SEED, latent.LARGE,
        spec["algorithm"], spec["reason"],
    )  # fmt: skip


_LAST = ("leaves",)
_VALUES = ("高端", "high", "中高端", "中端", "middle", "低端", "low", "零值")


def _ordered(classes: Sequence[str]) -> tuple[str, ...]:
    """Values from high to low, the class that is feared last; others by name."""
    return tuple(sorted(classes, key=lambda one: (one in _LAST, _VALUES.index(one) if one in _VALUES else 99, one)))


def _varies(column: Any) -> bool:
    known = column[np.isfinite(column)]
    return len(known) > 0 and bool(known.min() < known.max())


def _scored(
    wide: lake.Wide,
    run: Run,
    models: Sequence[Model],
    graphs: Mapping[str, bytes],
    since: Mapping[tuple[int, str], date],
) -> dict[str, list[tuple[Any, ...]]]:
    keys, orgs = wide.customer_key.tolist(), wide.org_id.tolist()
    values: list[tuple[Any, ...]] = []
    churn, lead = None, 0
    for model in models:
        told = Graph(graphs[model.model_id], model.sha256).probabilities(wide.of(model.features))
        best = told.argmax(axis=1)
        rows = zip(keys, orgs, best.tolist(), told.max(axis=1).tolist(), told[:, -1].tolist(), strict=True)
        values += [
            (key, model.target, org_id, model.classes[place], sure, danger, model.model_id)
            for key, org_id, place, sure, danger in rows
        ]
        if model.target == "CHURN":
            churn, lead = told[:, -1], model.lead_days
    inferred = [
        (keys[row], each.feature, orgs[row], value, confidence)
        for each in latent.completed(wide.names, wide.values, _SEED)
        for row, value, confidence in zip(
            each.rows.tolist(), each.value.tolist(), each.confidence.tolist(), strict=True
        )
    ]
    columns = {name: wide.values[:, place].astype(np.float64) for place, name in enumerate(wide.names)}
    days = (run.to_date - run.from_date).days + 1
    warned = [
        (
            keys[one.row],
            one.kind,
            orgs[one.row],
            one.score,
            one.lead_days,
            one.evidence,
            min(since.get((keys[one.row], one.kind), run.to_date), run.to_date),
        )
        for one in latent.warnings(columns, days, churn, lead)
    ]
    return {"latent_value": values, "inferred_attribute": inferred, "customer_warning": warned}


async def _found(read: Read, runs: Runs, run_id: str) -> tuple[int, Run]:
    found = await (runs.by_id(read, run_id) if run_id else runs.current(read))
    if found is None:
        raise run_not_found(run_id)
    return found
