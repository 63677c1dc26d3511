"""A bare echo: grpc.aio and uvloop with one method and nothing around it, the ceiling of every RPC here.

Run as a process: `python -m benchmarks.echo BYTES`; it prints its port and answers every call with so many bytes.
"""

from __future__ import annotations

import sys

import grpc
import uvloop

METHOD = "/benchmarks.Echo/Say"


async def serve(size: int) -> None:
    """Serves until it is killed."""
    answer = bytes(size)

    async def say(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(say)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmarks.Echo", {"Say": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
