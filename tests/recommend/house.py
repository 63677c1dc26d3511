"""A recommend in the test's own process, with a published run and what was trained from it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from sqlalchemy import text

from lifecircle.recommend import v1
from services.kit.db import Database
from services.recommend import store
from services.recommend.api import RIGHTS, FinalsApi, InsightsApi, LiveApi, ProjectsApi, RecommendApi, joined
from services.recommend.domain.association import associations
from services.recommend.domain.registry import Model
from services.recommend.lake import model_path, workbench
from services.recommend.training import program
from services.recommend.usecases import (
    Asking,
    Browsing,
    Finishing,
    Governing,
    Guiding,
    Insights,
    Keeper,
    Learned,
    Projects,
    Reading,
    Recommending,
    Taking,
)
from tests.fixtures.ids import counting_ids
from tests.fixtures.serving import Serve, Served, refused
from tests.recommend.neighbours import SlowLake
from tests.recommend.town import CATALOGUE, FEATURES, Town, published, town

NOW = datetime(2026, 10, 1, tzinfo=UTC)
PLACE = town(300)


@cache
def made(seed: int) -> tuple[Mapping[str, Any], Mapping[str, bytes], str]:
    """A model trained from PLACE: its report, its files, the checksum of its data."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = workbench.Task(FEATURES, PLACE.profile, PLACE.owned, CATALOGUE, seed, 10, 1, 10_000)
        workbench.write_input(folder, task)
        program.main(folder)
        report = workbench.read_report(folder)
        assert report is not None
        return report, {each: (folder / each).read_bytes() for each in (workbench.GRAPH, workbench.TREES)}, task.sha256


class House:
    """A recommend in this process, with a published run, and what was trained from it when a test wants it."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db = db
        self.lake = SlowLake((folder / "lake").as_uri())
        self.folder = folder
        self.seconds = 0
        ids = counting_ids()
        self.inputs, self.knowledge, self.models = store.Inputs(), store.Knowledge(), store.Models()
        self.matrices, self.guiding = store.Matrices(), store.Guidance()
        self.asking = asking = Asking(db, self.inputs, self.models, lambda: NOW, ids)
        self.keeper = Keeper(db, self.inputs, self.knowledge, self.models, self.lake)
        self.taking = Taking(
            self.inputs, self.knowledge, asking, self.lake.orders, self.lake.products, lambda: NOW, seed=1
        )
        self.recommending = Recommending(db, self.keeper, lambda: NOW, ids)
        api = RecommendApi(
            self.recommending,
            Reading(db, self.knowledge, self.models, self.matrices, asyncio.Event()),
            asking,
            guiding := Guiding(db, self.knowledge, self.inputs, lambda: NOW),
            Governing(db, self.models, self.tick),
            browsing := Browsing(db, self.knowledge, self.matrices, self.lake),
        )
        analysts = InsightsApi(Insights(db, self.knowledge, self.keeper, browsing))
        projects = ProjectsApi(Projects(db, self.tick, ids))
        finals = FinalsApi(Finishing(db, self.recommending, guiding, self.lake))
        self.api = joined(api, LiveApi(Learned(db, self.lake)), projects, analysts, finals)

    def tick(self) -> datetime:
        """A second later each time."""
        self.seconds += 1
        return NOW + timedelta(seconds=self.seconds)

    async def learn(self, place: Town = PLACE) -> None:
        """Products, orders and a run with its profiles."""
        told = published(self.folder, place)
        async with self.db.begin() as tx:
            for delivery in told.deliveries:
                await self.taking.take_delivery(tx, delivery)
            await self.taking.take_run(tx, told)
            features = self.lake.features(told.run.files)
            rows = zip(features.customer_key.tolist(), features.org_id.tolist(), features.values, strict=True)
            records = [(key, org, row.astype("<f4").tobytes()) for key, org, row in rows]
            await self.inputs.load_profiles(tx, told.run.run_id, records, (0, 10**9))
            await self.inputs.serve_run(tx, told.run.run_id, FEATURES)
            await self.knowledge.put_associations(tx, associations(place.owned, CATALOGUE))
            await tx.commit()

    async def train(self, model_id: str = "m1", seed: int = 1, promote: bool = True) -> None:
        """A model in the registry and the lake."""
        report, files, data_sha256 = made(seed)
        for name, content in files.items():
            self.lake.put(model_path(model_id, name), content)
        model = Model(
            model_id, "CANDIDATE", "rf_cf", "run-1", report["sha256"], report["trees_sha256"], data_sha256, seed,
            report["customers"], report["bytes"], tuple(report["features"]), CATALOGUE.ids, report["metrics"], report,
            NOW,
        )  # fmt: skip
        async with self.db.begin() as tx:
            await self.models.put(tx, model)
            if promote:
                await self.models.promote(tx, model_id, self.tick())
            await tx.commit()

    def forget(self) -> None:
        """As after a second: the keeper looks again."""
        self.keeper._read_at = 0.0
        self.keeper._bad = ("", 0.0)


@pytest.fixture
async def house(db: Database, tmp_path: Path) -> AsyncIterator[House]:
    async with db.begin() as tx:
        for table in ("matrix_file", "matrix", "model", "pattern", "ownership", "product", "profile", "run"):
            await tx.execute(text(f"DELETE FROM {table}"))
        for table in (
            "delivery", "job", "request", "product_terms", "expert_list", "circle_count", "contact_outcome", "gone",
            "acceptance_model", "comparison", "project_step", "project", "influence",
        ):  # fmt: skip
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()
    place = House(db, tmp_path)
    yield place
    await place.recommending.close()


@pytest.fixture
async def served(serving: Serve, house: House) -> AsyncIterator[Served]:
    async with serving(
        "recommend",
        register=lambda server: v1.add_RecommendServiceServicer_to_server(house.api, server),
        rights=RIGHTS,
    ) as served:
        yield served


@pytest.fixture
def stub(served: Served) -> v1.RecommendServiceStub:
    return v1.RecommendServiceStub(served.channel(roles={"operator"}))


async def reason(call: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refused(error.value)[:2]
