"""The echo service as a real process, put together as a service is: `python -m tests.kit.sample serve --work`.

Say queues a job named by its text and writes a fact; the job writes an effect for each of its steps. The generated
echo_pb2 is found by PYTHONPATH.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import grpc.aio
from sqlalchemy import text

from services.kit import command, config, cursors, jobs, outbox, server
from services.kit.clock import system_clock
from services.kit.cursors import Followed
from services.kit.db import Database, Write
from services.kit.ids import system_ids
from tests.kit.echo import RIGHTS


@dataclass(frozen=True)
class Config:
    server: config.ServerSettings
    steps: int = 5
    step_seconds: float = 0.01


async def run(environ: Mapping[str, str], serving: bool, working: bool) -> None:
    settings = config.read(Config, environ)
    owner, stop = f"{os.getpid()}:{system_ids()}", asyncio.Event()
    db = await Database.open(settings.server.database_url, schema="sample", application="sample")
    messages, stubs = import_module("echo_pb2"), import_module("echo_pb2_grpc")

    class Api(stubs.EchoServiceServicer):  # type: ignore[misc, name-defined]
        async def Say(self, request: Any, context: Any) -> Any:
            async with db.begin() as tx:
                await outbox.put(tx, "said", request.text, {"text": request.text})
                await jobs.create(tx, job_id=system_ids(), kind="work", key=request.text, spec={}, now=system_clock())
                await tx.commit()
            return messages.SayResponse(text=request.text)

    def register(server: grpc.aio.Server) -> None:
        stubs.add_EchoServiceServicer_to_server(Api(), server)

    async def work(running: jobs.Running) -> None:
        for step in range(running.job.checkpoint.get("step", 0), settings.steps):
            await asyncio.sleep(settings.step_seconds)
            async with db.begin() as tx:
                await effect(tx, f"{running.job.key} {step}")
                await running.save({"step": step + 1}, tx)
                await tx.commit()
        async with db.begin() as tx:
            await effect(tx, f"{running.job.key} end")
            await running.succeed(tx)
            await tx.commit()

    async def own(cursor: str) -> AsyncIterator[Followed[str]]:
        async for item in outbox.follow(db, cursor=cursor, kinds=None, stop=stop, poll=0.02):
            if isinstance(item, outbox.Event):
                yield Followed(item.cursor, item.key, item.traceparent)
            else:
                yield Followed(item.cursor, None)

    async def heard(tx: Write, said: str) -> None:
        await effect(tx, f"heard {said}")

    async def follow_said(stop: asyncio.Event) -> None:
        await cursors.follow(db, consumer="said", owner=owner, watch=own, handle=heard, stop=stop, lease_seconds=1)

    async def run_jobs(stop: asyncio.Event) -> None:
        await jobs.work(db, {"work": work}, owner=owner, clock=system_clock, stop=stop, lease_seconds=1, poll=0.02)

    try:
        await server.serve(
            service="sample",
            settings=settings.server,
            register=register if serving else None,
            rights=RIGHTS,
            background=[follow_said, run_jobs] if working else [],
            ready=db.ping,
            stop=stop,
        )
    finally:
        await db.close()


async def effect(tx: Write, name: str) -> None:
    await tx.execute(text("INSERT INTO effect (name) VALUES (:name)"), {"name": name})


if __name__ == "__main__":
    sys.exit(command.main("sample", run))
