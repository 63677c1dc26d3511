"""The operation log: what others tell goes in, whoever may reads it, anybody may check it."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.admin import refusals
from services.admin.domain.operation import Line, Operation, verify
from services.admin.store import Store
from services.kit import domains
from services.kit.db import Database

_AT_ONCE = 10_000


@dataclass(frozen=True)
class Log:
    """The log."""

    db: Database
    store: Store

    async def record(self, operations: Sequence[Operation]) -> int:
        """Append what is new; gives how many."""
        async with self.db.begin() as tx:
            recorded = await self.store.operations.append(tx, operations)
            await tx.commit()
            return recorded

    async def page(self, before: int | None, size: int, where: dict[str, str]) -> list[Line]:
        """The latest first, of those in the caller's organisations."""
        async with self.db.read() as read:
            return await self.store.operations.page(read, before, size, where)

    async def verify(self) -> tuple[int, str]:
        """Check the whole chain; gives the number of lines and the head's hash. Raises chain_broken."""
        with domains.whole():
            async with self.db.read() as read:
                head = await self.store.operations.head(read)
            last: Line | None = None
            while last is None or last.sequence < head[0]:
                async with self.db.read() as read:
                    lines = await self.store.operations.after(read, last.sequence if last else 0, _AT_ONCE)
                if not lines:
                    break
                last = verify(lines, head, last)
        sequence = last.sequence if last else 0
        if sequence < head[0]:
            raise refusals.chain_broken(sequence + 1)
        return head
