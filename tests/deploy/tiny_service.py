"""A service with nothing inside: what `python -m services.<name>` must do for deploy/local, and no more.

It stands in for the five so that starting, failing and stopping can be tried without them; tests/e2e has the real ones.
It writes what it was given into $TINY_NOTES/<name>.<verb> and fails as BREAK says.
"""

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAME = (__package__ or "").rpartition(".")[2]


def main() -> int:
    note = Path(os.environ["TINY_NOTES"]) / f"{NAME}.{'.'.join(sys.argv[1:])}"
    with note.open("a") as notes:
        notes.write(json.dumps({"environ": dict(os.environ), "cwd": os.getcwd()}) + "\n")
    if os.environ.get("BREAK") == f"{NAME} {sys.argv[1]}":
        print(f"{NAME}: the settings are wrong", file=sys.stderr)
        return 2
    if sys.argv[1] == "migrate":
        return 0
    import grpc  # here, since it is slow to import and `migrate` needs none of it
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    key, chain, believed = (
        Path(os.environ[f"TLS_{name}"]).read_bytes() for name in ("KEY", "CERTIFICATE", "AUTHORITIES")
    )
    server.add_secure_port(os.environ["LISTEN"], grpc.ssl_server_credentials([(key, chain)], believed, True))
    server.start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    server.stop(0.2).wait()
    print(f"{NAME}: stopped in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
