"""What an event's cell means: its place, with class and town, as the current run read the map."""

import asyncio
from collections.abc import Mapping

import structlog

from services.kit.db import Database
from services.portrait.domain.moment import Event
from services.portrait.lake.city import places_of_cells
from services.portrait.store import Runs

LOCATION = "location."
"""Events of these types are told where they were, unless they say so themselves."""
CELLS = "cells"
"""The kind of file under which a run keeps how it read the map."""
_CELL_BITS = 28

_log = structlog.get_logger(__name__)


class Whereabouts:
    """The cells of the current run by id. `refresh` keeps them up to date; before it nothing is known."""

    def __init__(self, db: Database, runs: Runs) -> None:
        self._db = db
        self._runs = runs
        self.looked = False
        self._read = ""
        self._cells: Mapping[int, Mapping[str, str]] = {}

    async def refresh(self) -> None:
        """Read the map of the current run, unless it is known."""
        async with self._db.read() as read:
            current = await self._runs.current(read)
            files = await self._runs.files(read, current[0], CELLS) if current is not None else []
        if files and files[0].uri != self._read:
            self._cells = await asyncio.to_thread(places_of_cells, files[0])
            self._read = files[0].uri
            _log.info("cells_read", cells=len(self._cells))
        self.looked = True

    def told(self, event: Event) -> Event:
        """The event with place_id, place_class and town of its cell (`cell_id`, or `lac` and `cell`); as it is when it
        has no cell that serves a place, or says its place itself."""
        fields = event.fields
        if not event.type.startswith(LOCATION) or "place_id" in fields or "place_class" in fields:
            return event
        place = self._cells.get(_cell(fields))
        return event if place is None else event._replace(fields={**fields, **place})


def _cell(fields: Mapping[str, object]) -> int:
    """The id of a cell, (lac << 28) | cell where it is told in parts; -1 for none."""
    try:
        if "cell_id" in fields:
            return int(str(fields["cell_id"]).removesuffix(".0"))
        lac, cell = (int(float(str(fields[name]))) for name in ("lac", "cell"))
    except (KeyError, ValueError):
        return -1
    return lac << _CELL_BITS | cell
