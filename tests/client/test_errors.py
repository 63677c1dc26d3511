"""A refused call is read into a value, whoever refused it."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from lifecircle import fault


def refused(*details: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> grpc.aio.AioRpcError:
    status = status_pb2.Status(code=3, message="page_size is negative")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(
        grpc.StatusCode.INVALID_ARGUMENT, grpc.aio.Metadata(), trailing, "page_size is negative", None
    )


def test_reason_domain_metadata_and_fields_are_read() -> None:
    info = error_details_pb2.ErrorInfo(
        reason="INVALID_FIELD", domain="ingest.lifecircle", metadata={"fields": "page_size"}
    )
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="page_size", description="must be at least 0")
    said = fault(refused(info, bad))
    assert (said.reason, said.domain) == ("INVALID_FIELD", "ingest.lifecircle")
    assert said.metadata == {"fields": "page_size"}
    assert said.fields == {"page_size": "must be at least 0"}
    assert str(said) == "INVALID_ARGUMENT: page_size is negative (ingest.lifecircle INVALID_FIELD)"


def test_a_status_of_a_proxy_has_no_reason() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "no upstream", None
    )
    assert fault(error).reason == ""
    assert str(fault(error)) == "UNAVAILABLE: no upstream"
