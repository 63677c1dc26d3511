"""What a principal holds: a secret, and roles."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.admin.domain.principal import Grant
from services.admin.tables import principal, principal_role
from services.kit.db import Read, Write


class Holdings:
    """Secrets and grants of the people and service accounts."""

    async def secret(self, tx: Write, principal_id: str) -> tuple[str, int, datetime | None] | None:
        """What is kept of his secret, how many wrong ones came in a row, closed until when; the row is held."""
        columns = (principal.c.secret, principal.c.wrong_secrets, principal.c.closed_until)
        row = await tx.row(select(*columns).where(principal.c.principal_id == principal_id).with_for_update())
        return None if row is None else (row.secret, row.wrong_secrets, row.closed_until)

    async def keep_secret(self, tx: Write, principal_id: str, kept: str) -> None:
        """Put a new secret in the place of the old one."""
        await self._set(tx, principal_id, secret=kept, wrong_secrets=0, closed_until=None)

    async def tried(self, tx: Write, principal_id: str, wrong: int, closed_until: datetime | None) -> None:
        """Note how many wrong secrets came in a row."""
        await self._set(tx, principal_id, wrong_secrets=wrong, closed_until=closed_until)

    async def with_secret(self, read: Read, principal_ids: Sequence[str]) -> set[str]:
        """Which of them have a secret."""
        stmt = select(principal.c.principal_id).where(principal.c.principal_id.in_(principal_ids))
        return {row.principal_id for row in await read.rows(stmt.where(principal.c.secret != ""))}

    async def roles(self, read: Read, principal_ids: Sequence[str]) -> dict[str, list[str]]:
        """The roles of each, by id."""
        held: dict[str, list[str]] = {}
        stmt = select(principal_role).where(principal_role.c.principal_id.in_(principal_ids))
        for row in await read.rows(stmt.order_by(principal_role.c.role_id)):
            held.setdefault(row.principal_id, []).append(row.role_id)
        return held

    async def grant(self, tx: Write, new: Grant) -> bool:
        """Give a role; False when he holds it already."""
        values = {
            "principal_id": new.principal_id,
            "role_id": new.role_id,
            "granted_by": new.granted_by,
            "grant_time": new.grant_time,
        }
        return await tx.execute(insert(principal_role).values(values).on_conflict_do_nothing()) == 1

    async def withdraw(self, tx: Write, principal_id: str, role_id: str) -> bool:
        """Take a role; False when he does not hold it."""
        stmt = delete(principal_role).where(principal_role.c.principal_id == principal_id)
        return await tx.execute(stmt.where(principal_role.c.role_id == role_id)) == 1

    async def granted(self, read: Read, principal_id: str, role_id: str) -> Grant | None:
        """One grant."""
        stmt = select(principal_role).where(principal_role.c.principal_id == principal_id)
        row = await read.row(stmt.where(principal_role.c.role_id == role_id))
        return None if row is None else _grant(row)

    async def grants(self, read: Read, after: Sequence[str], size: int, principal_id: str) -> list[Grant]:
        """Grants to those whom the caller sees, by principal and role."""
        keys = (principal_role.c.principal_id, principal_role.c.role_id)
        stmt = select(principal_role).join(principal, principal.c.principal_id == keys[0]).order_by(*keys).limit(size)
        if after:
            stmt = stmt.where(tuple_(*keys) > tuple_(*after))
        if principal_id:
            stmt = stmt.where(keys[0] == principal_id)
        return [_grant(row) for row in await read.rows(stmt)]

    async def _set(self, tx: Write, principal_id: str, **values: Any) -> None:
        await tx.execute(update(principal).where(principal.c.principal_id == principal_id).values(values))


def _grant(row: Row[Any]) -> Grant:
    return Grant(row.principal_id, row.role_id, row.granted_by, row.grant_time)
