"""Traces: what is read of a traceparent, who is sampled, and what a span hands on."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import telemetry
from services.kit.telemetry import Trace, parse, sampler, span, traceparent

traces = st.builds(
    Trace,
    trace_id=st.integers(min_value=1, max_value=2**128 - 1),
    span_id=st.integers(min_value=1, max_value=2**64 - 1),
    sampled=st.booleans(),
)
SAMPLED = Trace(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True)
UNSAMPLED = SAMPLED._replace(sampled=False)


@given(traces)
def test_a_traceparent_is_read_as_it_was_written(trace: Trace) -> None:
    assert parse(trace.header()) == trace


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
    ],
)
def test_what_is_no_traceparent_is_passed_over(header: str) -> None:
    assert parse(header) is None


def test_a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse(SAMPLED.header().replace("00-", "01-", 1) + "-more") == SAMPLED


@pytest.mark.parametrize(
    ("name", "argument", "root", "sampled_parent", "unsampled_parent"),
    [
        ("", "", True, True, False),
        ("parentbased_always_on", "", True, True, False),
        ("parentbased_always_off", "", False, True, False),
        ("parentbased_traceidratio", "0", False, True, False),
        ("parentbased_traceidratio", "1", True, True, False),
        ("always_on", "", True, True, True),
        ("always_off", "", False, False, False),
        ("traceidratio", "0", False, False, False),
    ],
)
def test_the_standard_samplers_decide_as_the_standard_says(
    name: str, argument: str, root: bool, sampled_parent: bool, unsampled_parent: bool
) -> None:
    decide = sampler(name, argument)
    assert (decide(None), decide(SAMPLED), decide(UNSAMPLED)) == (root, sampled_parent, unsampled_parent)


def test_a_ratio_samples_about_its_part_and_the_same_traces_everywhere() -> None:
    here, there = sampler("traceidratio", "0.25"), sampler("traceidratio", "0.25")
    many = [Trace(n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, 1, False) for n in range(1, 4001)]
    assert [here(trace) for trace in many] == [there(trace) for trace in many]
    assert 800 < sum(map(here, many)) < 1200


def test_an_unknown_sampler_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="jaeger_remote"):
        sampler("jaeger_remote", "")


def test_without_an_exporter_the_trace_still_goes_on_as_it_came() -> None:
    assert traceparent() == ""
    with span("outer", parent=SAMPLED.header()):
        assert traceparent() == SAMPLED.header()
        with span("inner"):
            assert traceparent() == SAMPLED.header()
    assert traceparent() == ""


def test_a_span_without_a_parent_begins_a_trace_of_its_own() -> None:
    with span("one"):
        one = traceparent()
        with span("inside"):
            assert traceparent() == one
    with span("two"):
        two = traceparent()
    assert parse(one)
    assert parse(two)
    assert one[3:35] != two[3:35]


async def test_tasks_that_run_at_the_same_time_do_not_share_a_span() -> None:
    async def look(n: int) -> str:
        with span("task"):
            await asyncio.sleep(0.001 * n)
            return traceparent()

    seen = await asyncio.gather(*(look(n) for n in range(5)))
    assert len(set(seen)) == 5


def test_instruments_can_be_used_before_and_without_an_exporter() -> None:
    telemetry.counter("c")(1, kind="x")
    telemetry.histogram("h").record(0.5)
    telemetry.gauge("g")(3)
