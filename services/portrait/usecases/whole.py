"""The whole portrait from memory: a memory-mapped pack of the run, one of the current offers, and the last contacts.

Nothing here asks anybody else: offers and contacts are this service's own projections. Until a pack is mapped, or for a
run without one, portraits are read from Postgres, which stays the system of record.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import structlog

from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.waiting import pause
from services.portrait.domain.latent.foresight import FORESEEN
from services.portrait.domain.pack import Pack
from services.portrait.lake import packing
from services.portrait.store import HotPortraits, Runs
from services.portrait.store.forgetting import Forgotten
from services.portrait.store.projections import MOST_CHANGED, Contact, Projections
from services.portrait.usecases.compute import PACK

_LOOK_SECONDS = 0.5
_CONTACT_DAYS = 90
_MOST_CONTACTS = 20

EncodeContacts = Callable[[Iterable[tuple[str, datetime, str, str, str, int]]], bytes]
_log = structlog.get_logger(__name__)


class WholePortraits:
    """Answers by key. `run` keeps what is in memory up to date: it must be running."""

    def __init__(
        self,
        db: Database,
        runs: Runs,
        hot: HotPortraits,
        projections: Projections,
        encode_contacts: EncodeContacts,
        clock: Clock,
        *,
        mapped: bool = True,
    ) -> None:
        self._db = db
        self._runs = runs
        self._hot = hot
        self._projections = projections
        self._encode = encode_contacts
        self._clock = clock
        self._mapped = mapped
        self._run_no = 0
        self._pack: Pack | None = None
        self._matrix_id = ""
        self._offers: Pack | None = None
        self._foreseen: Pack | None = None
        self._foreseen_at: list[str] = []
        self._contacts: dict[int, dict[str, Contact]] = defaultdict(dict)
        self._encoded: dict[int, bytes] = {}
        self._changed = 0
        self._forgotten: frozenset[int] = frozenset()
        self._stamp = ""
        self._more = False  # whether anything is put behind portraits

    def mapped(self, key: int, clear: bool) -> bytes | None:
        """The answer of one key from the pack; None when it has none, or none is mapped."""
        pack = self._pack
        if pack is None or key in self._forgotten:
            return None
        answer = pack.portrait(key, clear)
        return answer + self._beside(key) if self._more and answer is not None else answer

    async def get(self, keys: Sequence[int], clear: bool) -> dict[int, bytes]:
        """Answers by key, those that are not known left out; `clear` for roles that see everything."""
        pack = self._pack
        if self._forgotten:
            keys = [key for key in keys if key not in self._forgotten]
        if pack is not None:
            found = {key: one for key in keys if (one := pack.portrait(key, clear)) is not None}
        else:
            stored = await self._hot.get(list(keys))
            found = {key: one.body + (one.clear if clear else one.masked) for key, one in stored.items()}
        if self._more:
            for key in found:
                found[key] += self._beside(key)
        return found

    def _beside(self, key: int) -> bytes:
        """What is put behind a portrait: last contacts, current offers, what is foreseen."""
        return self._encoded.get(key, b"") + _of(self._offers, key) + _of(self._foreseen, key)

    async def run(self, stop: asyncio.Event) -> None:
        """Map what is published and take in what changed, until `stop`."""
        while not stop.is_set():
            await self.refresh()
            await pause(_LOOK_SECONDS, stop)

    async def refresh(self) -> None:
        """Look once; nearly always nothing has changed, which one question tells."""
        async with self._db.read() as read:
            stamp = await self._projections.stamp(read, FORESEEN)
            if stamp == self._stamp:
                return
            current = await self._runs.current(read)
            self._forgotten = await Forgotten().keys(read)
            packs = []
            if self._mapped and current is not None and current[0] != self._run_no:
                packs = await self._runs.files(read, current[0], PACK)
            foreseen = await self._runs.files(read, current[0], FORESEEN) if current is not None else []
            offered = await self._projections.offers(read)
            since = self._clock() - timedelta(days=_CONTACT_DAYS)
            changed = await self._projections.changed(read, self._changed, since)
        if current is not None and current[0] != self._run_no:
            self._pack = await asyncio.to_thread(packing.open_pack, packs[0]) if packs else None
            self._run_no = current[0]
            _log.info("portraits_mapped", run_id=current[1].run_id, mapped=self._pack is not None)
        if offered is not None and offered[0] != self._matrix_id:
            self._offers = await asyncio.to_thread(packing.open_pack, offered[1])
            self._matrix_id = offered[0]
        if [file.uri for file in foreseen] != self._foreseen_at:
            self._foreseen = await asyncio.to_thread(packing.open_pack, foreseen[0]) if foreseen else None
            self._foreseen_at = [file.uri for file in foreseen]
        self._take(changed)
        self._stamp = stamp if len(changed) < MOST_CHANGED else ""
        self._more = bool(self._encoded) or self._offers is not None or self._foreseen is not None

    def _take(self, changed: Sequence[Contact]) -> None:
        for contact in changed:
            mine = self._contacts[contact.customer_key]
            mine[contact.contact_id] = contact
            self._changed = max(self._changed, contact.changed)
        for key in {contact.customer_key for contact in changed}:
            latest = sorted(self._contacts[key].values(), key=lambda one: (one.time, one.contact_id), reverse=True)
            self._contacts[key] = {one.contact_id: one for one in latest[:_MOST_CONTACTS]}
            self._encoded[key] = self._encode(
                (one.contact_id, one.time, one.result, one.channel, one.campaign_id, one.cost_fen)
                for one in latest[:_MOST_CONTACTS]
            )


def _of(pack: Pack | None, key: int) -> bytes:
    return (pack.get(key) if pack is not None else None) or b""
