"""A tiny service for the mesh: it says which replica answered, fails on demand, and streams after a long silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from grpc_tools import protoc

PROTO = """
syntax = "proto3";
package lifecircle.echo.v1;
service EchoService {
  rpc Say(SayRequest) returns (SayResponse);
  rpc WatchSilence(WatchSilenceRequest) returns (stream SayResponse);
}
message SayRequest {
  string text = 1;
  string unavailable_at = 2;
  double seconds = 3;
  string refuse = 4;
}
message SayResponse {
  string text = 1;
  string replica = 2;
  int64 deadline_ms = 3;
}
message WatchSilenceRequest { double seconds = 1; }
"""
UNLIMITED = (("grpc.max_receive_message_length", -1),)
SERVICE = "lifecircle.echo.v1.EchoService"


def compile_contract(folder: Path) -> FileDescriptorSet:
    """Compiles the contract above, as `make proto` does with ours."""
    source = folder / "lifecircle" / "echo" / "v1" / "echo_service.proto"
    source.parent.mkdir(parents=True)
    source.write_text(PROTO)
    image = folder / "echo.binpb"
    assert protoc.main(["protoc", f"-I{folder}", f"-o{image}", str(source)]) == 0
    return FileDescriptorSet.FromString(image.read_bytes())


def refusal(reason: str) -> grpc.Status:
    """Gives NOT_FOUND with an ErrorInfo, as every refusal of ours has."""
    status = status_pb2.Status(code=5, message="no such entry")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="echo.lifecircle"))
    return rpc_status.to_status(status)


class Contract:
    """The messages of the tiny service, by name."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self.files = files
        self._pool = DescriptorPool()
        for file in files.file:
            self._pool.Add(file)

    def message(self, name: str) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"lifecircle.echo.v1.{name}"))

    def call(self, channel: grpc.Channel, method: str) -> Callable[..., Any]:
        """Gives a callable of the channel for `method`; a `Watch…` streams."""
        streams = method.startswith("Watch")
        make = channel.unary_stream if streams else channel.unary_unary
        return make(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.message("SayResponse").FromString,
        )


class Replica:
    """One replica of the tiny service, in threads of this process; `calls` counts what reached its handler."""

    def __init__(self, contract: Contract, name: str, port: int) -> None:
        self.contract, self.name, self.port, self.calls = contract, name, port, 0
        self._lock = threading.Lock()
        self.health = health.HealthServicer()
        self.server = grpc.server(ThreadPoolExecutor(12), options=[("grpc.so_reuseport", 0), *UNLIMITED])
        handlers = {
            "Say": grpc.unary_unary_rpc_method_handler(self.say, *self._codec("SayRequest")),
            "WatchSilence": grpc.unary_stream_rpc_method_handler(self.watch, *self._codec("WatchSilenceRequest")),
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.serving(True)
        self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def serving(self, yes: bool) -> None:
        states = health_pb2.HealthCheckResponse
        self.health.set("", states.SERVING if yes else states.NOT_SERVING)

    def say(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.calls += 1
        if request.unavailable_at == self.name:
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        if request.refuse:
            context.abort_with_status(refusal(request.refuse))
        time.sleep(request.seconds)
        left = context.time_remaining()
        deadline = 0 if left is None else int(left * 1000)
        return self.contract.message("SayResponse")(text=request.text, replica=self.name, deadline_ms=deadline)

    def watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        response = self.contract.message("SayResponse")
        yield response(text="before", replica=self.name)
        time.sleep(request.seconds)
        yield response(text="after", replica=self.name)

    def _codec(self, request: str) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
        return self.contract.message(request).FromString, lambda message: message.SerializeToString()
