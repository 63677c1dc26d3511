"""Recommend as a process: a published run becomes a model, a matrix and answers, by itself, also when it is killed."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.ingest import v1 as v1_ingest
from lifecircle.recommend import v1
from services.kit.channel import open_channel
from services.recommend.lake import workbench
from services.recommend.training import program
from tests.fixtures.counts import FULL
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Keys
from tests.recommend.neighbours import Ingest, Portrait, neighbours, pair
from tests.recommend.town import CATALOGUE, FEATURES, order_delivery, order_rows, product_delivery, run_of, town

TREES = 20
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Process:
    """One recommend process with its worker."""

    def __init__(self, environ: Mapping[str, str], port: int, keys: Keys) -> None:
        self.environ = environ
        self.target = f"127.0.0.1:{port}"
        self.keys = keys
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "services.recommend", "serve", "--work"]
        self._child = await asyncio.create_subprocess_exec(*command, env={**os.environ, **self.environ})

    async def kill(self) -> None:
        assert self._child is not None
        if self._child.returncode is None:
            self._child.send_signal(signal.SIGKILL)
        await self._child.wait()

    async def stop(self) -> int:
        """Tell it to end as a pod's engine does; gives its exit status."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._child.wait(), 60)

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[v1.RecommendServiceStub]:
        token = self.keys.token(roles={"operator"})
        async with open_channel(self.target, token=lambda: token) as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            yield v1.RecommendServiceStub(channel)


def environment(database: Fresh, keys: Keys, folder: Path, door: str, port: int) -> dict[str, str]:
    token = folder / "token"
    token.write_text(keys.token(roles={"service"}))
    return {
        "DATABASE_URL": database.url,
        "LISTEN": f"127.0.0.1:{port}",
        "JWT_KEYS": str(keys.path),
        "SERVICE_TOKEN_FILE": str(token),
        "PEER_INGEST": door,
        "PEER_PORTRAIT": door,
        "LAKE_URL": (folder / "lake").as_uri(),
        "SCRATCH": str(folder / "scratch"),
        "TRAINING_TREES": str(TREES),
        "TRAINING_THREADS": "1",
        "DRAIN_SECONDS": "0",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def first_matrix(stub: v1.RecommendServiceStub) -> v1.WatchMatricesResponse:
    async with asyncio.timeout(90):
        call = stub.WatchMatrices(v1.WatchMatricesRequest())
        async for told in call:
            if told.HasField("matrix"):
                call.cancel()
                return told
    raise AssertionError


CUSTOMERS = 500


def publish(ingest: Ingest, portrait: Portrait, folder: Path) -> None:
    place = town(CUSTOMERS)
    ingest.deliveries += [product_delivery(folder), order_delivery(folder, order_rows(place.keys, place.owned))]
    portrait.runs.append(run_of(folder, place))


EVENTS, SECONDS = (40, 1.0) if FULL else (2, 30.0)
"""Orders told to the process, and how soon each must show: a second where the machine is the test's alone."""


async def ordered(ingest: Ingest, stub: v1.RecommendServiceStub, key: int) -> None:
    """R002-086: an order that happens is in the next answer of the process within a second."""
    asked = v1.RecommendRequest(customer_key=key, most=7)
    before = [each.product_id for each in (await stub.Recommend(asked)).recommendations]
    if not before:
        return
    attributes = Struct()
    attributes.update({"product_id": before[0], "order_id": f"live-{key}", "action": "open"})
    time = Timestamp()
    time.FromDatetime(datetime.now(UTC))
    event = v1_ingest.Event(
        event_id=f"live-{key}", source="boss", source_event_id=f"live-{key}", type="product.ordered", customer_key=key
    )
    event.occur_time.CopyFrom(time)
    event.attributes.CopyFrom(attributes)
    ingest.events.append(event)
    async with asyncio.timeout(SECONDS):
        while before[0] in [each.product_id for each in (await stub.Recommend(asked)).recommendations]:
            await asyncio.sleep(0.01)


async def test_a_published_run_becomes_a_matrix_without_a_hand(
    databases: Databases, keys: Keys, tmp_path: Path
) -> None:
    """R001-159: each run has its matrix, so the matrix comes as often as the runs do."""
    ingest, portrait = pair(TRACE)
    async with neighbours(ingest, portrait) as door:
        port = free_port()
        process = Process(environment(databases.fresh("recommend"), keys, tmp_path, door, port), port, keys)
        publish(ingest, portrait, tmp_path)
        await process.start()
        try:
            async with process.stub() as stub:
                told = await first_matrix(stub)
                assert told.traceparent.split("-")[1] == TRACE.split("-")[1]  # from the run to the matrix
                got = await stub.GetMatrix(v1.GetMatrixRequest())
                model = (await stub.GetModel(v1.GetModelRequest())).model
                assert model.state == v1.Model.STATE_CHAMPION
                assert (model.metrics["skew"], model.metrics["parity"]) == (0.0, 1.0)
                assert model.code_version in model.card
                assert model.metrics["ndcg@5"] > model.metrics["popularity_ndcg@5"]
                assert got.matrix.customers == CUSTOMERS
                assert got.matrix.cells == sum(file.rows for file in got.files)
                answer = await stub.Recommend(v1.RecommendRequest(customer_key=3, most=7))
                row = pq.read_table(got.files[3 % 4].uri.removeprefix("file://")).to_pylist()
                mine = [each for each in row if each["customer_key"] == 3]
                assert [each.product_id for each in answer.recommendations] == [each["product_id"] for each in mine]
                assert [each.score for each in answer.recommendations] == pytest.approx(
                    [each["score"] for each in mine], abs=1e-6
                )
                assert all(each.reasons for each in answer.recommendations)
                for key in range(3, 3 + 3 * EVENTS, 3):
                    await ordered(ingest, stub, key)
        finally:
            await process.kill()


async def reading(stub: v1.RecommendServiceStub) -> None:
    """Wait until a training reads its files."""
    async with asyncio.timeout(60):
        while not [job for job in (await stub.ListJobs(v1.ListJobsRequest())).jobs if job.message == "reading"]:
            await asyncio.sleep(0.05)


async def test_it_ends_when_told_to_though_a_thread_reads_on(databases: Databases, keys: Keys, tmp_path: Path) -> None:
    ingest, portrait = pair()
    async with neighbours(ingest, portrait) as door:
        port = free_port()
        process = Process(environment(databases.fresh("recommend"), keys, tmp_path, door, port), port, keys)
        publish(ingest, portrait, tmp_path)
        for file in portrait.runs[0].files:
            path = Path(unquote(file.uri.removeprefix("file://")))
            path.unlink()
            os.mkfifo(path)
        await process.start()
        try:
            async with process.stub() as stub:
                await reading(stub)
            assert await process.stop() == 0
        finally:
            await process.kill()


async def training_child(scratch: Path) -> int:
    """The process id of the training program, once it is at work."""
    async with asyncio.timeout(60):
        while True:
            for each in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    words = (each / "cmdline").read_bytes().split(b"\0")
                    if b"services.recommend.training" in words and str(scratch).encode() in words[-2]:
                        return int(each.name)
            await asyncio.sleep(0.05)


async def gone(process: int) -> None:
    """Wait until the training program has followed its parent; a process that only waits to be reaped is gone."""
    async with asyncio.timeout(60):
        with contextlib.suppress(OSError):
            while b"services.recommend.training" in Path(f"/proc/{process}/cmdline").read_bytes():
                await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the training program in /proc")
async def test_killing_it_in_mid_training_changes_nothing(databases: Databases, keys: Keys, tmp_path: Path) -> None:
    ingest, portrait = pair()
    async with neighbours(ingest, portrait) as door:
        port = free_port()
        process = Process(environment(databases.fresh("recommend"), keys, tmp_path, door, port), port, keys)
        publish(ingest, portrait, tmp_path)
        await process.start()
        try:
            child = await training_child(tmp_path / "scratch")
            await process.kill()
            await gone(child)
            await process.start()
            async with process.stub() as stub:
                await first_matrix(stub)
                model = (await stub.GetModel(v1.GetModelRequest())).model
                jobs = (await stub.ListJobs(v1.ListJobsRequest())).jobs
        finally:
            await process.kill()
    assert [(job.state, job.WhichOneof("spec")) for job in jobs] == [
        (v1.Job.STATE_SUCCEEDED, "matrix"),
        (v1.Job.STATE_SUCCEEDED, "train"),
    ]
    assert jobs[1].attempt == 2
    # The same inputs in a calm process: the same bytes.
    place = town(CUSTOMERS)
    task = workbench.Task(FEATURES, place.profile, place.owned, CATALOGUE, model.seed, TREES, 1, CUSTOMERS)
    workbench.write_input(tmp_path / "calm", task)
    await asyncio.to_thread(program.main, tmp_path / "calm")
    report = workbench.read_report(tmp_path / "calm")
    assert report is not None
    assert (model.sha256, model.data_sha256) == (report["sha256"], task.sha256)
