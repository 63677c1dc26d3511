"""The composition root: what the process consists of."""

import asyncio
import contextlib
from collections.abc import Mapping

from lifecircle.admin.v1 import AdminServiceStub
from lifecircle.directory import Directory
from lifecircle.ingest.v1 import IngestServiceStub
from services.kit import config, directory, server
from services.kit.channel import open_channel, token_file
from services.kit.clock import system_clock
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.ids import system_ids
from services.points.api import RIGHTS, PointsApi, tmf
from services.points.config import Config
from services.points.domain import scoring
from services.points.lake import Lake
from services.points.peers import Ingest
from services.points.store import Store
from services.points.usecases import Analysis, Corrections, Learning, Periods, Reading, RuleBook, Scoring
from services.points.worker import Worker


async def run(environ: Mapping[str, str], serving: bool, working: bool) -> None:
    """Serve the RPCs, do the background work, or both, until told to stop."""
    settings = config.read(Config, environ, also=("service_token_file",) if working else ())
    zone, token = settings.business_timezone, settings.server.service_token_file
    await asyncio.to_thread(scoring.warm)
    async with contextlib.AsyncExitStack() as closing:
        db = await Database.open(
            settings.server.database_url,
            schema="points",
            application="points",
            size=settings.server.database_connections,
        )
        closing.push_async_callback(db.close)
        clock, store = system_clock, Store()
        score = Scoring(db, clock, zone, store)
        periods = Periods(db, clock, system_ids, zone, store)
        api = PointsApi(
            corrections=Corrections(db, clock, system_ids, zone, store, score),
            analysis=Analysis(db, zone, store, score),
            rules=RuleBook(db, clock, system_ids, zone, store),
            scoring=score,
            reading=Reading(db, clock, zone, store),
            periods=periods,
            clock=clock,
        )
        background: list[server.Background] = []
        if working and token is not None:
            channel = await closing.enter_async_context(
                open_channel(settings.peer_ingest, token=token_file(token), tls=settings.server.tls())
            )
            ingest = Ingest(IngestServiceStub(channel), settings.event_batch)
            lease = settings.lease_seconds.total_seconds()
            learning = Learning(db, clock, zone, Lake(), store)
            worker = Worker(db, ingest, learning, score, system_ids(), lease, periods, clock)
            background += [worker.follow_reference, worker.follow_events, worker.retry_suspended, worker.run_jobs]
        known = Known()
        background += await directory.background(
            closing,
            db,
            known,
            settings.server,
            lambda channel: Directory(AdminServiceStub(channel), "points"),
            working=working,
        )
        await server.serve(
            service="points",
            settings=settings.server,
            register=(lambda grpc: tmf.register(api, zone, grpc)) if serving else None,
            rights={**RIGHTS, **tmf.RIGHTS},
            background=background,
            ready=db.ping,
            known=known,
        )
