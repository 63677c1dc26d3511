"""A platform for an integration's own tests: no server, the real contract.

    fake = FakePlatform()
    fake.answer("contact.ListPlans", ListPlansResponse(plans=[…]))            # or a function of the request
    fake.refuse("contact.GetPlan", "PLAN_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    await integration(fake)                                                     # as it would be given a Lifecircle
    assert fake.calls("contact.RecordOutcomes")[0].outcomes[0].contact_id == "C1"

Requests are checked by the contract's own rules, so that what the fake takes the platform takes too. A method without
an answer answers with its empty response; a stream without one ends at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any, Self

import grpc
import grpc.aio
import protovalidate
from google.protobuf import message_factory
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from lifecircle.errors import Refused, refused
from lifecircle.retry import SERVICES

Answer = Message | Iterable[Message] | Callable[[Any], Any]
"""A response (of a stream: some), or a function that gives it for a request."""


class FakePlatform:
    """Stands where `Lifecircle` stands; see the module."""

    ingest: Any
    points: Any
    portrait: Any
    recommend: Any
    contact: Any
    admin: Any
    tmf658: Any
    tmf680: Any
    tmf681: Any

    def __init__(self) -> None:
        self._answers: dict[str, Answer | Refused] = {}
        self._seen: dict[str, list[Any]] = {}
        for name, service in SERVICES.items():
            calls = {method.name: self._method(f"{name}.{method.name}", method) for method in service.methods}
            setattr(self, name, SimpleNamespace(**calls))

    def answer(self, method: str, answer: Answer) -> None:
        """From now on `service.Method` answers so. Raises KeyError for what the contract does not have."""
        self._answers[self._known(method)] = answer

    def refuse(self, method: str, reason: str, code: grpc.StatusCode, message: str = "", **metadata: str) -> None:
        """From now on `service.Method` refuses with this reason."""
        info = error_details_pb2.ErrorInfo(
            reason=reason, domain=_domain(SERVICES[self._known(method).partition(".")[0]]), metadata=metadata
        )
        self._answers[self._known(method)] = _refusal(code, message or reason, [info])

    def calls(self, method: str) -> list[Any]:
        """The requests that `service.Method` was called with, in order."""
        return self._seen.setdefault(self._known(method), [])

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""

    def _known(self, method: str) -> str:
        service, _, name = method.partition(".")
        if service not in SERVICES or name not in SERVICES[service].methods_by_name:
            raise KeyError(f"the contract has no {method}")
        return method

    def _method(self, name: str, method: MethodDescriptor) -> Callable[..., Any]:
        empty = message_factory.GetMessageClass(method.output_type)

        def taken(request: Any) -> Any:
            """What was set for the request, after it was checked and noted."""
            _check(request, method)
            self.calls(name).append(request)
            answer = self._answers.get(name)
            if isinstance(answer, Refused):
                raise answer
            return answer(request) if callable(answer) else answer

        async def unary(request: Any, **_: Any) -> Any:
            answer = taken(request)
            return empty() if answer is None else await _now(answer)

        async def stream(request: Any, **_: Any) -> AsyncIterator[Any]:
            for answer in taken(request) or ():
                yield answer

        return stream if method.server_streaming else unary


def _domain(service: ServiceDescriptor) -> str:
    return f"{service.full_name.split('.')[1]}.lifecircle"


async def _now(answer: Any) -> Any:
    return await answer if isinstance(answer, Awaitable) else answer


def _check(request: Any, method: MethodDescriptor) -> None:
    """Refuses what the platform would refuse: the wrong message, or a field that breaks its rule."""
    if method.client_streaming:
        return
    if request.DESCRIPTOR.full_name != method.input_type.full_name:
        raise TypeError(f"{method.name} takes a {method.input_type.name}, not a {request.DESCRIPTOR.name}")
    try:
        protovalidate.validate(request)
    except protovalidate.ValidationError as error:
        domain = _domain(method.containing_service)
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            place = violation.proto.field
            path = ".".join(part.field_name for part in place.elements) if place is not None else ""
            bad.field_violations.add(field=path, description=violation.proto.message)
        info = error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain=domain)
        raise _refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error), [info, bad]) from None


def _refusal(code: grpc.StatusCode, message: str, details: Iterable[Message]) -> Refused:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return refused(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, message, None))
