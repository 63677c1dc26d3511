"""Refusals: the one place where a "no" becomes a status.

A Refusal becomes a google.rpc.Status with exactly one ErrorInfo (domain `<service>.lifecircle`) and, for fields, a
BadRequest. A database that is gone is one too (UNAVAILABLE). Anything else is a fault of ours: INTERNAL with an
incident id (RequestInfo), its stack in the log only.
"""

import asyncio
from typing import NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo
from google.rpc.status_pb2 import Status

from services.kit.db import is_unavailable
from services.kit.errors import Refusal, invalid_field, not_allowed, store_unavailable
from services.kit.ids import system_ids
from services.kit.interceptors.call import Call
from services.kit.logs import mask

_log = structlog.get_logger(__name__)

# A status travels in a header, and headers are limited to 8 KiB by many a proxy.
_MOST_FIELDS = 16
_MOST_CHARACTERS = 200

# What Postgres says to a text with a NUL in it, bare or inside of JSON: the caller's doing, and gRPC lets it through.
_NUL = ("22021", "22P05")

# What Postgres says to a limited caller who writes a row of another domain.
_NOT_HIS = "42501"


async def answer(call: Call, service: str, error: BaseException) -> NoReturn:
    """End the RPC as `error` says; always raises."""
    state = getattr(getattr(error, "orig", None), "sqlstate", "")
    if state in _NUL:
        error = invalid_field([("", "a text holds a NUL character")])
    elif state == _NOT_HIS and call.who is not None and call.who.domain is not None:
        error = not_allowed(call.method.name, call.who.roles)
    elif is_unavailable(error):
        _log.warning("postgres_gone", method=call.method.path, error=type(error).__name__)
        error = store_unavailable()
    if isinstance(error, Refusal):
        call.code, call.reason = error.kind.name, error.reason
        await _abort(call, error.message, details(service, error))
    if isinstance(error, grpc.aio.AbortError):  # a servicer of grpc's own (health, reflection) has ended it
        code = call.context.code()
        call.code = code.name if isinstance(code, grpc.StatusCode) else str(code)
        raise error
    if not isinstance(error, Exception):  # the caller went away, or his deadline passed
        call.code = "CANCELLED" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "UNKNOWN"
        raise error
    incident = system_ids()
    call.code, call.reason = "INTERNAL", type(error).__name__
    _log.error("incident", incident=incident, method=call.method.path, exc_info=error)
    await _abort(call, f"internal error, incident {incident}", [RequestInfo(request_id=incident)])


def details(service: str, refusal: Refusal) -> list[Message]:
    """What a refusal says to a program: one ErrorInfo, and a BadRequest when fields are named."""
    metadata = {key: _short(value) for key, value in refusal.metadata.items()}
    info = ErrorInfo(reason=refusal.reason, domain=f"{service}.lifecircle", metadata=metadata)
    if not refusal.fields:
        return [info]
    violations = [
        BadRequest.FieldViolation(field=_short(path), description=_short(problem))
        for path, problem in refusal.fields[:_MOST_FIELDS]
    ]
    return [info, BadRequest(field_violations=violations)]


async def _abort(call: Call, message: str, about: list[Message]) -> NoReturn:
    code = grpc.StatusCode[call.code]
    text = mask(message)[: _MOST_CHARACTERS * 3]
    status = Status(code=code.value[0], message=text)
    for detail in about:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await call.context.abort(code, text, trailing)


def _short(text: str) -> str:
    return str(mask(text))[:_MOST_CHARACTERS]
