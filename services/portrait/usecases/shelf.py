"""The catalogue in force: what is shipped, with the tags that were published or given up by RPC in its place."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.waiting import pause
from services.portrait.domain.tag import Catalogue, parse
from services.portrait.store.tags import Tags, TagVersion

_LOOK_SECONDS = 3.0

Listener = Callable[[Catalogue], None]


class Shelf:
    """Catalogues by digest; listeners are told when another one comes into force."""

    def __init__(self, db: Database, tags: Tags, document: Mapping[str, Any], clock: Clock) -> None:
        self._db = db
        self._tags = tags
        self._shipped = document
        self._clock = clock
        self._parsed: dict[str, Catalogue] = {}
        self._seen: tuple[tuple[str, int, str], ...] = ()
        self._listeners: list[Listener] = []
        self.latest = self._keep(parse(document))

    def listen(self, listener: Listener) -> None:
        """Tell somebody of every catalogue that comes into force."""
        self._listeners.append(listener)

    def document_with(self, changed: Sequence[TagVersion], also: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The shipped document with tags changed, one more definition in its place if given."""
        entries = {entry["code"]: entry for entry in self._shipped["tags"]}
        for version in changed:
            if version.state == "ACTIVE":
                entries[version.code] = dict(version.definition)
            else:
                entries.pop(version.code, None)
        if also is not None:
            entries[str(also["code"])] = dict(also)
        return {**self._shipped, "tags": list(entries.values())}

    async def in_force(self, read: Read) -> tuple[Catalogue, dict[str, Any]]:
        """The catalogue in force and its document."""
        changed = await self._tags.in_force(read)
        document = self.document_with(changed)
        seen = tuple((each.code, each.version, each.state) for each in changed)
        if seen != self._seen:
            self._seen = seen
            self.latest = self._keep(parse(document))
            for listener in self._listeners:
                listener(self.latest)
        return self.latest, document

    async def planned(self, tx: Write) -> str:
        """The digest of the catalogue in force, its document kept for the job that is planned with it."""
        catalogue, document = await self.in_force(tx)
        await self._tags.put_document(tx, catalogue.digest, document, self._clock())
        return catalogue.digest

    async def of(self, digest: str) -> Catalogue:
        """The catalogue that a job was planned with; the one in force when it is not known any more."""
        if digest not in self._parsed:
            async with self._db.read() as read:
                document = await self._tags.document(read, digest)
            if document is None:
                return self.latest
            self._parsed[digest] = parse(document)
        return self._parsed[digest]

    async def run(self, stop: asyncio.Event) -> None:
        """Look every few seconds whether another catalogue is in force."""
        while not stop.is_set():
            async with self._db.read() as read:
                await self.in_force(read)
            await pause(_LOOK_SECONDS, stop)

    def _keep(self, catalogue: Catalogue) -> Catalogue:
        self._parsed[catalogue.digest] = catalogue
        return catalogue
