"""What a refused call says, as a value.

A call that is refused raises `grpc.aio.AioRpcError`. Its status carries exactly one ErrorInfo, whose reason is one of
`lifecircle.<service>.v1.ErrorReason` without the prefix:

    AioRpcError
    └── fault(error) -> Fault
        ├── code      grpc.StatusCode, for instance NOT_FOUND
        ├── reason    "CUSTOMER_NOT_FOUND"; "" when a proxy or the transport refused
        ├── domain    "portrait.lifecircle"
        ├── metadata  {"customer_key": "17"}
        └── fields    {"page_size": "must be greater than or equal to 0"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True)
class Fault:
    """Why a call was refused, in words for programs (`reason`) and for people (`message`)."""

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
