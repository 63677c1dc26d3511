"""What was done goes into the log with its effect; what was refused goes there by itself."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from services.admin.domain.grant import Actor
from services.admin.domain.operation import Operation
from services.admin.store import Store
from services.kit import domains
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.errors import Refusal
from services.kit.ids import Ids


@dataclass(frozen=True)
class Audit:
    """Writes admin's own lines."""

    db: Database
    clock: Clock
    ids: Ids
    store: Store

    @contextlib.asynccontextmanager
    async def trying(self, actor: Actor, action: str, target: str) -> AsyncIterator[datetime]:
        """A block that writes for `actor`; a Refusal out of it is logged as such. Gives the time of the act.

        The block sees every organisation, since what it makes may lie where the caller's domain does not yet reach: it
        checks by itself that the caller reaches what he changes.
        """
        now = self.clock()
        with domains.whole():
            try:
                yield now
            except Refusal as refusal:
                async with self.db.begin() as tx:
                    await self._append(tx, actor, action, target, now, True, {"reason": refusal.reason})
                    await tx.commit()
                raise

    async def done(self, tx: Write, actor: Actor, action: str, target: str, now: datetime, **detail: object) -> None:
        """Log an act in the transaction of its effect."""
        await self._append(tx, actor, action, target, now, False, {name: str(each) for name, each in detail.items()})
        tx.acts.add(f"admin.{action}")

    async def _append(
        self, tx: Write, actor: Actor, action: str, target: str, now: datetime, refused: bool, detail: dict[str, str]
    ) -> None:
        line = Operation(
            service="admin",
            operation_id=self.ids(),
            time=now,
            caller=actor.subject,
            org_id=actor.org_id,
            action=f"admin.{action}",
            target=target,
            refused=refused,
            detail=detail,
        )
        await self.store.operations.append(tx, [line])
