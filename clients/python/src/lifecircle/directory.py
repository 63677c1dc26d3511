"""admin's directory for a service: who may do what, and see what, as a stream of plain values; and its operation log.

directory = Directory(AdminServiceStub(channel), "points")
async for told in directory.changes(cursor): …          # a Told each; its `kind` is "" in a checkpoint
await directory.record(operations)
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from lifecircle.admin.v1 import AdminServiceStub, Operation, RecordOperationsRequest, WatchDirectoryRequest


@dataclass(frozen=True)
class Told:
    """How an organisation, a role or a principal stands now; `cursor` is the position just after it."""

    cursor: str
    traceparent: str = ""
    kind: str = ""
    key: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


class Done(Protocol):
    """What is told of an operation."""

    @property
    def operation_id(self) -> str:
        """Unique in the service."""

    @property
    def time(self) -> datetime:
        """When it was done."""

    @property
    def caller(self) -> str:
        """Who did it."""

    @property
    def org_id(self) -> str:
        """Where he belongs."""

    @property
    def action(self) -> str:
        """`service.Method`."""

    @property
    def target(self) -> str:
        """To what."""

    @property
    def refused(self) -> bool:
        """Whether it was refused."""

    @property
    def detail(self) -> Mapping[str, str]:
        """More about it."""


@dataclass(frozen=True)
class Directory:
    """The adapter over admin's stub for the service of this name."""

    stub: AdminServiceStub
    service: str

    async def changes(self, cursor: str) -> AsyncIterator[Told]:
        """Every change after a cursor, and checkpoints."""
        async for answer in self.stub.WatchDirectory(WatchDirectoryRequest(cursor=cursor)):
            kind = answer.WhichOneof("change")
            if kind == "organisation":
                each = answer.organisation
                yield Told(answer.cursor, answer.traceparent, kind, each.org_id, {"parent": each.parent_org_id})
            elif kind == "role":
                role = answer.role
                allowed = [] if role.disabled else sorted(role.permissions)
                yield Told(answer.cursor, answer.traceparent, kind, role.role_id, {"permissions": allowed})
            elif kind == "principal":
                who = answer.principal
                body = {"org": who.org_id, "roles": sorted(who.roles), "disabled": who.disabled}
                yield Told(answer.cursor, answer.traceparent, kind, who.principal_id, body)
            else:
                yield Told(answer.cursor)

    async def record(self, operations: Iterable[Done]) -> None:
        """Add operations to the log; telling one again changes nothing."""
        await self.stub.RecordOperations(RecordOperationsRequest(operations=map(self._operation, operations)))

    def _operation(self, done: Done) -> Operation:
        outcome = Operation.OUTCOME_REFUSED if done.refused else Operation.OUTCOME_DONE
        told = Operation(
            operation_id=done.operation_id,
            service=self.service,
            caller=done.caller,
            org_id=done.org_id,
            action=done.action,
            target=done.target,
            outcome=outcome,
            detail=done.detail,
        )
        told.time.FromDatetime(done.time)
        return told
