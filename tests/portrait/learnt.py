"""A run whose customers fall apart into planted groups, and the desks and jobs that learn of it."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import text

from services.kit import jobs
from services.kit.db import Database
from services.portrait.api import encode_foresight
from services.portrait.domain.readiness import Inputs
from services.portrait.domain.run import LakeFile, Run
from services.portrait.lake import Lake
from services.portrait.lake.program import run_training
from services.portrait.store import Runs
from services.portrait.store.latent import Latent
from services.portrait.store.runs import Published
from services.portrait.store.segments import Segments
from services.portrait.usecases.latent import LEARN, SCORE, LatentDesk, Learning
from services.portrait.usecases.segments import SEGMENT, Clustering, SegmentDesk
from tests.portrait.test_segment import FEATURES as ARCHETYPAL
from tests.portrait.test_segment import planted

NOW = datetime(2026, 9, 30, tzinfo=UTC)
COUNT = 300
KEYS = np.arange(1, COUNT + 1)
ORGS = np.where(KEYS % 2 == 0, "east", "west")
BRANDS = ["动感地带" if key <= 150 else "全球通" for key in KEYS]
GROUP = (KEYS - 1) // 50  # three groups of each brand
NAMES = ["arpu_3m_avg", "arpu_prev_3m_avg", "arpu_slope_6m", "mou_1m", "sms_mo_1m", "dou_mb_1m", "age",
         "tenure_months", "places", "days_seen"]  # fmt: skip


def features() -> pa.Table:
    """Six groups that fall apart; the last customer's age is not known, the first one spends half of what he did."""
    draw = np.random.default_rng(1)
    centre = draw.normal(size=(6, len(NAMES))) * 30 + 100
    values = centre[GROUP] + draw.normal(size=(COUNT, len(NAMES)))
    values[:, NAMES.index("days_seen")] = 30
    values[:, 1] = values[:, 0]
    values[0, 1] = 2 * values[0, 0]
    values[-1, NAMES.index("age")] = np.nan
    columns = {name: pa.array(values[:, place].astype(np.float32)) for place, name in enumerate(NAMES)}
    return pa.table({"customer_key": pa.array(KEYS), "org_id": pa.array(ORGS.tolist()), **columns})


def feeds() -> dict[str, pa.Table]:
    """Everybody of group 0 holds GAME; half of all hold RING; group 1 is asked of GAME."""
    held = [(int(key), "GAME") for key in KEYS if GROUP[key - 1] == 0] + [(int(key), "RING") for key in KEYS[::2]]
    asked = [int(key) for key in KEYS if GROUP[key - 1] == 1]
    month = date(2026, 9, 1)
    return {
        "customers": pa.table({"customer_key": KEYS, "brand": BRANDS}),
        "products": pa.table({"product_id": ["GAME", "RING"], "name": ["游戏包", "彩铃"]}),
        "orders": pa.table({
            "customer_key": [key for key, _ in held], "product_id": [name for _, name in held],
            "action": ["open"] * len(held), "time": [NOW] * len(held),
        }),
        "product_activity": pa.table({
            "customer_key": [1, 2], "product_id": ["GAME", "GAME"], "month": [month, month], "uses": [10, 40],
        }),
        "surveys": pa.table({
            "customer_key": asked, "product_id": ["GAME"] * len(asked), "answer": ["知道"] * len(asked),
            "score": pa.array([0, 9] * (len(asked) // 2), pa.int64()),
        }),
        "data_details": pa.table({"customer_key": [1, 1], "app_class": ["game", "video"], "down_kb": [300, 100]}),
    }  # fmt: skip


class Work:
    """The desks and the jobs over one database and one lake."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db, self.lake, self.files = db, Lake(folder.as_uri()), dict[str, list[LakeFile]]()
        for feed, table in feeds().items():
            wrote = self.lake.write(f"{feed}.parquet", table, -1)
            self.files[feed] = [LakeFile(wrote.uri, wrote.rows, wrote.sha256, -1, date(2026, 9, 20))]
        self.ids = iter(f"job-{number}" for number in range(1_000))
        told: tuple[Any, Any] = (lambda: NOW, lambda: next(self.ids))
        self.segments = SegmentDesk(db, Segments(), Runs(), *told)
        self.latent = LatentDesk(db, Latent(), Runs(), *told)
        self.clustering = Clustering(db, Segments(), Runs(), self.snapshot, lambda: NOW)
        self.learning = Learning(
            db, Latent(), Runs(), run_training, folder / "scratch", *told, encode_foresight, self.lake.url
        )

    async def snapshot(self, feed: str, inputs: Inputs) -> list[LakeFile]:
        return [file for file in self.files[feed] if file.period <= inputs.to_date]

    async def publish(self) -> None:
        """The run, as the job of runs would have published it."""
        runs, run = Runs(), Run("run-1", date(2026, 9, 1), date(2026, 9, 30), COUNT, 1, 1, "ab" * 32)
        async with self.db.begin() as tx:
            run_no = await runs.put(tx, Published(run, "job", "v", "d", {}), NOW)
            assert run_no is not None
            written = self.lake.write("features.parquet", features(), 0)
            grades = ["高端" if group < 2 else "低端" for group in GROUP]
            told = [*grades, *["成熟"] * COUNT]
            codes = [*["VA01"] * COUNT, *["LC01"] * COUNT]
            tags = pa.table({"customer_key": [*KEYS, *KEYS], "code": codes, "value": told})
            await runs.put_files(tx, run_no, {"features": [written], "tags": [self.lake.write("t.parquet", tags, 0)]})
            rows = [(run_no, int(key), str(org), b"", b"", b"") for key, org in zip(KEYS, ORGS, strict=True)]
            await tx.copy("portrait", ("run_no", "customer_key", "org_id", "body", "clear", "masked"), rows)
            await runs.make_current(tx, run_no)
            await tx.commit()

    async def publish_archetypes(self) -> np.ndarray:
        """A run of one brand with the eight planted archetypes; roaming and ring-back tones are in other tables."""
        values, truth = planted()
        keys = np.arange(1, len(truth) + 1)
        named = dict(zip(ARCHETYPAL, values.astype(np.float32).T, strict=True))
        stats = {
            "mou_roam_share": named["call_roam_secs_30d"],
            "product_music": named.pop("crbt"),
            "brand": ["x"] * len(keys),
        }
        wide = {"call_roam_secs_30d": named.pop("call_roam_secs_30d")}
        named |= dict.fromkeys(("age", "tenure_months", "places"), np.full(len(keys), 30, np.float32))
        runs, run = Runs(), Run("run-8", date(2026, 8, 1), date(2026, 8, 31), len(keys), 1, 1, "cd" * 32)
        tables = {
            "features": pa.table({"customer_key": keys, "org_id": ["east"] * len(keys), **named}),
            "stats": pa.table({"customer_key": keys[::-1], **{name: each[::-1] for name, each in stats.items()}}),
            "wide": pa.table({"customer_key": keys, "org_id": ["east"] * len(keys), **wide}),
        }
        async with self.db.begin() as tx:
            run_no = await runs.put(tx, Published(run, "job-8", "v", "d", {}), NOW)
            assert run_no is not None
            written = {name: [self.lake.write(f"{name}-8.parquet", table, 0)] for name, table in tables.items()}
            await runs.put_files(tx, run_no, written)
            await tx.commit()
        wrote = self.lake.write(
            "brands-8.parquet", pa.table({"customer_key": keys, "brand": ["动感地带"] * len(keys)}), -1
        )
        self.files["customers"] = [LakeFile(wrote.uri, wrote.rows, wrote.sha256, -1, date(2026, 8, 20))]
        return truth

    async def drain(self) -> None:
        """Run jobs until none waits."""
        stop = asyncio.Event()
        handlers: dict[str, jobs.Handler] = {
            SEGMENT: self.clustering.cluster, LEARN: self.learning.learn, SCORE: self.learning.score,
        }  # fmt: skip
        working = asyncio.create_task(jobs.work(self.db, handlers, owner="w", clock=lambda: NOW, stop=stop, poll=0.02))
        while True:
            async with self.db.read() as read:
                open_ones = await read.value(text("SELECT count(*) FROM job WHERE state IN ('QUEUED', 'RUNNING')"))
            if not open_ones:
                break
            await asyncio.sleep(0.05)
        stop.set()
        await working
