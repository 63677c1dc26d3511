"""What runs now, as `<state>/run.json` says it: addresses, processes, folders, tokens. Private: it holds a password.

The file is written after every process that is started, so that `down` finds each one even when `up` was cut short.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.local import private
from deploy.local.certificates import Certificates
from deploy.local.keys import Keys
from deploy.local.processes import Child

POSTGRES = "postgres"
ENVOY = "envoy"
HOST = "127.0.0.1"

_SAVING = threading.Lock()


def process_name(service: str, replica: int) -> str:
    """Names a replica: `points`, then `points.1`, `points.2`; it is also the name of its log."""
    return service if replica == 0 else f"{service}.{replica}"


@dataclass
class Run:
    """A platform that is up, or on its way up or down. Ports are on the loopback; children go by process name."""

    state: Path
    port: int
    admin_port: int
    mesh_port: int
    replicas: dict[str, list[int]]
    database_url: str = ""  # the administrator's
    postgres_port: int = 0  # 0: the database is not ours
    environ: dict[str, str] = field(default_factory=dict)  # given to every service beside our own variables
    children: dict[str, Child] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)  # how many replicas of a service work; one unless said
    mutual: bool = True  # services speak mutual TLS; False leaves that to a mesh, or to nobody (benchmarks)
    complete: bool = False  # `up` came to its end once: schemas are migrated, everything answered

    @property
    def front_door(self) -> str:
        """Where callers go, as host:port."""
        return f"{HOST}:{self.port}"

    @property
    def mesh(self) -> str:
        """Where services call one another, as host:port."""
        return f"{HOST}:{self.mesh_port}" if self.mutual else self.front_door

    @property
    def secure(self) -> Certificates | None:
        """The certificates that replicas ask for; None where they speak plaintext."""
        return self.certificates if self.mutual else None

    @property
    def certificates(self) -> Certificates:
        """The certificates of this state."""
        return Certificates(self.state)

    @property
    def keys(self) -> Keys:
        """The keys and tokens of this state."""
        return Keys(self.state)

    @property
    def landing(self) -> Path:
        """Where operator files are dropped."""
        return self.state / "landing"

    @property
    def ocrm_out(self) -> Path:
        """Where contact's hand-over files appear."""
        return self.state / "ocrm_out"

    @property
    def lake(self) -> Path:
        """Where the services keep their columnar files."""
        return self.state / "lake"

    @property
    def processes(self) -> list[tuple[str, int]]:
        """Every replica of every service, in order."""
        return [(service, replica) for service, ports in self.replicas.items() for replica in range(len(ports))]

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.state / "logs" / f"{name}.log"

    def save(self) -> None:
        """Writes run.json: first what others read, then what we read back. Threads may call it at once."""
        with _SAVING:
            private.write(_file(self.state), json.dumps(self._said(), indent=2) + "\n")

    def _said(self) -> dict[str, object]:
        return {
            "front_door": self.front_door,
            "paths": {name: str(getattr(self, name)) for name in ("state", "landing", "ocrm_out", "lake")},
            "tokens": {who: str(path) for who, path in self.keys.tokens().items()},
            "logs": {name: str(self.log(name)) for name in self.children},
            "port": self.port,
            "admin_port": self.admin_port,
            "mesh_port": self.mesh_port,
            "replicas": self.replicas,
            "database_url": self.database_url,
            "postgres_port": self.postgres_port,
            "environ": self.environ,
            "workers": self.workers,
            "mutual": self.mutual,
            "children": {name: asdict(child) for name, child in self.children.items()},
            "complete": self.complete,
        }

    def forget(self) -> None:
        """Removes run.json: nothing runs any more."""
        _file(self.state).unlink(missing_ok=True)


def load(state: Path) -> Run | None:
    """Reads run.json; None when nothing is up."""
    path = _file(state)
    if not path.exists():
        return None
    said = json.loads(path.read_text())
    return Run(
        state=state,
        port=said["port"],
        admin_port=said["admin_port"],
        mesh_port=said["mesh_port"],
        replicas=said["replicas"],
        database_url=said["database_url"],
        postgres_port=said["postgres_port"],
        environ=said["environ"],
        workers=said.get("workers", {}),
        mutual=said["mutual"],
        children={name: Child(**child) for name, child in said["children"].items()},
        complete=said["complete"],
    )


def plan(
    state: Path,
    port: int,
    free: Sequence[int],
    services: Sequence[str],
    count: Mapping[str, int],
    more: Mapping[str, str],
) -> Run:
    """Deals free ports to a run that is to come: two for Envoy (administration, mesh), one for every replica."""
    rest = iter(free)
    admin_port, mesh_port = next(rest), next(rest)
    replicas = {service: [next(rest) for _ in range(count.get(service, 1))] for service in services}
    return Run(state, port, admin_port, mesh_port, replicas, environ=dict(more))


def _file(state: Path) -> Path:
    return state / "run.json"
