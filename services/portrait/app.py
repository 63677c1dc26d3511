"""Composition root: the only file that constructs."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import yaml

from lifecircle.admin.v1 import AdminServiceStub
from lifecircle.contact.v1 import ContactServiceStub
from lifecircle.directory import Directory
from lifecircle.ingest.v1 import IngestServiceStub
from lifecircle.portrait.v1 import add_PortraitServiceServicer_to_server
from lifecircle.recommend.v1 import RecommendServiceStub
from services.kit import config, directory, retention, server
from services.kit.channel import open_channel, token_file
from services.kit.clock import Clock, system_clock
from services.kit.config import ConfigProblems
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.ids import system_ids
from services.portrait.api import RIGHTS, PortraitApi, encode_contacts, encode_foresight, encode_offers, encoder
from services.portrait.config import Config
from services.portrait.domain.calendar import WorkCalendar, parse_calendar
from services.portrait.domain.detail import Details, parse_details
from services.portrait.domain.readiness import ReadinessRule, parse_rule
from services.portrait.domain.report import Report, parse_reports
from services.portrait.domain.tag import Catalogue, parse
from services.portrait.domain.wide import Book, Item, parse_book, parse_features
from services.portrait.lake import Lake
from services.portrait.lake.program import run_training
from services.portrait.peers import Contacts, Ingest, Recommend
from services.portrait.store import (
    Audiences,
    City,
    HotPortraits,
    Moments,
    Partitions,
    Planning,
    Projections,
    Reports,
    Runs,
    Tags,
)
from services.portrait.store.days import KeptDays
from services.portrait.store.forgetting import Forgotten
from services.portrait.store.latent import Latent
from services.portrait.store.segments import Segments
from services.portrait.usecases import (
    AudienceDesk,
    CityDesk,
    Computing,
    Indexes,
    Journeys,
    Matching,
    MomentDesk,
    Pace,
    Plans,
    Reading,
    ReportDesk,
    Shelf,
    TagDesk,
    WholePortraits,
)
from services.portrait.usecases.compute import Settings
from services.portrait.usecases.forgetting import Forgetting
from services.portrait.usecases.latent import LatentDesk, Learning
from services.portrait.usecases.reviews import ReviewDesk
from services.portrait.usecases.segments import Clustering, SegmentDesk
from services.portrait.usecases.timing import TimingDesk
from services.portrait.usecases.wide import WideTables
from services.portrait.worker import Learnt, Peers, Worker, make_reports, remind_of_reviews

_SERVICE = "portrait"

T = TypeVar("T")


async def run(environ: Mapping[str, str], serving: bool, working: bool) -> None:
    """Serve the RPCs, do the background work, or both, until told to stop."""
    settings = config.read(Config, environ, also=("service_token_file",) if working else ())
    settings.check()
    data = rules(settings)
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
        shelf = Shelf(db, Tags(), data.document, clock)
        made = _Parts.of(db, settings, shelf.latest, clock)
        plans = Plans(db, Planning(), data.rule, shelf.latest.digest, clock, system_ids, shelf)
        reading = Reading(db, made.runs, made.whole, shelf.latest, clock)
        shelf.listen(made.audiences.know)
        shelf.listen(reading.know)
        tags = TagDesk(db, Tags(), made.runs, shelf, data.calendar, settings.business_timezone.key, clock)
        city = CityDesk(db, made.runs, City(), shelf, data.items, clock, data.book)
        known = Known()
        reports = ReportDesk(
            db,
            made.runs,
            Reports(),
            data.reports,
            shelf,
            lambda org_id: known.directory.domain(org_id),
            clock,
            system_ids,
        )
        learnt = (
            SegmentDesk(db, Segments(), made.runs, clock, system_ids),
            LatentDesk(db, Latent(), made.runs, clock, system_ids),
            TimingDesk(db, made.runs, City(), Projections(), settings.business_timezone.key, clock),
            (reviews := ReviewDesk(db, Tags(), Latent(), Moments(), shelf, clock)),
        )
        api = PortraitApi(
            reading, plans, made.audiences, made.moments, made.journeys, tags, city, reports, stop, *learnt
        )
        background: list[server.Background] = [made.indexes.run, shelf.run]
        background += [made.hot.run, made.whole.run] if serving else []
        if working and token is not None:
            background.append(retention.trim(db, clock))
            background += await _work(closing, db, settings, data, made, shelf, plans, token_file(token), clock)
            background += [partial(make_reports, reports), partial(remind_of_reviews, reviews)]
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


async def _work(
    closing: contextlib.AsyncExitStack,
    db: Database,
    settings: Config,
    data: "Rules",
    made: "_Parts",
    shelf: Shelf,
    plans: Plans,
    token: Callable[[], str],
    clock: Clock,
) -> list[server.Background]:
    """What runs in the background: peers, jobs, moments."""
    channel = await closing.enter_async_context(
        open_channel(settings.peer_ingest, token=token, tls=settings.server.tls())
    )
    ingest, lake, zone = Ingest(IngestServiceStub(channel)), Lake(settings.lake_url), settings.business_timezone.key
    how = Settings(
        data.rule,
        data.calendar,
        zone,
        settings.lake_buckets,
        settings.threads,
        data.details,
        settings.hold_customers,
    )
    computing = Computing(db, made.runs, lake, ingest.snapshot, encoder, Audiences(), City(), shelf, how, clock)
    peers = await _peers(closing, settings, token, ingest)
    pace = Pace(settings.moment_partitions, journal_days=settings.moment_days)
    matching = Matching(db, Moments(), Partitions(), made.audiences, clock, pace)
    learnt = Learnt(
        Clustering(db, Segments(), made.runs, ingest.snapshot, clock),
        Learning(
            db, Latent(), made.runs, run_training, settings.scratch, clock, system_ids, encode_foresight, lake.url
        ),
    )
    worker = Worker(
        db,
        plans,
        computing,
        ingest.deliveries,
        matching,
        made.journeys,
        peers,
        system_ids(),
        clock,
        learnt=learnt,
        wide=WideTables(db, made.runs, Planning(), ingest.snapshot, lake, data.items, zone, clock, system_ids),
        forgetting=Forgetting(Forgotten(), KeptDays(), settings.lake_buckets, clock),
    )
    return list(worker.background())


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


@dataclass(frozen=True)
class Rules:
    """The rules that are data, each read and found sound."""

    document: Mapping[str, Any]
    """The shipped tag catalogue as it stands, parsed by the shelf."""
    rule: ReadinessRule
    calendar: WorkCalendar
    items: tuple[Item, ...]
    book: Book
    details: Details
    reports: Mapping[str, Report]


def rules(settings: Config) -> Rules:
    """Catalogue, readiness, calendar, features. Raises ConfigProblems naming each file's first fault."""
    problems: list[str] = []

    def parsed(name: str, path: Path, reader: Callable[[str], T]) -> T | None:
        try:
            return reader(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            problems.append(f"{name}: {path.name}: {error}")
            return None

    def document(text: str) -> Mapping[str, Any]:
        found = yaml.safe_load(text)
        parse(found)
        return dict(found)

    def described(text: str) -> tuple[tuple[Item, ...], Book]:
        found = yaml.safe_load(text)
        return parse_features(found), parse_book(found)

    catalogue = parsed("CATALOGUE_PATH", settings.catalogue_path, document)
    rule = parsed(
        "READINESS_PATH", settings.readiness_path, lambda text: parse_rule(yaml.safe_load(text), settings.window_days)
    )
    calendar = parsed("CALENDAR_PATH", settings.calendar_path, parse_calendar)
    features = parsed("FEATURES_PATH", settings.features_path, described)
    details = parsed("DETAILS_PATH", settings.details_path, lambda text: parse_details(yaml.safe_load(text)))
    reports = parsed("REPORTS_PATH", settings.reports_path, lambda text: parse_reports(yaml.safe_load(text)))
    if catalogue is None or rule is None or calendar is None or features is None or details is None or reports is None:
        raise ConfigProblems(problems)
    return Rules(catalogue, rule, calendar, *features, details, reports)
