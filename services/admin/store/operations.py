"""The operation log: appended to under the lock of its head."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, insert, select, tuple_, update

from services.admin.domain.operation import Line, Operation, chained
from services.admin.tables import operation, operation_head
from services.kit.db import Read, Write


class Operations:
    """Lines of the log."""

    async def append(self, tx: Write, operations: Sequence[Operation]) -> int:
        """Append those that are not in the log yet; gives how many. Held until the transaction ends: append last."""
        head = await tx.row(select(operation_head).with_for_update())
        assert head is not None, "the first migration writes the head"
        known = await self._known(tx, operations)
        sequence, last = int(head.sequence), str(head.hash)
        lines: list[Line] = []
        for each in operations:
            if (each.service, each.operation_id) not in known:
                known.add((each.service, each.operation_id))
                lines.append(chained(last, sequence + 1, each))
                sequence, last = lines[-1].sequence, lines[-1].hash
        if lines:
            rows = [dataclasses.asdict(x.operation) | {"sequence": x.sequence, "hash": x.hash} for x in lines]
            await tx.execute(insert(operation), rows)
            await tx.execute(update(operation_head).values(sequence=sequence, hash=last))
        return len(lines)

    async def page(self, read: Read, before: int | None, size: int, where: Mapping[str, str]) -> list[Line]:
        """Lines before a sequence, the latest first; `where` gives only equal ones."""
        stmt = select(operation).order_by(operation.c.sequence.desc()).limit(size)
        if before is not None:
            stmt = stmt.where(operation.c.sequence < before)
        for name, value in where.items():
            stmt = stmt.where(operation.c[name] == value)
        return [_line(row) for row in await read.rows(stmt)]

    async def after(self, read: Read, sequence: int, size: int) -> list[Line]:
        """Lines after a sequence, in order."""
        stmt = select(operation).where(operation.c.sequence > sequence).order_by(operation.c.sequence).limit(size)
        return [_line(row) for row in await read.rows(stmt)]

    async def head(self, read: Read) -> tuple[int, str]:
        """Sequence and hash of the last line; (0, 64 zeros) before the first."""
        row = await read.row(select(operation_head))
        assert row is not None, "the first migration writes the head"
        return int(row.sequence), str(row.hash)

    async def _known(self, read: Read, operations: Sequence[Operation]) -> set[tuple[str, str]]:
        keys = (operation.c.service, operation.c.operation_id)
        wanted = [(each.service, each.operation_id) for each in operations]
        rows = await read.rows(select(*keys).where(tuple_(*keys).in_(wanted)))
        return {(row.service, row.operation_id) for row in rows}


def _line(row: Row[Any]) -> Line:
    told = Operation(
        service=row.service,
        operation_id=row.operation_id,
        time=row.time,
        caller=row.caller,
        org_id=row.org_id,
        action=row.action,
        target=row.target,
        refused=row.refused,
        detail=row.detail,
    )
    return Line(row.sequence, told, row.hash)
