"""What a refused call says, as a value and as a class.

grpc.aio.AioRpcError
└── Refused                    every refused call; .fault says why
    └── refusal("CUSTOMER_NOT_FOUND")    one class per reason of `lifecircle.<service>.v1.ErrorReason`

try:
    await platform.portrait.GetPortrait(GetPortraitRequest(customer_key=17))
except refusal("CUSTOMER_NOT_FOUND") as refused:
    print(refused.fault.metadata["customer_key"])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import grpc
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True)
class Fault:
    """Why a call was refused, in words for programs (`reason`) and for people (`message`).

    `reason` is "" when a proxy or the transport refused; `fields` maps a field's path to what is wrong with it.
    """

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Says it in one line."""
        where = f" ({self.domain} {self.reason})" if self.reason else ""
        return f"{self.code.name}: {self.message}{where}"


class Refused(grpc.aio.AioRpcError):
    """A call that was refused. It is an AioRpcError too, with code(), details() and trailing metadata."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(
            error.code(),
            error.initial_metadata(),
            error.trailing_metadata(),
            error.details(),
            error.debug_error_string(),
        )
        self.fault = fault(error)

    def __str__(self) -> str:
        """Says it in one line."""
        return str(self.fault)


@cache
def refusal(reason: str) -> type[Refused]:
    """The class of the refusals with this reason; always the same one."""
    name = "".join(word.capitalize() for word in reason.split("_")) or "Unreasoned"
    return type(name, (Refused,), {"__doc__": f"A call that was refused with the reason {reason or '(none)'}."})


def refused(error: grpc.aio.AioRpcError) -> Refused:
    """The error as the class of its reason."""
    return error if isinstance(error, Refused) else refusal(fault(error).reason)(error)


def fault(error: grpc.aio.AioRpcError) -> Fault:
    """Reads the details of a refused call; a status without details gives a Fault without a reason."""
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status.ParseFromString(value)
    reason, domain, metadata, fields = "", "", {}, {}
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, domain, metadata = info.reason, info.domain, dict(info.metadata)
        elif detail.Unpack(bad):
            fields = {violation.field: violation.description for violation in bad.field_violations}
    return Fault(error.code(), error.details() or "", reason, domain, metadata, fields)
