"""The small things: page tokens, ids, the kit's own refusals, masking, waiting."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import errors, paging
from services.kit.clock import system_clock
from services.kit.errors import Kind, Refusal
from services.kit.ids import system_ids
from services.kit.logs import mask
from services.kit.waiting import backoff, pause

words = st.text(max_size=20)
positions = st.dictionaries(
    words, st.none() | st.booleans() | st.integers() | words | st.lists(words, max_size=3), max_size=5
)


@given(positions)
def test_a_page_token_gives_back_what_was_put_into_it(token: dict[str, object]) -> None:
    text = paging.encode(token)
    assert paging.decode(text) == token
    assert text.isascii()
    assert "=" not in text


@given(st.text(max_size=50) | st.binary().map(lambda raw: raw.hex()))
def test_any_other_text_is_refused_or_is_a_mapping_and_nothing_else_happens(text: str) -> None:
    with contextlib.suppress(Refusal):
        token = paging.decode(text)
        assert json.loads(json.dumps(token)) == token
        assert bool(token) == bool(text)


@pytest.mark.parametrize("text", ["x", "====", "é", "bnVsbA", "e30", "W10", "InRleHQi", "A" * 5000])
def test_what_is_no_page_token_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        paging.decode(text)
    assert refusal.value.reason == "BAD_PAGE_TOKEN"


@given(st.integers(min_value=0, max_value=2**31 - 1))
def test_a_page_size_stays_within_its_bounds(size: int) -> None:
    assert 1 <= paging.clamp(size, default=50, most=1000) <= 1000
    assert paging.clamp(0) == 50


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        paging.clamp(-1)
    assert refusal.value.fields == (("page_size", "must not be negative"),)


def test_ids_are_uuids_of_version_7_and_sort_by_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = []
    for _ in range(5):
        ids.append(system_ids())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert len({system_ids() for _ in range(10_000)}) == 10_000
    first = uuid.UUID(ids[0])
    assert (first.version, first.variant) == (7, uuid.RFC_4122)
    assert before <= first.int >> 80 <= time.time_ns() // 1_000_000


def test_the_time_is_aware_and_in_utc() -> None:
    assert str(system_clock().tzinfo) == "UTC"


OWN: list[tuple[Callable[[], Refusal], Kind]] = [
    (lambda: errors.stranger("no bearer token"), Kind.UNAUTHENTICATED),
    (lambda: errors.not_allowed("Publish", {"viewer"}), Kind.PERMISSION_DENIED),
    (lambda: errors.invalid_field([("a.b", "is bad")]), Kind.INVALID_ARGUMENT),
    (lambda: errors.request_id_reused("7"), Kind.ABORTED),
    (lambda: errors.deadline_exhausted(), Kind.DEADLINE_EXCEEDED),
    (lambda: errors.bad_page_token(), Kind.INVALID_ARGUMENT),
    (lambda: errors.job_not_found("7"), Kind.NOT_FOUND),
    (lambda: errors.cursor_invalid("x"), Kind.INVALID_ARGUMENT),
]


def test_each_of_the_kits_refusals_has_its_kind_and_says_in_metadata_what_it_says_in_prose() -> None:
    for make, kind in OWN:
        refusal = make()
        assert refusal.kind is kind
        assert refusal.reason == refusal.reason.upper()
        assert getattr(errors, refusal.reason.lower())
        assert isinstance(refusal.metadata, dict)
    assert errors.not_allowed("Publish", {"viewer", "guest"}).metadata == {"method": "Publish", "roles": "guest,viewer"}
    assert errors.job_not_found("7").metadata == {"job_id": "7"}


digits = st.text("0123456789", min_size=9, max_size=9)


codes = st.sampled_from(["", "86", "+86", "0086", "+86 ", "86-"])


@given(st.sampled_from("3456789"), digits, codes, st.text("ab ,;\"'", max_size=3))
def test_a_mobile_number_is_masked_wherever_it_stands(second: str, rest: str, code: str, around: str) -> None:
    number = f"1{second}{rest}"
    for value in (
        f"{around}{code}{number}{around}",
        {"key": [number]},
        {number: 1},
        (int(number),),
        float(number),
        {f"{code}{number}"},
        ValueError(f"{around}{number}"),
    ):
        assert number not in str(mask(value))


@given(st.integers(min_value=0, max_value=12_999_999_999) | st.integers(min_value=1_000_000_000_000) | st.booleans())
def test_other_numbers_are_left_as_they_are(value: int) -> None:
    assert mask(value) is value or mask(value) == value
    assert mask(f"a {1_700_000_000_123} b") == "a 1700000000123 b"


def test_waiting_doubles_up_to_its_bound_and_is_spread() -> None:
    waits = [backoff(n, first=0.1, most=5) for n in range(1, 40)]
    assert 0.05 <= waits[0] <= 0.15
    assert all(wait <= 7.5 for wait in waits)
    assert min(waits[10:]) >= 2.5
    assert len(set(waits)) == len(waits)


async def test_a_pause_ends_when_it_is_told_to() -> None:
    stop = asyncio.Event()
    assert await pause(0.01, stop) is False
    began = time.monotonic()
    waiting = asyncio.create_task(pause(60, stop))
    await asyncio.sleep(0.01)
    stop.set()
    assert await waiting is True
    assert await pause(60, stop) is True
    assert time.monotonic() - began < 5
