"""What stands around every RPC, in one order.

    tracing      begins the span and the clock: everything below is inside of them
    logging      sees the final code, whoever decided it
    refusals     turns a Refusal into a status, and a fault into an incident; below here code raises
    deadline     before any work: who has given up waiting is not served
    caller       who calls and whether he may; before validation, so that a stranger learns nothing of the contract
    validation   the rules on the fields, on the request or on each request of a stream

The links are functions, called in that order by the two functions `unary` and `stream` below; nothing else decides it.
"""

import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from services.kit.domains import Known
from services.kit.interceptors import deadline, logging, refusals, tracing, validation
from services.kit.interceptors.call import Call, Caller, Context, Method, begin, current
from services.kit.interceptors.callers import ANYBODY, Door, Issuer, Rights, Verifier

__all__ = ["ANYBODY", "Call", "Caller", "Issuer", "Method", "Rights", "Verifier", "caller", "chain", "current"]

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Unary = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncGenerator[Any, None]]

BYTES = "__returns_bytes__"
"""Attribute of a behaviour that gives its response already serialised (server.bytes_method)."""


def caller() -> Caller:
    """Who calls the RPC in hand."""
    return current().caller


def chain(service: str, rights: Rights, verifier: Verifier, known: Known | None = None) -> "Chain":
    """What a server has as its only generic handler, around the handlers that are given to it: THE order."""
    return Chain(service, rights, verifier, known or Known())


class Chain(grpc.GenericRpcHandler):
    """Wraps each method's handler once, at its first call.

    A handler and not a grpc.aio.ServerInterceptor: one of those that does nothing costs each call 10 µs.
    """

    def __init__(self, service: str, rights: Rights, verifier: Verifier, known: Known) -> None:
        self._service = service
        self._door = Door(service, rights, verifier, known)
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._wrapped: dict[str, tuple[Method, Handler]] = {}

    def add(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Stand around these handlers too."""
        self._handlers.extend(handlers)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """Begins the call; gives its handler, or None for a method that nobody has: gRPC answers UNIMPLEMENTED."""
        path = handler_call_details.method
        known = self._wrapped.get(path)
        if known is None:
            found = (handler.service(handler_call_details) for handler in self._handlers)
            handler = next((each for each in found if each is not None), None)
            if handler is None:
                return None
            known = self._wrapped[path] = (Method.at(path), self._wrap(handler))
        method, wrapped = known
        begin(method, handler_call_details.invocation_metadata or ())
        return wrapped

    def _wrap(self, handler: Handler) -> Handler:
        shape = f"{_word(handler.request_streaming)}_{_word(handler.response_streaming)}"
        behaviour = getattr(handler, shape)
        # A servicer may also stream its responses by context.write(); then it is awaited like a unary one.
        streams = handler.response_streaming and not inspect.iscoroutinefunction(behaviour)
        around = self._stream if streams else self._unary
        return getattr(grpc, f"{shape}_rpc_method_handler")(  # type: ignore[no-any-return]
            around(behaviour, handler.request_streaming),
            handler.request_deserializer,
            None if getattr(behaviour, BYTES, False) else handler.response_serializer,
        )

    def _unary(self, behaviour: Unary, requests: bool) -> Unary:
        door, validated = self._door, _each_validated if requests else validation.validated

        async def unary(request: Any, context: Context) -> Any:
            call = current()
            call.context = context
            span = tracing.begin(call)
            try:
                deadline.check(call)
                door.check(call)
                return await behaviour(validated(request), context)
            except BaseException as error:
                await refusals.answer(call, self._service, error)
            finally:
                logging.ended(call)
                tracing.ended(call, span)

        return unary

    def _stream(self, behaviour: Stream, requests: bool) -> Stream:
        door, validated = self._door, _each_validated if requests else validation.validated

        async def stream(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            call = current()
            call.context = context
            span = tracing.begin(call)
            try:
                deadline.check(call)
                door.check(call)
                responses = behaviour(validated(request), context)
                async with contextlib.aclosing(responses):  # also when the caller goes away in the middle
                    async for response in responses:
                        yield response
            except BaseException as error:
                await refusals.answer(call, self._service, error)
            finally:
                logging.ended(call)
                tracing.ended(call, span)

        return stream


async def _each_validated(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield validation.validated(request)


def _word(streaming: bool) -> str:
    return "stream" if streaming else "unary"
