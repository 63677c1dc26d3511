"""Composition root: the only file that constructs."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

import grpc.aio

from lifecircle.admin.v1 import AdminServiceStub
from lifecircle.directory import Directory
from lifecircle.ingest.v1 import add_IngestServiceServicer_to_server
from services.ingest import store, usecases
from services.ingest.api import RIGHTS, IngestApi, Supplying
from services.ingest.config import Config
from services.ingest.lake.files import Files
from services.ingest.lake.landing import Landing
from services.ingest.lake.parquet import Lake
from services.ingest.lake.remote import place_of
from services.ingest.peers import sink_of, source_of
from services.ingest.store.erasures import Erasures
from services.ingest.store.layers import Layers
from services.ingest.usecases.bridge import Bridge
from services.ingest.usecases.intake import Patience
from services.ingest.worker import (
    bridge_brokers,
    keep_stores,
    load_deliveries,
    watch_landing,
    watch_source,
    watch_supply,
)
from services.kit import config as settings
from services.kit import directory, retention, server
from services.kit.clock import system_clock
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.ids import system_ids

_SERVICE = "ingest"
_FEEDS = Path(__file__).parent / "feeds"


async def run(environ: Mapping[str, str], serve: bool, work: bool) -> None:
    """Serve the RPCs, do the background work, or both, until told to stop."""
    config = settings.read(Config, environ)
    config.check()
    stop = asyncio.Event()
    db = await Database.open(
        config.server.database_url, schema=_SERVICE, application=_SERVICE, size=config.server.database_connections
    )
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(db.close)
        feeds, deliveries, events, identities = store.Feeds(), store.Deliveries(), store.Events(), store.Identities()
        clock, ids, keys, zone = system_clock, system_ids, config.keys(), config.business_timezone
        landing = Landing(config.landing)
        lake = Lake(Files(config.lake_url), config.lake_buckets)
        feed_cases = usecases.Feeds(db, feeds, clock)
        layers, erasures = Layers(), Erasures()
        writer = usecases.Writer(db, events, keys, clock, ids)
        identity_cases = usecases.Identities(db, identities, events, keys, clock, ids)
        upkeep = usecases.Upkeep(
            db, layers, deliveries, feeds, identities, lake, config.landing, keys, config.ages(), clock, ids
        )
        known = Known()
        api = IngestApi(
            feed_cases,
            usecases.Deliveries(db, deliveries, feeds),
            event_cases := usecases.Events(db, events, layers, writer, clock),
            identity_cases,
            Supplying(
                supply := usecases.Supply(db, feeds, store.Alarms(), zone, clock, ids),
                uploads := usecases.Uploads(db, store.Uploads(), feeds, landing, clock, ids),
                usecases.Replays(db, deliveries, feeds, landing, keys, clock, ids),
                usecases.Work(db, clock),
            ),
            lake.uri,
            stop,
            erasures=usecases.Asking(db, erasures, identities, events, keys, clock, ids),
            layers=usecases.Layers(db, layers, deliveries, feeds, lake.files, clock, ids),
            upkeep=upkeep,
            editing=usecases.Editing(db, deliveries, feeds, layers, landing, lake, zone, clock, ids),
            known=known,
        )
        background: list[server.Background] = []
        await feed_cases.ship([path.read_text(encoding="utf-8") for path in sorted(_FEEDS.glob("*.yaml"))])
        if work:
            collecting = usecases.Collecting(db, store.Uploads(), feeds, landing, clock, ids)
            patience = Patience(config.control_grace, config.settle_seconds)
            archive = timedelta(days=config.archive_days)
            intake = usecases.Intake(db, deliveries, feeds, landing, patience, clock, ids, archive)
            load = usecases.Load(db, deliveries, feeds, identities, events, landing, lake, keys, zone, clock)
            erasing = usecases.Erasing(db, erasures, lake, config.landing, keys, upkeep.collect, clock)
            background += [
                watch_landing(intake, uploads, load, config.landing_poll),
                watch_supply(supply, config.alarm_poll),
                *[watch_source(collecting, source, place_of(source)) for source in config.remote_sources()],
                retention.trim(db, clock),
                load_deliveries(db, load, clock, lease=config.job_lease, at_once=config.loads_at_once),
                *_brokers(config, db, Bridge(db, events, writer), event_cases),
                *keep_stores(db, identity_cases, erasing, upkeep, clock, config.job_lease, config.ages()),
            ]

        background += await _belonging(closing, db, known, config, working=work)

        def register(target: grpc.aio.Server) -> None:
            add_IngestServiceServicer_to_server(api, target)

        await server.serve(
            service=_SERVICE, settings=config.server, register=register if serve else None, rights=RIGHTS,
            background=background, ready=db.ping, known=known, stop=stop,
        )  # fmt: skip


async def _belonging(
    closing: contextlib.AsyncExitStack, db: Database, known: Known, config: Config, *, working: bool
) -> list[server.Background]:
    """Knowing who calls: admin's directory."""

    def admin(channel: grpc.aio.Channel) -> Directory:
        return Directory(AdminServiceStub(channel), _SERVICE)

    return await directory.background(closing, db, known, config.server, admin, working=working)


def _brokers(config: Config, db: Database, bridge: Bridge, events: usecases.Events) -> list[server.Background]:
    source = partial(source_of, config.event_source_url) if config.event_source_url else None
    sink = partial(sink_of, config.event_sink_url) if config.event_sink_url else None
    return bridge_brokers(db, bridge, events, source, sink)
