"""Metrics that a Prometheus fetches: RED per RPC under the names of the semantic conventions."""

import os
import subprocess
import sys
import textwrap

SERVES = """
    import time, urllib.request
    from services.kit import telemetry
    telemetry.setup("points", {"METRICS_LISTEN": "127.0.0.1:%d"})
    telemetry.counter("lifecircle.points.events", "{event}", "Events by what became of them.")(3, outcome="scored")
    duration = telemetry.histogram("rpc.server.call.duration", "s", "")
    duration.record(0.003, {"rpc.method": "A/B", "rpc.response.status_code": "OK"})
    print(urllib.request.urlopen("http://127.0.0.1:%d/metrics", timeout=30).read().decode())
    telemetry.shutdown()
"""


def test_a_prometheus_can_fetch_counters_and_durations(unused_tcp_port: int) -> None:
    code = textwrap.dedent(SERVES % (unused_tcp_port, unused_tcp_port))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'lifecircle_points_events_total{otel_scope_name="lifecircle"' in done.stdout
    assert 'outcome="scored"' in done.stdout
    assert "rpc_server_call_duration_seconds_bucket" in done.stdout
    assert 'le="0.005"' in done.stdout
