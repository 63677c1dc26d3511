"""Contact's room of decisions served by gRPC with the kit's whole chain, over 20,000 customers with scores in memory.

Run as a process with one JSON line {url, keys, customers}; it prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import uvloop

from lifecircle.contact.v1 import add_ContactServiceServicer_to_server
from services.contact.api import RIGHTS, DecisionsApi, joined
from services.contact.usecases import Trials
from services.kit import server
from services.kit.clock import system_clock
from services.kit.config import ServerSettings
from services.kit.db import Database
from tests.contact.counter import replica


async def serve(url: str, keys: str, customers: int) -> None:
    """Serves until it is killed."""
    db = await Database.open(url, schema="contact", application="decide-server")
    deciding = await replica(db, customers=customers, clock=system_clock)
    api = joined(DecisionsApi(deciding, cast(Trials, None)))  # nobody asks for looks ahead here

    def register(grpc_server: Any) -> None:
        add_ContactServiceServicer_to_server(api, grpc_server)

    settings = ServerSettings(database_url=url, jwt_keys=Path(keys), listen="127.0.0.1:0", drain_seconds=timedelta(0))
    async with server.running(service="contact", settings=settings, register=register, rights=RIGHTS) as port:
        gc.collect()
        gc.freeze()  # as server.serve() does
        print(port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(**json.loads(sys.stdin.readline())))
