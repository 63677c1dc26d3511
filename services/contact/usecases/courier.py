"""Carries hand-over files to OCRM's server, each pair once, however often a process dies."""

import structlog

from services.contact.domain.handover import control_name
from services.contact.lake import Folder
from services.contact.lake.push import Carrier
from services.contact.store import Store
from services.kit.clock import Clock
from services.kit.db import Database

_log = structlog.get_logger(__name__)


class Courier:
    """Carries what waits."""

    def __init__(self, db: Database, store: Store, clock: Clock, folder: Folder, carrier: Carrier | None) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._folder = folder
        self._carrier = carrier

    async def carry(self) -> int:
        """Carry the files that wait, oldest first; gives how many. A server that is away is asked again later.

        Who dies between the carrying and the note carries the same bytes under the same name once more.
        """
        if self._carrier is None:
            return 0
        carried = 0
        async with self._db.read() as read:
            waiting = await self._store.plans.waiting_files(read)
        for name in waiting:
            try:
                await self._carrier.carry([self._folder.path / name, self._folder.path / control_name(name)])
            except OSError as error:
                _log.warning("ocrm_not_reached", file_name=name, error=str(error))
                break
            async with self._db.begin() as tx:
                await self._store.plans.carried(tx, name, self._clock())
                await tx.commit()
            carried += 1
        return carried
