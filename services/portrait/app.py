"""Composition root: the only file that constructs."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import grpc.aio
import yaml

from lifecircle.admin.v1 import AdminServiceStub
from lifecircle.contact.v1 import ContactServiceStub
from lifecircle.directory import Directory
from lifecircle.ingest.v1 import IngestServiceStub
from lifecircle.portrait.v1 import add_PortraitServiceServicer_to_server
from lifecircle.recommend.v1 import RecommendServiceStub
from services.kit import config, directory, server
from services.kit.channel import open_channel, token_file
from services.kit.clock import Clock, system_clock
from services.kit.config import ConfigProblems
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.ids import system_ids
from services.portrait.api import RIGHTS, PortraitApi, encode_contacts, encode_offers, encoder
from services.portrait.config import Config
from services.portrait.domain.calendar import WorkCalendar, parse_calendar
from services.portrait.domain.readiness import ReadinessRule, parse_rule
from services.portrait.domain.tag import Catalogue, parse
from services.portrait.lake import Lake
from services.portrait.peers import Contacts, Ingest, Recommend
from services.portrait.store import Audiences, HotPortraits, Moments, Partitions, Planning, Projections, Runs
from services.portrait.usecases import (
    AudienceDesk,
    Computing,
    Indexes,
    Journeys,
    Matching,
    MomentDesk,
    Pace,
    Plans,
    Reading,
    WholePortraits,
)
from services.portrait.usecases.compute import Settings
from services.portrait.worker import Peers, Worker

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
        made = _Parts.of(db, settings, catalogue, clock)
        plans = Plans(db, Planning(), rule, catalogue.digest, clock, system_ids)
        reading = Reading(db, made.runs, made.whole, catalogue, clock)
        api = PortraitApi(reading, plans, made.audiences, made.moments, made.journeys, stop)
        background: list[server.Background] = [made.indexes.run]
        background += [made.hot.run, made.whole.run] if serving else []
        if working and token is not None:
            channel = await closing.enter_async_context(
                open_channel(settings.peer_ingest, token=token_file(token), tls=settings.server.tls())
            )
            ingest = Ingest(IngestServiceStub(channel))
            how = Settings(
                rule, catalogue, calendar, settings.business_timezone.key, settings.lake_buckets, settings.threads
            )
            lake, encode = Lake(settings.lake_url), encoder(catalogue)
            computing = Computing(db, made.runs, lake, ingest.snapshot, encode, Audiences(), how, clock)
            peers = await _peers(closing, settings, token_file(token), ingest)
            owner = system_ids()
            matching = Matching(
                db,
                Moments(),
                Partitions(),
                made.audiences,
                clock,
                Pace(settings.moment_partitions, journal_days=settings.moment_days),
            )
            worker = Worker(db, plans, computing, ingest.deliveries, matching, made.journeys, peers, owner, clock)
            background += worker.background()
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


@dataclass(frozen=True)
class _Parts:
    """What serving and working share."""

    runs: Runs
    hot: HotPortraits
    whole: WholePortraits
    indexes: Indexes
    audiences: AudienceDesk
    moments: MomentDesk
    journeys: Journeys

    @classmethod
    def of(cls, db: Database, settings: Config, catalogue: Catalogue, clock: Clock) -> "_Parts":
        runs, projections = Runs(), Projections()
        hot = HotPortraits(db.dedicated, settings.read_connections)
        whole = WholePortraits(db, runs, hot, projections, encode_contacts, clock, mapped=settings.map_portraits)
        indexes = Indexes(db, runs, Audiences())
        audiences = AudienceDesk(db, Audiences(), indexes, catalogue, clock, system_ids)
        moments = MomentDesk(db, Moments(), audiences, clock)
        journeys = Journeys(db, Moments(), projections, Audiences(), encode_offers, settings.lake_url, clock)
        return cls(runs, hot, whole, indexes, audiences, moments, journeys)


async def _peers(
    closing: contextlib.AsyncExitStack, settings: Config, token: Callable[[], str], ingest: Ingest
) -> Peers:
    """The streams that are followed; contact's and recommend's where their addresses are set."""

    async def channel(target: str) -> grpc.aio.Channel:
        return await closing.enter_async_context(open_channel(target, token=token, tls=settings.server.tls()))

    peers = Peers(ingest.events)
    if settings.peer_contact:
        contacts = Contacts(ContactServiceStub(await channel(settings.peer_contact)))
        peers = replace(peers, outcomes=contacts.outcomes)
    if settings.peer_recommend:
        recommend = Recommend(RecommendServiceStub(await channel(settings.peer_recommend)))
        peers = replace(peers, matrices=recommend.matrices, matrix_files=recommend.files)
    return peers


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
