"""The job `acceptance`: from what came of contacts to a model per product and the chances of all customers."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.jobs import Running
from services.recommend import refusals, store
from services.recommend.domain import live, ownership
from services.recommend.domain.history import Contacts
from services.recommend.domain.live import AcceptanceModel
from services.recommend.domain.product import Singles
from services.recommend.domain.snapshot import Inputs
from services.recommend.domain.trial import Trial
from services.recommend.lake import Lake, acceptances, workbench
from services.recommend.lake.acceptances import Task
from services.recommend.usecases import contacts
from services.recommend.usecases.asking import Asking
from services.recommend.usecases.learning import Recipe, Train

_log = structlog.get_logger(__name__)
_STEPS = ("reading", "learning", "publishing")

Tried = Callable[[int], Awaitable[Sequence[Trial]]]
"""Gives at most so many trials of campaigns that held customers out, the latest plans first."""


class Accepting:
    """Trains acceptance models."""

    def __init__(
        self,
        db: Database,
        inputs: store.Inputs,
        lake: Lake,
        train: Train,
        recipe: Recipe,
        clock: Clock,
        asking: Asking,
        trials: Tried | None = None,
    ) -> None:
        self._db = db
        self._inputs = inputs
        self._acceptances = store.Acceptances()
        self._lake = lake
        self._train = train
        self._recipe = recipe
        self._clock = clock
        self._asking = asking
        self._trials = trials

    async def learn(self, running: Running) -> None:
        """Run the job. Raises inputs_incomplete, outcomes_missing."""
        spec = running.job.spec
        await running.progress(0, len(_STEPS), message=_STEPS[0])
        told = await contacts.sources(self._db, self._inputs, Inputs.of(spec))
        known = await contacts.known(self._lake, told)
        async with self._db.read() as read:
            before = await self._acceptances.serving(read)
        names = known.features.names
        found = await asyncio.to_thread(contacts.gathered, self._lake, told, names, known.orders, known.catalogue)
        held = await asyncio.to_thread(
            lambda: ownership.fold(known.orders, known.features.customer_key, known.catalogue).owned
        )
        peers = await asyncio.to_thread(
            contacts.called, self._lake, told, told.run, known.features.customer_key, known.orders, known.catalogue
        )
        everyone = np.hstack([known.features.values, held.astype(np.float32), peers])
        called = contacts.called_names(told, known.catalogue)
        task = self._task(found, known, called, everyone, before, spec)
        if self._trials is not None:
            tried = await self._trials(contacts.MOST)
            task = replace(
                task,
                trials=await asyncio.to_thread(
                    contacts.trials_of, self._lake, told, names, known, tried, task.product_ids
                ),
            )
        folder = self._recipe.scratch / running.job.job_id
        report = await self._trained(running, folder, task)
        await running.progress(2, len(_STEPS), message=_STEPS[2])
        made = await asyncio.to_thread(
            self._publish, running.job.job_id, task, known, held, report, folder, told.run.run_id
        )
        left_out = sorted(name for name, each in report["products"].items() if "refusal" in each)
        async with self._db.begin() as tx:
            await self._acceptances.put(tx, made)
            await self._asking.queue_matrix_anew(tx, Inputs.of(spec))
            message = f"left out: {', '.join(left_out)}" if left_out else ""
            await running.succeed(tx, message=message, models=len(made), contacts=len(found.customer))
            await tx.commit()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        _log.info("acceptance_learned", job=running.job.job_id, models=len(made), contacts=len(found.customer))

    def _task(
        self,
        found: Contacts,
        known: contacts.Known,
        called: tuple[str, ...],
        everyone: Singles,
        before: Mapping[str, AcceptanceModel],
        spec: Mapping[str, Any],
    ) -> Task:
        """The products with enough answers of either kind, of those asked for. Raises outcomes_missing."""
        asked = [
            place
            for place, product_id in enumerate(known.catalogue.ids)
            if not spec.get("products") or product_id in spec["products"]
        ]
        enough = [
            place
            for place in asked
            for answers in (found.accepted[found.product == place],)
            if min(int(answers.sum()), int((~answers).sum())) >= live.FEWEST
        ]
        if not enough:
            raise refusals.outcomes_missing(len(found.customer))
        mine = found.of(np.isin(found.product, enough))
        names = (*known.features.names, *(f"owns_{each}" for each in known.catalogue.ids), *called)
        ids = tuple(known.catalogue.ids[place] for place in enough)
        return Task(
            names,
            np.hstack([mine.profile, mine.owned.astype(np.float32), mine.called]),
            mine.customer,
            np.searchsorted(enough, mine.product).astype(np.int64),
            mine.accepted,
            mine.time,
            ids,
            {each: before[each].until.timestamp() for each in ids if each in before},
            everyone,
            int(spec["seed"]),
            self._recipe.threads,
            spec.get("algorithm", ""),
        )

    async def _trained(self, running: Running, folder: Path, task: Task) -> dict[str, Any]:
        """The program's report; an earlier attempt that came to its end is not repeated."""
        report = await asyncio.to_thread(workbench.read_report, folder)
        if report is None:
            await asyncio.to_thread(acceptances.write_input, folder, task)

            async def tell(step: str) -> None:
                await running.progress(1, len(_STEPS), message=step)

            await self._train(folder, tell)
            report = await asyncio.to_thread(workbench.read_report, folder)
        assert report is not None, "the training program ended well without a report"
        return report

    def _publish(
        self,
        job_id: str,
        task: Task,
        known: contacts.Known,
        held: "np.ndarray[Any, np.dtype[np.bool_]]",
        report: Mapping[str, Any],
        folder: Path,
        run_id: str,
    ) -> list[AcceptanceModel]:
        """The files of the models, and what the registry is told of them. Blocks."""
        (chances, uplifts), sha256, made = acceptances.read_chances(folder), task.sha256, []
        for place, product_id in enumerate(task.product_ids):
            told = report["products"][product_id]
            if "refusal" in told:
                continue
            free = np.flatnonzero(~held[:, known.catalogue.index[product_id]])
            mine = task.product == place
            worse = told["metrics"].get("auc_change_high", 0.0) < 0.0
            made.append(
                AcceptanceModel(
                    acceptance_model_id=f"{job_id}-{product_id}",
                    product_id=product_id,
                    job_id=job_id,
                    algorithm=told["algorithm"],
                    reason=told["reason"],
                    run_id=run_id,
                    data_sha256=sha256,
                    seed=task.seed,
                    contacts=int(mine.sum()),
                    accepted=int(task.accepted[mine].sum()),
                    metrics={
                        **{name: value for name, value in told["metrics"].items() if np.isfinite(value)},
                        "mean_chance": float(chances[free, place].mean()) if len(free) else 0.0,
                    },
                    report=told,
                    serves=not worse,
                    until=datetime.fromtimestamp(float(task.time[mine].max()), UTC),
                    scores=acceptances.publish(
                        self._lake,
                        job_id,
                        product_id,
                        known.features,
                        free,
                        np.stack([chances[free, place], uplifts[free, place]]),
                    ),
                    create_time=self._clock(),
                )
            )
        return made
