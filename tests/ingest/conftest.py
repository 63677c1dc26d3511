"""What the tests of ingest may ask for."""

from pathlib import Path

import pytest

from services.kit.db import Database
from services.kit.interceptors import call
from tests.ingest.house import House, wipe


@pytest.fixture
async def house(db: Database, tmp_path: Path) -> House:
    """Ingest with its shipped feeds and nothing in it; who uses it without an RPC is the caller `tester`."""
    await wipe(db)
    method = call.Method.at("/lifecircle.ingest.v1.IngestService/Test")
    call.begin(method, ()).who = call.Caller("tester", frozenset(), "")
    made = House(db, tmp_path)
    await made.ship()
    return made
