"""Reference data kept in memory while they stay as they are."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date

from services.kit.db import Read
from services.points.domain.posting import Employee, Rules
from services.points.store import Store
from services.points.usecases import months

Effective = Sequence[tuple[str, date, str]]


class Known:
    """What was looked up since the revision last grew, for work that is not one caller's.

    Every change of reference data or published rules counts the revision up in its own transaction. What is unknown is
    looked up each time, so that nothing grows by it.
    """

    def __init__(self, store: Store, compiled: dict[str, Rules]) -> None:
        self._store = store
        self._compiled = compiled
        self._revision = -1
        self._categories: dict[str, str] = {}
        self._staff: dict[str, Employee] = {}
        self._effective: Effective | None = None
        self._ready = False

    async def revision(self, read: Read) -> int:
        """The revision now; what was kept of another one is forgotten."""
        revision = await self._store.references.revision(read)
        if revision != self._revision:
            self._revision, self._categories, self._staff, self._effective = revision, {}, {}, None
        return revision

    async def ready(self, read: Read) -> bool:
        """Whether every reference feed was loaded at least once; so it stays."""
        self._ready = self._ready or await self._store.references.ready(read)
        return self._ready

    async def effective(self, read: Read) -> Effective:
        """(name, effective date, id) of every published version, each compiled."""
        found = self._effective
        if found is None:
            found = self._effective = await months.rules_in(read, self._store, self._compiled)
        return found

    async def categories(self, read: Read, products: Collection[str]) -> Mapping[str, str]:
        """Category by product of those that are known, and of others."""
        known = self._categories  # held on to: while this waits, another call may begin with a newer revision
        if missing := set(products) - known.keys() - {""}:
            known.update(await self._store.references.categories(read, missing))
        return known

    async def employees(self, read: Read, staff: Collection[str]) -> Mapping[str, Employee]:
        """Employees by id of those that are known, and others."""
        known = self._staff
        if missing := set(staff) - known.keys() - {""}:
            known.update(await self._store.references.employees(read, missing))
        return known
