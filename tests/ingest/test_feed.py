"""Contracts with suppliers: read from YAML, every problem named with its key."""

from datetime import date

import pytest

from services.ingest.domain import definition
from services.kit.errors import Refusal
from tests.ingest.made import FEEDS, feed_of, shipped, text_of

NUMBER = {"name": "who", "type": "msisdn"}


def problems(text: str) -> dict[str, str]:
    with pytest.raises(Refusal) as refused:
        definition.read(text)
    assert refused.value.reason == "FEED_INVALID"
    return {path.removeprefix("feed.definition").removeprefix("."): problem for path, problem in refused.value.fields}


@pytest.mark.parametrize("path", sorted(FEEDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_feed_can_be_read_and_says_why_it_may_be_used(path: object) -> None:
    """R001-136, R002-065, R002-097: purpose and legal basis are a part of every interface."""
    feed = shipped(getattr(path, "stem"))  # noqa: B009
    assert feed.purpose
    assert feed.legal_basis
    name = feed.file_name.replace("{period}", "20260901").replace("{sequence}", "012")
    assert feed.match(name) == (date(2026, 9, 1), 12)


def test_all_problems_are_reported_at_once_each_with_its_key() -> None:
    found = problems(
        text_of(
            {"name": "A", "type": "string"},
            {"name": "b", "type": "strin"},
            {"name": "c", "type": "int", "pattern": "x"},
            {"name": "d", "type": "code"},
            file_name="no/slash_{period}",
            surprise=1,
        )
    )
    assert set(found) == {"file_name", "columns[0].name", "columns[1].type", "columns[2]", "columns[3]", "surprise"}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("", "a: [1"),
        ("", "a: &x 1\nb: *x"),
        ("", "just a text"),
        ("file_name", text_of(file_name="TEST.TXT")),
        ("file_name", text_of(file_name="TEST_{period}_{period}.TXT")),
        ("file_name", text_of(file_name="TEST_{period}.CHK")),
        ("control", text_of(control={"fields": ["file_name", "rows"]})),
        ("unique[0]", text_of(unique=["nothing"])),
        ("target", text_of(target={"bucketed": True})),
        ("target.event.time", text_of(NUMBER, target={"event": {"type": "a.b", "id": ["who"], "time": "who"}})),
        ("target.event.type", text_of(NUMBER, target={"event": {"type": "a.{who}", "id": ["who"], "time": "who"}})),
        ("columns", text_of(NUMBER, NUMBER | {"name": "whom"})),
        ("columns", text_of({"name": "line", "type": "int"})),
        ("columns[0]", text_of({"name": "a", "type": "string", "pattern": "(?=x)"})),
        ("columns[0]", text_of({"name": "a", "type": "int", "least": 2, "most": 1})),
        ("columns[0].after", text_of({"name": "a", "type": "date", "after": "b"}, {"name": "b", "type": "date"})),
        ("columns[1].after", text_of({"name": "a", "type": "date"}, {"name": "b", "type": "datetime", "after": "a"})),
        ("delimiter", text_of(delimiter="\n")),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused_at_the_key(key: str, text: str) -> None:
    assert key in problems(text)


@pytest.mark.parametrize(
    "name",
    [
        "TEST_20260901_01.TXT",
        "TEST_20260931_001.TXT",
        "xTEST_20260901_001.TXT",
        "TEST_20260901_001.TXT\n",
        "../TEST_20260901_001.TXT",
        "TEST_20260901_001xTXT",
        "TEST_２0260901_001.TXT",
    ],
)
def test_a_name_that_is_only_like_the_contracts_is_no_name_of_the_feed(name: str) -> None:
    assert feed_of().match(name) is None


@pytest.mark.parametrize(("source", "allowed"), [(0, 0), (1, 0), (10, 5), (60, 20), (1000, 20), (10_000, 200)])
def test_the_threshold_is_a_share_but_leaves_short_files_some_room(source: int, allowed: int) -> None:
    assert feed_of(rejects={"share": 0.02, "rows": 20}).threshold.allowed(source) == allowed
