"""Composition root: the only file that constructs."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import yaml

from lifecircle.admin.v1 import AdminServiceStub
from lifecircle.directory import Directory
from lifecircle.ingest.v1 import IngestServiceStub
from lifecircle.portrait.v1 import add_PortraitServiceServicer_to_server
from services.kit import config, directory, server
from services.kit.channel import open_channel, token_file
from services.kit.clock import system_clock
from services.kit.config import ConfigProblems
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.ids import system_ids
from services.portrait.api import RIGHTS, PortraitApi, encode_portrait
from services.portrait.config import Config
from services.portrait.domain.calendar import WorkCalendar, parse_calendar
from services.portrait.domain.readiness import ReadinessRule, parse_rule
from services.portrait.domain.tag import Catalogue, parse
from services.portrait.lake import Lake
from services.portrait.peers import Ingest
from services.portrait.store import HotPortraits, Planning, Runs
from services.portrait.usecases import Computing, Plans, Reading
from services.portrait.usecases.compute import Settings
from services.portrait.worker import Worker

_SERVICE = "portrait"


async def run(environ: Mapping[str, str], serving: bool, working: bool) -> None:
    """Serve the RPCs, do the background work, or both, until told to stop."""
    settings = config.read(Config, environ, also=("service_token_file",) if working else ())
    settings.check()
    catalogue, rule, calendar = rules(settings)
    token = settings.server.service_token_file
    stop, clock = asyncio.Event(), system_clock
    async with contextlib.AsyncExitStack() as closing:
        db = await Database.open(
            settings.server.database_url,
            schema=_SERVICE,
            application=_SERVICE,
            size=settings.server.database_connections,
        )
        closing.push_async_callback(db.close)
        runs, hot = Runs(), HotPortraits(db.dedicated, settings.read_connections)
        plans = Plans(db, Planning(), rule, catalogue.digest, clock, system_ids)
        api = PortraitApi(Reading(db, runs, hot, catalogue, clock), plans, stop)
        background: list[server.Background] = [hot.run] if serving else []
        if working and token is not None:
            channel = await closing.enter_async_context(
                open_channel(settings.peer_ingest, token=token_file(token), tls=settings.server.tls())
            )
            ingest = Ingest(IngestServiceStub(channel))
            how = Settings(
                rule, catalogue, calendar, settings.business_timezone.key, settings.lake_buckets, settings.threads
            )
            computing = Computing(db, runs, Lake(settings.lake_url), ingest.snapshot, encode_portrait, how, clock)
            worker = Worker(db, plans, computing, ingest.deliveries, system_ids(), clock)
            background += [worker.follow_deliveries, worker.run_jobs, worker.tidy]
        known = Known()
        background += await directory.background(
            closing,
            db,
            known,
            settings.server,
            lambda channel: Directory(AdminServiceStub(channel), "portrait"),
            working=working,
        )
        await server.serve(
            service=_SERVICE,
            settings=settings.server,
            register=(lambda grpc: add_PortraitServiceServicer_to_server(api, grpc)) if serving else None,
            rights=RIGHTS,
            background=background,
            ready=db.ping,
            known=known,
            stop=stop,
        )


def rules(settings: Config) -> tuple[Catalogue, ReadinessRule, WorkCalendar]:
    """The rules that are data: catalogue, readiness, calendar. Raises ConfigProblems naming each file's first fault."""
    problems: list[str] = []

    def parsed(name: str, path: Path) -> object:
        try:
            text = path.read_text(encoding="utf-8")
            if name == "CALENDAR_PATH":
                return parse_calendar(text)
            document = yaml.safe_load(text)
            return parse(document) if name == "CATALOGUE_PATH" else parse_rule(document, settings.window_days)
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            problems.append(f"{name}: {path.name}: {error}")
            return None

    catalogue = parsed("CATALOGUE_PATH", settings.catalogue_path)
    rule = parsed("READINESS_PATH", settings.readiness_path)
    calendar = parsed("CALENDAR_PATH", settings.calendar_path)
    if problems:
        raise ConfigProblems(problems)
    assert isinstance(catalogue, Catalogue)
    assert isinstance(rule, ReadinessRule)
    assert isinstance(calendar, WorkCalendar)
    return catalogue, rule, calendar
