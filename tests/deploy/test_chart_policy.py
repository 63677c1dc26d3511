"""What every installation of the chart keeps to, read off the rendered objects and off each service's own Config."""

from __future__ import annotations

import dataclasses
import importlib
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.k8s import chart
from deploy.local.keys import SERVICES
from deploy.mesh import envoy
from services.kit import config, migrate
from tools.tidy import ROOT

Object = dict[str, Any]
READ_BY_TELEMETRY = {"OTEL_EXPORTER_OTLP_ENDPOINT"}
CERTIFICATES = ('mesh.encryption="certificates"',)


pytestmark = pytest.mark.usefixtures("chart_helm")


@pytest.fixture(scope="module", params=["minimal", "production", "certificates"])
def installation(request: pytest.FixtureRequest) -> list[Object]:
    if request.param == "certificates":
        return chart.objects("minimal", *CERTIFICATES)
    return chart.objects(request.param)


def of(installation: list[Object], kind: str) -> list[Object]:
    return [each for each in installation if each["kind"] == kind]


def label(each: Object, name: str) -> str:
    return str(each["metadata"]["labels"].get(f"app.kubernetes.io/{name}", ""))


def pods(installation: list[Object]) -> Iterator[tuple[Object, Object]]:
    """Whoever makes pods, and the specification of these."""
    for each in installation:
        if each["kind"] in ("Deployment", "Job"):
            yield each, each["spec"]["template"]["spec"]
        if each["kind"] == "CronJob":
            yield each, each["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def settings_of(service: str) -> type:
    found: type = importlib.import_module(f"services.{service}.config").Config
    return found


def variables(settings: type) -> Iterator[str]:
    """The environment variables that a Config reads."""
    hints = typing.get_type_hints(settings)
    for each in dataclasses.fields(settings):
        if dataclasses.is_dataclass(hints[each.name]):
            yield from variables(typing.cast(type, hints[each.name]))
        else:
            yield each.name.upper()


def peers(service: str) -> set[str]:
    """Whom a service calls, by its settings."""
    return {name[5:].lower() for name in variables(settings_of(service)) if name.startswith("PEER_")} - {service}


def environment(pod: Object) -> dict[str, str]:
    found = pod["containers"][0].get("env", [])
    assert len({each["name"] for each in found}) == len(found), "a variable is set twice"
    return {each["name"]: each.get("value", "postgresql://lc_x:secret@host/lifecircle") for each in found}


def test_pods_are_restricted(installation: list[Object]) -> None:
    """Pod Security Standards, level restricted; R001-132."""
    for owner, pod in pods(installation):
        name = owner["metadata"]["name"]
        security = pod["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["runAsUser"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert pod["automountServiceAccountToken"] is False, name
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "secret", "persistentVolumeClaim"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_service_accounts_have_no_token(installation: list[Object]) -> None:
    accounts = {each["metadata"]["name"]: each for each in of(installation, "ServiceAccount")}
    assert set(accounts) == {f"lifecircle-{service}" for service in SERVICES}
    assert all(each["automountServiceAccountToken"] is False for each in accounts.values())
    assert not [each for each in installation if "Role" in each["kind"]], "no pod needs Kubernetes' own interface"


def test_every_service_serves_and_works_apart(installation: list[Object]) -> None:
    deployed = {(label(each, "name"), label(each, "component")) for each in of(installation, "Deployment")}
    assert deployed == {(service, part) for service in SERVICES for part in ("serve", "work")}
    for each in of(installation, "Deployment"):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        assert container["args"] == [label(each, "component")]


def test_probes_are_grpc_on_the_plaintext_port(installation: list[Object]) -> None:
    for each in of(installation, "Deployment"):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["grpc"]["port"] == ports["health"]
        assert container["livenessProbe"]["grpc"]["service"] == "live", "a dead database must not kill pods"
        assert f":{ports['health']}" in environment(each["spec"]["template"]["spec"])["HEALTH_LISTEN"]


def test_pods_have_time_to_finish(installation: list[Object]) -> None:
    for each in of(installation, "Deployment"):
        pod = each["spec"]["template"]["spec"]
        env = environment(pod)
        needed = float(env["DRAIN_SECONDS"]) + float(env["GRACE_SECONDS"])
        assert pod["terminationGracePeriodSeconds"] > needed
        assert each["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_pods_ask_for_what_they_need_and_spread(installation: list[Object]) -> None:
    for owner, pod in pods(installation):
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), owner["metadata"]["name"]
            assert "memory" in container["resources"]["limits"], owner["metadata"]["name"]
        if owner["kind"] == "Deployment":
            (spread,) = pod["topologySpreadConstraints"]
            assert spread["labelSelector"]["matchLabels"] == owner["spec"]["selector"]["matchLabels"]


def test_selectors_find_the_pods_they_mean(installation: list[Object]) -> None:
    made = [each["spec"]["template"]["metadata"]["labels"] for each in of(installation, "Deployment")]

    def found(selector: Mapping[str, str]) -> set[tuple[str, str]]:
        return {
            (each["app.kubernetes.io/name"], each["app.kubernetes.io/component"])
            for each in made
            if selector.items() <= each.items()
        }

    for each in of(installation, "Service"):
        assert found(each["spec"]["selector"]) == {(label(each, "name"), "serve")}
    for each in of(installation, "PodDisruptionBudget"):
        assert found(each["spec"]["selector"]["matchLabels"]) == {(label(each, "name"), "serve")}
        assert each["spec"]["maxUnavailable"] == 1
    assert len(of(installation, "PodDisruptionBudget")) == len(SERVICES)


def test_what_scales_has_no_fixed_number() -> None:
    production = chart.objects("production")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in of(production, "HorizontalPodAutoscaler")
    }
    assert set(scaled) == {f"lifecircle-{service}" for service in SERVICES if service != "admin"}
    for each in of(production, "Deployment"):
        assert ("replicas" in each["spec"]) is (each["metadata"]["name"] not in scaled)
    assert all(2 <= each["minReplicas"] < each["maxReplicas"] for each in scaled.values())


def test_secrets_stand_nowhere(installation: list[Object]) -> None:
    """R001-133: by reference only, so that external-secrets or the vault of the house fills them."""
    assert not of(installation, "Secret")
    for owner, pod in pods(installation):
        for each in pod["containers"][0]["env"]:
            if re.search("DATABASE_URL|PASSWORD|SECRET", each["name"]):
                assert set(each) == {"name", "valueFrom"}, owner["metadata"]["name"]
        for volume in pod["volumes"]:
            assert "defaultMode" not in volume.get("secret", {}), "the group of fsGroup reads it already"


def test_only_migrations_know_the_administrator(installation: list[Object]) -> None:
    knowing = {each["metadata"]["name"] for each, pod in pods(installation) if "ADMIN_DATABASE_URL" in environment(pod)}
    assert knowing == {f"lifecircle-{service}-migrate" for service in SERVICES}


def test_migrations_run_before_the_pods(installation: list[Object]) -> None:
    jobs = of(installation, "Job")
    clustered = bool(of(installation, "Cluster"))
    assert {label(each, "name") for each in jobs} == set(SERVICES)
    for each in jobs:
        (container,) = each["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["migrate"]
        hook = each["metadata"]["annotations"]["helm.sh/hook"]
        assert hook == ("post-install,pre-upgrade" if clustered else "pre-install,pre-upgrade")
        assert set(environment(each["spec"]["template"]["spec"])) >= set(variables(migrate.Settings))
        assert "serviceAccountName" not in each["spec"]["template"]["spec"], "a hook comes before the accounts"


def test_the_environment_is_what_the_service_reads(installation: list[Object], tmp_path: Path) -> None:
    """Every variable has a reader, and every Config can be read from it."""
    for each in of(installation, "Deployment"):
        service, pod = label(each, "name"), each["spec"]["template"]["spec"]
        env = environment(pod)
        assert set(env) - set(variables(settings_of(service))) - READ_BY_TELEMETRY == set(), service
        mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        for name, value in env.items():
            if value.startswith("/"):
                assert any(value == mount or value.startswith(f"{mount}/") for mount in mounts), (service, name)
                there = tmp_path / service / value.lstrip("/")
                if there.suffix:
                    there.parent.mkdir(parents=True, exist_ok=True)
                    there.write_text("{}")
                env[name] = str(there)
        read: Any = config.read(settings_of(service), env, also=("service_token_file",))
        assert read.server.listen == "0.0.0.0:50051"


def test_what_is_written_to_is_mounted(installation: list[Object]) -> None:
    """A read-only root: lake, landing folder and OCRM's folder are volumes, and nobody mounts what he does not read."""
    for each in of(installation, "Deployment"):
        env = environment(each["spec"]["template"]["spec"])
        (container,) = each["spec"]["template"]["spec"]["containers"]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        folders = {mount for mount in mounts if mount in ("/landing", "/ocrm")}
        assert folders == {env[name] for name in ("LANDING", "OCRM_OUT") if name in env}
        if "/lake" in mounts:
            assert mounts["/lake"].get("readOnly", False) is ("LAKE_URL" not in env)


def test_whoever_reads_the_lake_reaches_it(installation: list[Object]) -> None:
    """Snapshots are addresses of files: on a volume, or in object storage, for which one needs its credentials."""
    for each in of(installation, "Deployment"):
        service = label(each, "name")
        (container,) = each["spec"]["template"]["spec"]["containers"]
        reads = any((ROOT / "services" / service).glob("lake*"))
        volume = any(mount["mountPath"] == "/lake" for mount in container["volumeMounts"])
        assert (volume or "envFrom" in container) is reads, service


def test_services_call_whom_their_settings_name(installation: list[Object]) -> None:
    names = {each["metadata"]["name"] for each in of(installation, "Service")}
    for each in of(installation, "Deployment"):
        called = {
            k[5:].lower(): v for k, v in environment(each["spec"]["template"]["spec"]).items() if k[:5] == "PEER_"
        }
        assert set(called) == peers(label(each, "name")), label(each, "name")
        for peer, target in called.items():
            assert target == f"dns:///lifecircle-{peer}:50051"
            assert f"lifecircle-{peer}" in names


def test_the_network_lets_through_the_edges_that_exist(installation: list[Object]) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of(installation, "NetworkPolicy")}
    denied = policies.pop("lifecircle-default-deny")
    assert denied["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & denied.keys()

    def called(spec: Object) -> set[str]:
        return {
            to["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            for rule in spec["egress"]
            for to in rule["to"]
            if "app.kubernetes.io/name" in to.get("podSelector", {}).get("matchLabels", {})
            and "app.kubernetes.io/component" not in to["podSelector"]["matchLabels"]
        }

    def callers(spec: Object) -> set[str]:
        return {
            source["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            for rule in spec["ingress"]
            for source in rule["from"]
            if "podSelector" in source and "app.kubernetes.io/component" not in source["podSelector"]["matchLabels"]
        }

    nudged = {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in of(installation, "CronJob")}
    for service in SERVICES:
        spec = policies.pop(f"lifecircle-{service}")
        assert called(spec) - (nudged & {service}) == peers(service), service
        assert callers(spec) == {other for other in SERVICES if service in peers(other)}, service
    assert not policies


def test_routes_are_those_of_one_machine(installation: list[Object]) -> None:
    """GRPCRoute by GRPCRoute what deploy/mesh gives Envoy."""
    files = envoy.contract(SERVICES)
    local = {
        (service, path.split("/")[1])
        for file in files.file
        if file.package.startswith("lifecircle.")
        for service, path in [
            (file.package.split(".")[1], f"/{file.package}.{each.name}/{method.name}")
            for each in file.service
            for method in each.method
        ]
    }
    routed = {
        (rule["backendRefs"][0]["name"].removeprefix("lifecircle-"), match["method"]["service"])
        for each in of(installation, "GRPCRoute")
        for rule in each["spec"]["rules"]
        for match in rule["matches"]
    }
    assert routed == local
    assert len(of(installation, "GRPCRoute")) == len(SERVICES)


def test_images_are_named_one_way(installation: list[Object]) -> None:
    registry = "registry.example.org/marketing/" if of(installation, "Cluster") else ""
    for owner, pod in pods(installation):
        for container in pod["containers"]:
            assert container["image"] == f"{registry}lifecircle-{label(owner, 'name')}:0.1.0"


def test_nothing_is_encrypted_twice() -> None:
    """Either the mesh encrypts and pods speak plaintext, or pods hold certificates: docs/operations/mesh.md."""
    meshed, own = chart.objects("production"), chart.objects("minimal", *CERTIFICATES)
    assert not of(meshed, "Certificate")
    assert len(of(own, "Certificate")) == len(SERVICES)
    for each in of(meshed, "Deployment"):
        assert "TLS_KEY" not in environment(each["spec"]["template"]["spec"])
    for each in of(own, "Deployment"):
        pod = each["spec"]["template"]["spec"]
        assert environment(pod)["TLS_KEY"] == "/run/lifecircle/tls/tls.key"
        assert {"name": "tls", "secret": {"secretName": f"lifecircle-{label(each, 'name')}-tls"}} in pod["volumes"]
    identities = {each["spec"]["uris"][0] for each in of(own, "Certificate")}
    assert identities == {f"spiffe://lifecircle/{service}" for service in SERVICES}


def test_cycles_ask_an_rpc_that_exists() -> None:
    (cycle,) = of(chart.objects("production"), "CronJob")
    (container,) = cycle["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    service, method = container["command"][4].split(".")
    (described,) = importlib.import_module(
        f"lifecircle.{service}.v1.{service}_service_pb2"
    ).DESCRIPTOR.services_by_name.values()
    assert method in described.methods_by_name
    assert cycle["spec"]["concurrencyPolicy"] == "Forbid"
