"""A service as a process: aio server, health, reflection, background work, and a stop that loses nothing.

Health (grpc.health.v1), by name:
    ""  and each gRPC service    whether calls can be served now: `ready` answers, and the process is not stopping
    "worker"                     whether all background work runs; NOT_SERVING while any of it is in back-off
    "live"                       whether the process is alive at all: for a liveness probe
"""

import asyncio
import contextlib
import gc
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_health.v1.health import aio as health_aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from joserfc.jwk import KeySet

from services.kit import telemetry
from services.kit.channel import MOST_BYTES
from services.kit.config import ServerSettings
from services.kit.domains import Known
from services.kit.files import Fetched, Watched
from services.kit.interceptors import BYTES, Chain, Issuer, Rights, Verifier, chain
from services.kit.waiting import backoff, pause

Behaviour = TypeVar("Behaviour", bound=Callable[..., Any])
Background = Callable[[asyncio.Event], Awaitable[None]]
"""Work beside the RPCs: runs until the event is set."""
Register = Callable[[grpc.aio.Server], None]
"""Adds the servicers to the server."""

_log = structlog.get_logger(__name__)
_deaths = telemetry.counter("lifecircle.background.deaths", "{death}", "Background work that died and was restarted.")

_SETTLED_SECONDS = 10.0
_YOUNG_OBJECTS = 50_000
_READY_EVERY_SECONDS = 2.0


def bytes_method(behaviour: Behaviour) -> Behaviour:
    """Mark a servicer method whose responses come already serialised: the bytes go out as they are.

    For hot reads of stored messages: building one message costs 30–70 µs, handing its bytes on nothing.
    """
    setattr(behaviour, BYTES, True)
    return behaviour


async def serve(
    *,
    service: str,
    settings: ServerSettings,
    register: Register | None,
    rights: Rights,
    background: Sequence[Background] = (),
    ready: Callable[[], Awaitable[object]] | None = None,
    known: Known | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order; the arguments are those of running()."""
    leaving = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leaving.set)
    async with running(
        service=service,
        settings=settings,
        register=register,
        rights=rights,
        background=background,
        ready=ready,
        known=known,
        stop=stop,
    ):
        # A full collection walks all that was imported, tens of milliseconds in which no call is answered: what is
        # there by now stays for good, and need not be looked at again. And what a call makes is gone when it has been
        # answered: looked for after every 700 new objects, as is the default, it cost a tenth of each call.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
        await leaving.wait()


@contextlib.asynccontextmanager
async def running(
    *,
    service: str,
    settings: ServerSettings,
    register: Register | None,
    rights: Rights,
    background: Sequence[Background] = (),
    ready: Callable[[], Awaitable[object]] | None = None,
    known: Known | None = None,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[int]:
    """A server inside of a block, which is given its port. At the end of the block it stops in order:

    NOT_SERVING → drain_seconds for balancers to see it → `stop` is set: background work and Watch streams end → the
    calls in flight get grace_seconds → closed.

    `register` adds the servicers (None: a worker, which serves only its health). `rights` maps every method's name to
    the roles that may call it, `known` is the directory by which callers have domains and roles. `background` runs
    beside, restarted when it dies. `ready` raises while calls cannot be served (the database is gone). `stop` is yours
    to pass on, to Watch streams above all.
    """
    stop = stop or asyncio.Event()
    health = _Health()
    server, names = _server(service, settings, register, rights, known, health)
    await health.set(["", *names], ready is None)
    await health.set(["live"], True)
    port = _listen(server, settings)
    await server.start()
    probes = await _probes(settings, health)
    tasks = [asyncio.create_task(_supervise(work, stop, health)) for work in background]
    if ready is not None:
        tasks.append(asyncio.create_task(_watch_ready(ready, stop, ["", *names], health)))
    _log.info("serving", port=port, services=names, background=len(background))
    try:
        yield port
    finally:
        _log.info("stopping")
        await health.servicer.enter_graceful_shutdown()
        await asyncio.sleep(settings.drain_seconds.total_seconds())
        stop.set()
        grace = settings.grace_seconds.total_seconds()
        await asyncio.gather(server.stop(grace), probes.stop(grace), _finish(tasks, grace))
        _log.info("stopped")


def _server(
    service: str,
    settings: ServerSettings,
    register: Register | None,
    rights: Rights,
    known: Known | None,
    health: "_Health",
) -> tuple[grpc.aio.Server, list[str]]:
    around = chain(service, rights, _verifier(settings), known)
    server = grpc.aio.server(
        maximum_concurrent_rpcs=settings.concurrent_calls,
        options=[
            ("grpc.so_reuseport", int(settings.reuse_port)),
            ("grpc.max_receive_message_length", MOST_BYTES),
            ("grpc.max_send_message_length", MOST_BYTES),
            # Peers keep quiet streams alive every 30 s; grpc's default would take that for abuse.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.enable_channelz", 0),  # nobody asks it, and its counts cost each call 15 µs
        ],
    )
    server.add_generic_rpc_handlers((around,))
    registry = _Registry(around)
    if register is not None:
        register(cast(grpc.aio.Server, registry))
    names = [*registry.names]
    unmapped = sorted(registry.methods - rights.keys())
    if unmapped:
        _log.warning("methods_open_to_nobody", methods=unmapped)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, cast(grpc.aio.Server, registry))
    reflecting = reflection.aio.ReflectionServicer([*names, reflection.SERVICE_NAME, HEALTH_NAME])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, registry)  # type: ignore[no-untyped-call]
    return server, names


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> int:
    tls = settings.tls()
    if tls is None:
        return server.add_insecure_port(settings.listen)
    return server.add_secure_port(settings.listen, tls.server())


async def _probes(settings: ServerSettings, health: "_Health") -> grpc.aio.Server:
    """A server of its own for health alone, in plaintext, when it is asked for."""
    probes = grpc.aio.server()
    if settings.health_listen:
        health_pb2_grpc.add_HealthServicer_to_server(health.servicer, probes)
        probes.add_insecure_port(settings.health_listen)
        await probes.start()
    return probes


def _verifier(settings: ServerSettings) -> Verifier:
    def keys(text: str) -> KeySet:
        return KeySet.import_key_set(json.loads(text))

    oidc = None
    if settings.oidc_keys:
        path = Path(settings.oidc_keys)
        source = Watched(path, keys) if path.is_file() else Fetched(settings.oidc_keys, keys)
        oidc = Issuer(source.value, settings.oidc_issuer, settings.oidc_audience)
    return Verifier(Watched(settings.jwt_keys, keys).value, settings.jwt_issuer, settings.jwt_audience, oidc=oidc)


class _Registry:
    """Passes servicers on to the chain around them and remembers their names.

    Their methods become known by the chain alone: for each method that is registered besides, grpc.aio waits
    for its next call separately, and with eighty of them that waiting cost half as much as the call.
    """

    def __init__(self, around: Chain) -> None:
        self._around = around
        self.names: list[str] = []
        self.methods: set[str] = set()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._around.add(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        self.names.append(service_name)
        self.methods |= method_handlers.keys()


class _Health:
    """What the health service says."""

    def __init__(self) -> None:
        self.servicer = health_aio.HealthServicer()
        self._down: set[str] = set()

    async def set(self, names: Iterable[str], well: bool) -> None:
        status = HealthCheckResponse.SERVING if well else HealthCheckResponse.NOT_SERVING
        for name in names:
            await self.servicer.set(name, status)

    async def background(self, name: str, well: bool) -> None:
        (self._down.discard if well else self._down.add)(name)
        await self.set(["worker"], not self._down)


async def _watch_ready(
    ready: Callable[[], Awaitable[object]], stop: asyncio.Event, names: Sequence[str], health: _Health
) -> None:
    was: bool | None = None
    while not stop.is_set():
        try:
            async with asyncio.timeout(_READY_EVERY_SECONDS):
                await ready()
            well = True
        except Exception as error:
            well = False
            if was is not False:
                _log.error("not_ready", exc_info=error)
        if well is not was:
            await health.set(names, well)
            was = well
        await pause(_READY_EVERY_SECONDS, stop)


async def _supervise(work: Background, stop: asyncio.Event, health: _Health) -> None:
    """Run background work until `stop`; start it again when it dies, ever later, and say so."""
    name = getattr(work, "__qualname__", repr(work))
    failures = 0
    await health.background(name, True)
    while not stop.is_set():
        task = asyncio.ensure_future(work(stop))
        try:
            await asyncio.wait({task}, timeout=_SETTLED_SECONDS)
            if not task.done():
                failures = 0
                await health.background(name, True)
            await task
            error: Exception | None = None
        except Exception as raised:
            error = raised
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if stop.is_set() and error is None:
            return
        failures += 1
        _log.error("background_died", work=name, failures=failures, exc_info=error)
        _deaths(1, work=name)
        await health.background(name, False)
        await pause(backoff(failures, first=0.5), stop)


async def _finish(tasks: Sequence["asyncio.Task[None]"], grace: float) -> None:
    """Let background work end by itself (it was told to); cut off what has not after the grace."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
