"""Products and employees kept in memory while the reference data stays as it is."""

from collections.abc import Collection, Mapping

from services.kit.db import Read
from services.points.domain.posting import Employee
from services.points.store.reference import References


class Known:
    """What was looked up since the revision last grew. What is unknown is looked up each time: nothing grows by it."""

    def __init__(self, references: References) -> None:
        self._references = references
        self._revision = -1
        self._categories: dict[str, str] = {}
        self._staff: dict[str, Employee] = {}

    async def of(
        self, read: Read, products: Collection[str], staff: Collection[str]
    ) -> tuple[Mapping[str, str], Mapping[str, Employee]]:
        """Category by product and employee by id, of these and others; read for work that is not one caller's."""
        revision = await self._references.revision(read)
        if revision != self._revision:
            self._revision, self._categories, self._staff = revision, {}, {}
        # Held on to: while this waits, another call may begin with a newer revision.
        categories, employees = self._categories, self._staff
        if missing := set(products) - categories.keys() - {""}:
            categories.update(await self._references.categories(read, missing))
        if absent := set(staff) - employees.keys() - {""}:
            employees.update(await self._references.employees(read, absent))
        return categories, employees
