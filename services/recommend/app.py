"""The composition root: what the process consists of."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping

from lifecircle.admin.v1 import AdminServiceStub
from lifecircle.contact.v1 import ContactServiceStub
from lifecircle.directory import Directory
from lifecircle.ingest.v1 import IngestServiceStub
from lifecircle.portrait.v1 import PortraitServiceStub
from services.kit import config, directory, retention, server
from services.kit.channel import open_channel, token_file
from services.kit.clock import system_clock
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.ids import system_ids
from services.recommend import store
from services.recommend.api import RIGHTS, FinalsApi, InsightsApi, LiveApi, ProjectsApi, RecommendApi, joined, tmf
from services.recommend.config import Config
from services.recommend.lake import Lake
from services.recommend.peers import Contact, Ingest, Portrait
from services.recommend.usecases import (
    Accepting,
    Asking,
    Browsing,
    Comparing,
    Finishing,
    Governing,
    Guiding,
    Influencing,
    Insights,
    Keeper,
    Learned,
    Learning,
    Noting,
    Projects,
    Reading,
    Recipe,
    Recommending,
    Scoring,
    Taking,
)
from services.recommend.worker import Worker, run_training

_LEAVE_SECONDS = 2.0


def _leave(error: type[BaseException] | None, *_: object) -> None:
    """End soon though a thread still computes: its job was given back, and of half a file nobody knows the name."""
    timer = threading.Timer(_LEAVE_SECONDS, os._exit, [int(error is not None)])
    timer.daemon = True
    timer.start()


async def run(environ: Mapping[str, str], serving: bool, working: bool) -> None:
    """Serve the RPCs, do the background work, or both, until told to stop."""
    settings = config.read(Config, environ, also=("service_token_file",) if working else ())
    token = settings.server.service_token_file
    stop = asyncio.Event()
    clock, ids, lake = system_clock, system_ids, Lake(settings.lake_url)
    inputs, knowledge, models, matrices = store.Inputs(), store.Knowledge(), store.Models(), store.Matrices()
    async with contextlib.AsyncExitStack() as closing:
        closing.push(_leave)  # what is pushed first comes last: by then all is closed in order
        db = await Database.open(
            settings.server.database_url,
            schema="recommend",
            application="recommend",
            size=settings.server.database_connections,
        )
        closing.push_async_callback(db.close)
        asking = Asking(db, inputs, models, clock, ids)
        keeper = Keeper(db, inputs, knowledge, models, lake)
        reading = Reading(db, knowledge, models, matrices, stop)
        recommending = Recommending(db, keeper, clock, ids)
        closing.push_async_callback(recommending.close)
        api = RecommendApi(
            recommending,
            reading,
            asking,
            guiding := Guiding(db, knowledge, inputs, clock),
            Governing(db, models, clock),
            browsing := Browsing(db, knowledge, matrices, lake),
        )
        analysts = InsightsApi(Insights(db, knowledge, keeper, browsing))
        finals = FinalsApi(Finishing(db, recommending, guiding, lake))
        service = joined(api, LiveApi(Learned(db, lake)), ProjectsApi(Projects(db, clock, ids)), analysts, finals)
        background: list[server.Background] = []
        if working and token is not None:
            worker = await _worker(closing, settings, token_file(token), db, lake, asking)
            background = [retention.trim(db, clock), *worker.all]
        known = Known()
        background += await directory.background(
            closing,
            db,
            known,
            settings.server,
            lambda channel: Directory(AdminServiceStub(channel), "recommend"),
            working=working,
        )
        await server.serve(
            service="recommend",
            settings=settings.server,
            register=(lambda grpc: tmf.register(service, grpc)) if serving else None,
            rights={**RIGHTS, **tmf.RIGHTS},
            background=background,
            ready=db.ping,
            known=known,
            stop=stop,
        )


async def _worker(
    closing: contextlib.AsyncExitStack,
    settings: Config,
    shown: Callable[[], str],
    db: Database,
    lake: Lake,
    asking: Asking,
) -> Worker:
    """The background work, with the neighbours that it follows."""
    clock, ids, tls = system_clock, system_ids, settings.server.tls()
    inputs, knowledge, models = store.Inputs(), store.Knowledge(), store.Models()
    door = await closing.enter_async_context(open_channel(settings.peer_ingest, token=shown, tls=tls))
    other = await closing.enter_async_context(open_channel(settings.peer_portrait, token=shown, tls=tls))
    outcomes, trials = None, None
    if settings.peer_contact:
        third = await closing.enter_async_context(open_channel(settings.peer_contact, token=shown, tls=tls))
        neighbour = Contact(ContactServiceStub(third))
        outcomes, trials = neighbour.outcomes, neighbour.trials
    taking = Taking(inputs, knowledge, asking, lake.orders, lake.products, clock, settings.training_seed)
    ingest = Ingest(IngestServiceStub(door), taking.read_ahead)
    recipe = Recipe(settings.training_trees, settings.training_threads, settings.training_customers, settings.scratch)
    return Worker(
        db,
        ingest.deliveries,
        Portrait(PortraitServiceStub(other), ingest).runs,
        ingest.orders,
        taking,
        Learning(db, inputs, knowledge, models, asking, lake, run_training, recipe, clock),
        Scoring(db, inputs, models, store.Matrices(), lake, clock),
        ids(),
        clock,
        Noting(),
        Accepting(db, inputs, lake, run_training, recipe, clock, asking, trials),
        Comparing(db, inputs, models, lake, clock),
        Influencing(db, inputs, lake, clock),
        ingest.gone,
        outcomes,
    )
