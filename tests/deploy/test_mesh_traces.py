"""R001-133: the hop through Envoy is seen: it continues the caller's trace and tells a collector by OTLP."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from deploy.local import processes
from deploy.local.services import serving
from deploy.mesh import envoy, traces
from tests.deploy.echo import Contract, Replica, compile_contract
from tests.fixtures.traces import receiver

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_envoy_continues_the_callers_trace_and_tells_of_its_own_hop(tmp_path: Path) -> None:
    contract = Contract(compile_contract(tmp_path))
    port, admin_port, replica_port = processes.free_ports(3)
    replica = Replica(contract, "a", replica_port)
    with receiver() as heard:
        told = traces.of({"OTEL_EXPORTER_OTLP_ENDPOINT": heard.endpoint, "OTEL_TRACES_SAMPLER": "always_off"})
        config = envoy.write(
            tmp_path,
            port=port,
            admin_port=admin_port,
            replicas={"echo": [replica_port]},
            files=contract.files,
            told=told,
        )
        log = tmp_path / "envoy.log"
        child = processes.spawn(envoy.command(config), log=log)
        try:
            deadline = time.monotonic() + 60
            while not serving(port, service="echo"):
                assert processes.alive(child), processes.tail(log)
                assert time.monotonic() < deadline, processes.tail(log)
                time.sleep(0.05)
            shown = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")]
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
                asked = contract.message("SayRequest")(text="hello")
                contract.call(channel, "Say")(asked, timeout=30, metadata=shown)
                contract.call(channel, "Say")(asked, timeout=30)  # nobody began a trace, and the ratio is nought
            while not heard.spans:
                assert time.monotonic() < deadline, processes.tail(log)
                time.sleep(0.05)
        finally:
            processes.stop([child])
            replica.server.stop(0)
    spans = list(heard.spans.values())
    assert {(each.service, each.trace_id.hex()) for each in spans} == {("envoy", TRACE)}
    assert bytes.fromhex("b7ad6b7169203331") in {each.parent_id for each in spans}


@pytest.mark.parametrize(
    ("environ", "percent"),
    [
        ({}, None),
        ({"OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 100),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}, 1),
    ],
)
def test_what_is_sent_is_what_the_services_variables_say(environ: dict[str, str], percent: float | None) -> None:
    there = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"} if environ else {}
    found = traces.of(there | environ)
    assert found == (None if percent is None else traces.Traces("collector", 4317, percent))
