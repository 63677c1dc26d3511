"""The composition root: what the process consists of."""

import asyncio
import contextlib
import csv
import json
from collections.abc import Mapping
from pathlib import Path

from joserfc.jwk import KeySet

from lifecircle.admin.v1 import add_AdminServiceServicer_to_server
from lifecircle.ingest.v1 import IngestServiceStub
from services.admin.api import RIGHTS, AdminApi
from services.admin.config import Config
from services.admin.domain.role import Catalogue, Permission
from services.admin.peers import Ingest
from services.admin.store import Store
from services.admin.usecases import Audit, Log, Organisations, Principals, Roles, Settings, Telling, Tokens
from services.admin.worker import Worker
from services.kit import config, directory, retention, server
from services.kit.channel import open_channel, token_file
from services.kit.clock import system_clock
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.files import Watched
from services.kit.ids import system_ids

PERMISSIONS = Path(__file__).parent / "permissions.csv"


async def run(environ: Mapping[str, str], serving: bool, working: bool) -> None:
    """Serve the RPCs, do the background work, or both, until told to stop."""
    settings = config.read(Config, environ, also=("service_token_file",) if working else ())
    token, stop = settings.server.service_token_file, asyncio.Event()
    async with contextlib.AsyncExitStack() as closing:
        db = await Database.open(
            settings.server.database_url,
            schema="admin",
            application="admin",
            size=settings.server.database_connections,
        )
        closing.push_async_callback(db.close)
        known = Known()
        api = compose(db, settings, known, stop)
        background: list[server.Background] = [directory.keep(db, known)]
        if working and token is not None:
            channel = await closing.enter_async_context(
                open_channel(settings.peer_ingest, token=token_file(token), tls=settings.server.tls())
            )
            ingest, lease = Ingest(IngestServiceStub(channel)), settings.lease_seconds.total_seconds()
            worker = Worker(db, ingest, api.organisations, api.telling, system_ids(), lease)
            background += [worker.follow_organisations, worker.follow_directory]
            background.append(retention.trim(db, system_clock, outbox=None))  # the directory is told from its beginning
        await server.serve(
            service="admin",
            settings=settings.server,
            register=(lambda grpc: add_AdminServiceServicer_to_server(api, grpc)) if serving else None,
            rights=RIGHTS,
            background=background,
            ready=db.ping,
            known=known,
            stop=stop,
        )


def compose(db: Database, settings: Config, known: Known, stop: asyncio.Event) -> AdminApi:
    """The servicer with everything behind it."""
    clock, store = system_clock, Store()
    audit = Audit(db, clock, system_ids, store)
    roles = Roles(db, clock, store, audit, catalogue(), known)
    keys = Watched(settings.signing_keys, signing)
    server_settings = settings.server
    return AdminApi(
        organisations=Organisations(db, clock, store, audit),
        principals=Principals(db, clock, store, audit, roles),
        roles=roles,
        parameters=Settings(db, store.parameters, audit, "Parameter"),
        entries=Settings(db, store.entries, audit, "DictionaryEntry"),
        log=Log(db, store),
        tokens=Tokens(
            db, clock, store, keys.value, server_settings.jwt_issuer, server_settings.jwt_audience, settings.token_life
        ),
        telling=Telling(db),
        stop=stop,
    )


def catalogue() -> Catalogue:
    """Every permission, from the file that `make permissions` writes from the contract."""
    with PERMISSIONS.open(encoding="utf-8", newline="") as file:
        rows = [
            Permission(row["permission"], row["title"], frozenset(row["roles"].split())) for row in csv.DictReader(file)
        ]
    return Catalogue({each.permission: each for each in rows})


def signing(text: str) -> KeySet:
    """The private keys of the embedded issuer: a JWKS, or one JWK."""
    document = json.loads(text)
    return KeySet.import_key_set(document if "keys" in document else {"keys": [document]})
