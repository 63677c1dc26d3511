"""The trace page: what services send by OTLP is seen as a list, a waterfall and a map."""

import os
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from deploy.observe.__main__ import pages
from deploy.observe.receiver import listen
from deploy.observe.spans import MOST_TRACES, Heard, Span, depths, edges, tree

SENDS = """
    from services.kit import telemetry
    telemetry.setup("{service}", {{"OTEL_EXPORTER_OTLP_ENDPOINT": "{endpoint}"}})
    with telemetry.span("{name}", parent="{parent}", kind="server") as span:
        span.set("customer_key", 7)
        print(telemetry.traceparent())
    telemetry.shutdown()
"""


def made(span_id: str, parent_id: str, service: str, start: int, end: int, failed: bool = False) -> Span:
    return Span("t", span_id, parent_id, service, f"of {span_id}", start, end, failed, {})


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def site(heard: Heard) -> Iterator[str]:
    server = pages(heard, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def send(endpoint: str, service: str, name: str, parent: str = "") -> str:
    code = textwrap.dedent(SENDS.format(service=service, endpoint=endpoint, name=name, parent=parent))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    return done.stdout.strip().splitlines()[-1]


def test_a_trace_over_two_services_is_seen_on_every_page(heard: Heard, site: str) -> None:
    server, port = listen(heard, 0)
    endpoint = f"http://127.0.0.1:{port}"
    first = send(endpoint, "ingest", "Load")
    send(endpoint, "portrait", "Compute <b>", first)
    server.stop(0)
    trace_id = first.split("-")[1]
    assert trace_id in fetched(f"{site}/")
    shown = fetched(f"{site}/trace/{trace_id}")
    assert shown.index("Load") < shown.index("Compute &lt;b&gt;")
    assert "customer_key = 7" in shown
    assert "ingest → portrait: 1 次" in fetched(f"{site}/map").replace("\n", " ")


def test_the_list_is_narrowed_by_service_time_and_failure(heard: Heard, site: str) -> None:
    heard.add([made("a", "", "points", 0, 5_000_000)])
    assert "of a" in fetched(f"{site}/?service=points&least=5")
    assert "of a" not in fetched(f"{site}/?service=contact")
    assert "of a" not in fetched(f"{site}/?least=6")
    assert "of a" not in fetched(f"{site}/?failed=on")
    assert "of a" in fetched(f"{site}/?least=x")


def test_an_unknown_trace_is_not_found(site: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetched(f"{site}/trace/unknown")


def test_a_span_lies_below_its_parent_and_what_was_not_heard_is_a_root() -> None:
    spans = [
        made("a", "lost", "x", 0, 9),
        made("b", "a", "y", 1, 8),
        made("c", "b", "z", 2, 3),
        made("d", "a", "x", 4, 5),
    ]
    assert [span.span_id for span in tree(spans)] == ["a", "b", "c", "d"]
    assert depths(spans) == {"a": 0, "b": 1, "c": 2, "d": 1}
    assert edges([spans]) == {("x", "y"): 1, ("y", "z"): 1}


def test_only_the_latest_traces_are_kept(heard: Heard) -> None:
    for number in range(MOST_TRACES + 5):
        heard.add([Span(str(number), "a", "", "x", "n", 0, 1, False, {})])
    assert len(heard.traces()) == MOST_TRACES
    assert not heard.trace("4")
    assert heard.trace(str(MOST_TRACES + 4))
