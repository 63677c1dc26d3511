"""The composition root: the only file that constructs."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

import grpc.aio

from lifecircle.admin.v1 import AdminServiceStub
from lifecircle.contact.v1 import ContactServiceServicer
from lifecircle.directory import Directory
from services.contact import lake
from services.contact.api import (
    RIGHTS,
    BenefitsApi,
    CampaignsApi,
    ContactApi,
    DecisionsApi,
    OrdersApi,
    ReportsApi,
    SlotsApi,
    joined,
    tmf,
)
from services.contact.config import Config
from services.contact.peers import Ingest, Points, Portrait, Recommend, folder_gateway, http_gateway
from services.contact.store import Store
from services.contact.usecases import (
    Auctions,
    Audiences,
    Benefits,
    Campaigns,
    Courier,
    Decisions,
    Desk,
    Effects,
    Handovers,
    Inflow,
    Moments,
    Orders,
    Registry,
    Reports,
    Repricing,
    Sender,
    Slots,
    Trials,
    Work,
)
from services.contact.usecases.sender import Gateway
from services.contact.worker import backgrounds
from services.kit import config, directory
from services.kit.channel import open_channel, token_file
from services.kit.clock import Clock, system_clock
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.ids import Ids, system_ids
from services.kit.server import Background, serve

SERVICE = "contact"


@dataclass(frozen=True)
class Built:
    """The service, ready to serve and to work."""

    api: ContactServiceServicer
    background: Sequence[Background]

    def register(self, server: grpc.aio.Server) -> None:
        """Add the servicers to a server."""
        tmf.register(self.api, server)


def build(
    db: Database,
    ingest_channel: grpc.aio.Channel,
    recommend_channel: grpc.aio.Channel,
    points_channel: grpc.aio.Channel | None = None,
    portrait_channel: grpc.aio.Channel | None = None,
    *,
    folder: Path,
    zone: tzinfo,
    gateways: Mapping[str, Gateway] | None = None,
    carrier: lake.Carrier | None = None,
    clock: Clock = system_clock,
    ids: Ids = system_ids,
) -> Built:
    """Put the service together."""
    store, ingest, recommend = Store(), Ingest(ingest_channel), Recommend(recommend_channel)
    portrait = Portrait(portrait_channel)
    audiences = Audiences(db, store, portrait.members)
    auctions = Auctions(db, store, clock, ids, zone, recommend.matrix_files, lake.matrix, audiences, portrait.hours)
    handovers = Handovers(db, store, clock, ids, zone, ingest.reveal, portrait.tags, lake.Folder(folder))
    orders = Orders(db, store, clock, ids, Points(points_channel, clock).responsible)
    slots = Slots(db, store, clock, ids, Registry(db, store, clock))
    decisions = Decisions(db, store, clock, zone, slots.showings, recommend.matrix_files, lake.matrix)
    api = joined(
        ContactApi(
            desk=Desk(db, store, clock),
            auctions=auctions,
            handovers=handovers,
            work=Work(db, clock),
            effects=Effects(db, store, clock),
        ),
        CampaignsApi(Campaigns(db, store, clock, ids, portrait.wrong)),
        OrdersApi(orders),
        SlotsApi(slots),
        DecisionsApi(decisions, Trials(db, store, recommend.matrix_files, lake.matrix)),
        ReportsApi(Reports(db, store, clock, zone)),
        BenefitsApi(Benefits(db, store, clock, ids, zone), clock),
    )
    background = backgrounds(
        db=db,
        owner=system_ids(),
        clock=clock,
        auctions=auctions,
        handovers=handovers,
        inflow=Inflow(store, clock, lake.Folder(folder)),
        matrices=recommend.matrices,
        deliveries=ingest.deliveries,
        facts=ingest.facts,
        orders=orders,
        slots=slots,
        sender=Sender(db, store, clock, zone, {**(gateways or {}), "order": orders.take}),
        decisions=decisions,
        courier=Courier(db, store, clock, lake.Folder(folder), carrier),
        audiences=audiences,
        moments=Moments(db, store, clock, decisions),
        repricing=Repricing(db, store, clock, ids, zone, recommend.matrix_files, lake.matrix, audiences),
        runs=portrait.runs if portrait.known else None,
        matches=portrait.moments if portrait.known else None,
    )
    return Built(api, background)


def gateways(settings: Config) -> dict[str, Gateway]:
    """The gateways of the channels that are set; messages of the others wait."""
    urls = {
        "sms": settings.gateway_sms,
        "app": settings.gateway_app,
        "web": settings.gateway_web,
        "mall": settings.gateway_mall,
    }
    found = {channel: http_gateway(url) for channel, url in urls.items() if url}
    if settings.gateway_lists:
        found |= {one: folder_gateway(Path(settings.gateway_lists) / one) for one in ("call", "store")}
    return found


async def run(environ: Mapping[str, str], serving: bool, working: bool) -> None:
    """Serve the RPCs, do the background work, or both, until SIGTERM."""
    settings = config.read(Config, environ)
    server = settings.server
    token = token_file(server.service_token_file) if server.service_token_file else str
    async with contextlib.AsyncExitStack() as closing:
        db = await Database.open(
            server.database_url, schema=SERVICE, application=SERVICE, size=server.database_connections
        )
        closing.push_async_callback(db.close)
        ingest = await closing.enter_async_context(
            open_channel(settings.peer_ingest, token=token, tls=settings.server.tls())
        )
        recommend = await closing.enter_async_context(
            open_channel(settings.peer_recommend, token=token, tls=settings.server.tls())
        )
        points = None
        if settings.peer_points:
            points = await closing.enter_async_context(
                open_channel(settings.peer_points, token=token, tls=settings.server.tls())
            )
        portrait = None
        if settings.peer_portrait:
            portrait = await closing.enter_async_context(
                open_channel(settings.peer_portrait, token=token, tls=settings.server.tls())
            )
        built = build(
            db,
            ingest,
            recommend,
            points,
            portrait,
            folder=settings.ocrm_out,
            zone=settings.business_timezone,
            gateways=gateways(settings),
            carrier=lake.carrier(settings.ocrm_push, known_hosts=settings.ocrm_known_hosts, key=settings.ocrm_key),
        )
        background = [*built.background] if working else []
        known = Known()
        background += await directory.background(
            closing,
            db,
            known,
            server,
            lambda channel: Directory(AdminServiceStub(channel), "contact"),
            working=working,
        )
        await serve(
            service=SERVICE,
            settings=server,
            register=built.register if serving else None,
            rights={**RIGHTS, **tmf.RIGHTS},
            background=background,
            ready=db.ping,
            known=known,
        )
