"""What the tests of ingest may ask for."""

from pathlib import Path

import pytest

from services.kit.db import Database
from tests.ingest.house import House, wipe


@pytest.fixture
async def house(db: Database, tmp_path: Path) -> House:
    """Ingest with its shipped feeds and nothing in it."""
    await wipe(db)
    made = House(db, tmp_path)
    await made.ship()
    return made
