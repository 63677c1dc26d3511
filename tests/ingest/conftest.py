"""What the tests of ingest may ask for."""

from pathlib import Path
from typing import Any, cast

import pytest

from services.kit.db import Database
from services.kit.interceptors import call
from tests.ingest.house import House, wipe


class _Unasked:
    """The context of an RPC without metadata."""

    def invocation_metadata(self) -> tuple[Any, ...]:
        return ()


@pytest.fixture
async def house(db: Database, tmp_path: Path) -> House:
    """Ingest with its shipped feeds and nothing in it; who uses it without an RPC is the caller `tester`."""
    await wipe(db)
    method = call.Method.at("/lifecircle.ingest.v1.IngestService/Test")
    call.begin(method, cast(call.Context, _Unasked())).who = call.Caller("tester", frozenset(), "")
    made = House(db, tmp_path)
    await made.ship()
    return made
