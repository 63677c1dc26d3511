"""The services as processes: what each one's environment holds, its migration, its start, its health."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import grpc
from grpc_health.v1 import health_pb2

from deploy.local import processes
from deploy.local.certificates import ENVOY, Certificates
from deploy.local.keys import SERVICES
from deploy.local.processes import Child
from deploy.local.run import HOST, Run, process_name
from deploy.mesh.envoy import SERVICE_HEADER

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 60.0  # seconds until a service must serve


class ServiceFailed(Exception):
    """A service did not migrate or start; the message holds the last lines of its log."""


def start_service(run: Run, name: str, replica: int = 0) -> Child:
    """Starts one replica as `up` does, waits until it serves, and writes run.json. Raises ServiceFailed."""
    child = launch(run, name, replica)
    wait(run, [(name, replica)])
    return child


def service_pid(run: Run, name: str, replica: int = 0) -> int:
    """Gives the process id of a replica, alive or not."""
    return run.children[process_name(name, replica)].pid


def launch(run: Run, service: str, replica: int) -> Child:
    """Starts one replica and writes run.json; it does not serve yet.

    The first replica works as well (jobs, relays, followers); the others only serve, so that the machine's cores are
    not shared out twice, unless the run says that more of them work: leases share the work out.
    """
    name = process_name(service, replica)
    verbs = ["serve", "--work"] if replica < run.workers.get(service, 1) else ["serve"]
    command = [sys.executable, "-m", f"services.{service}", *verbs]
    child = processes.spawn(command, log=run.log(name), environ=environment(run, service, replica), cwd=ROOT)
    run.children[name] = child
    run.save()
    return child


def migrate(run: Run, service: str) -> None:
    """Makes or upgrades the service's schema and login role. Raises ServiceFailed."""
    environ = {**environment(run, service, 0), "ADMIN_DATABASE_URL": run.database_url}
    command = [sys.executable, "-m", f"services.{service}", "migrate"]
    log = run.log(service)
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            env=environ,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise ServiceFailed(f"{service} cannot migrate its schema; from {log}:\n{processes.tail(log, after=before)}")


def wait(run: Run, replicas: Sequence[tuple[str, int]]) -> None:
    """Waits until these replicas serve. Raises ServiceFailed when one ended or stays silent."""
    deadline = time.monotonic() + _PATIENCE
    for service, replica in replicas:
        name = process_name(service, replica)
        while not serving(run.replicas[service][replica], secure=run.secure):
            ended = not processes.alive(run.children[name])
            if ended or time.monotonic() > deadline:
                why = "ended" if ended else f"does not serve after {_PATIENCE:.0f} s"
                raise ServiceFailed(f"{name} {why}; from {run.log(name)}:\n{processes.tail(run.log(name), lines=15)}")
            time.sleep(0.05)


def serving(port: int, *, service: str = "", secure: Certificates | None = None) -> bool:
    """Asks the health service behind `port`; `service` is whose health to ask the front door for.

    A replica's own port speaks mutual TLS; `secure` shows it Envoy's identity.
    """
    return serving_at(f"{HOST}:{port}", service=service, secure=secure)


def serving_at(target: str, *, service: str = "", secure: Certificates | None = None) -> bool:
    """Asks the health service at host:port; see `serving`."""
    metadata = ((SERVICE_HEADER, service),) if service else ()
    with _channel(target, secure) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=2.0, metadata=metadata)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(target: str, secure: Certificates | None) -> grpc.Channel:
    options = [("grpc.enable_http_proxy", 0)]
    if secure is None:
        return grpc.insecure_channel(target, options=options)
    key, chain = secure.key(ENVOY).read_bytes(), secure.certificate(ENVOY).read_bytes()
    shown = grpc.ssl_channel_credentials(secure.authority.read_bytes(), key, chain)
    return grpc.secure_channel(target, shown, options=options)


def environment(run: Run, service: str, replica: int) -> dict[str, str]:
    """Gives a replica's variables: ours, what `up` was told, and below them the caller's own (OTEL_*, LOG_LEVEL, …).

    The administrator's URL stays out: a running service knows its own role and nothing more.
    """
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "ADMIN_DATABASE_URL")
    }
    keys = run.keys
    ours = {
        "DATABASE_URL": role_url(run.database_url, service, keys.password(service)),
        "LISTEN": f"{HOST}:{run.replicas[service][replica]}",
        "JWT_KEYS": str(keys.jwks),
        "SERVICE_TOKEN_FILE": str(keys.token(service)),
        "LAKE_URL": f"file://{run.lake}",  # not as_uri(): fsspec takes the path as it stands
        **{f"PEER_{peer.upper()}": run.mesh for peer in SERVICES},
    }
    if run.mutual:
        ours |= {
            "TLS_CERTIFICATE": str(run.certificates.certificate(service)),
            "TLS_KEY": str(run.certificates.key(service)),
            "TLS_AUTHORITIES": str(run.certificates.authority),
        }
    if service == "ingest":
        ours |= {"LANDING": str(run.landing), "VAULT_KEYS": str(keys.vault)}
    if service == "admin":
        ours |= {"SIGNING_KEYS": str(keys.signing)}
    if service == "contact":
        ours |= {"OCRM_OUT": str(run.ocrm_out)}
    return {**inherited, **run.environ, **ours}


def role_url(administrator: str, service: str, password: str) -> str:
    """Gives the service's own URL of the administrator's database."""
    parts = urlsplit(administrator)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"lc_{service}:{quote(password, safe='')}@{place}"))
