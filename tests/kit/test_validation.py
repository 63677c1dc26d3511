"""Rules that are bounds: held against them, a request is judged as protovalidate judges it."""

import importlib
from types import ModuleType
from typing import Any

import protovalidate
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kit.errors import Refusal
from services.kit.interceptors.validation import Bound, bounds_of, validated, within

SERVICES = ("admin", "contact", "ingest", "points", "portrait", "recommend")
REQUESTS: list[type[Message]] = [
    kind
    for service in SERVICES
    for name, kind in vars(importlib.import_module(f"lifecircle.{service}.v1")).items()
    if name.endswith("Request")
]
BOUNDED = [kind for kind in REQUESTS if any(bounds_of(kind) or ())]


@st.composite
def requests(draw: st.DrawFn) -> Message:
    """A request of the contract whose rules are bounds, its fields at the bounds, next to them, or anywhere."""
    kind = draw(st.sampled_from(BOUNDED))
    bounds = bounds_of(kind)
    assert bounds is not None
    numbers, texts = bounds
    return kind(**{one[0]: draw(_number(kind, one)) for one in numbers}, **{one[0]: draw(_text(one)) for one in texts})


def _number(kind: type[Message], bound: Bound) -> st.SearchStrategy[int]:
    field = kind.DESCRIPTOR.fields_by_name[bound[0]]
    bits = 32 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    least, most = (
        (0, 2**bits - 1)
        if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
        else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    near = [at + step for at in bound[1:] for step in (-1, 0, 1) if least <= at + step <= most]
    return st.sampled_from(near or [0]) | st.integers(least, most)


def _text(bound: Bound) -> st.SearchStrategy[str]:
    lengths = {max(0, at + step) for at in bound[1:] if at < 5_000 for step in (-1, 0, 1)} | {0}
    return st.sampled_from(sorted(lengths)).map("中".__mul__)


@settings(max_examples=500)
@given(requests())
def test_a_request_lies_within_its_bounds_if_and_only_if_it_breaks_no_rule(request: Message) -> None:
    bounds = bounds_of(type(request))
    assert bounds is not None
    assert within(request, *bounds) == (not protovalidate.collect_violations(request))


def test_most_requests_of_the_contract_have_no_other_rules() -> None:
    assert len([kind for kind in REQUESTS if bounds_of(kind) is not None]) > len(REQUESTS) / 2
    assert len(BOUNDED) > 100


def test_an_empty_request_is_judged_as_protovalidate_judges_it_whatever_its_rules() -> None:
    for kind in REQUESTS:
        request: Any = kind()
        if protovalidate.collect_violations(request):
            with pytest.raises(Refusal) as refusal:
                validated(request)
            assert refusal.value.reason == "INVALID_FIELD"
        else:
            assert validated(request) is request


def test_rules_beside_bounds_and_messages_within_are_left_to_protovalidate(echo: ModuleType) -> None:
    assert bounds_of(echo.SayRequest) is None
