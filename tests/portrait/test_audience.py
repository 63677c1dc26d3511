"""Audiences: the algebra of bitmaps is that of sets, and the readable text says the same as the expression."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from services.portrait.domain.audience import (
    AllOf,
    AnyOf,
    AtLeast,
    AudienceInvalid,
    Everybody,
    Expression,
    FeatureBetween,
    Frozen,
    InSegment,
    Listed,
    Not,
    Saved,
    Source,
    TagIs,
    bitmap_of,
    check,
    expression_of,
    members,
    parse,
    parts,
    text,
    to_json,
)
from services.portrait.domain.audience.expression import walk
from services.portrait.domain.tag import Catalogue
from tests.fixtures.counts import FULL

TAGS = {"A1": frozenset[str](), "B2": frozenset({"高端", "mid range", "in"}), "C3": frozenset[str]()}
NAMES = {"上班族": "A1", "价值分段": "B2"}
PEOPLE = 40


class Sets:
    """A source over plain sets; bitmaps for the one, sets for the other."""

    def __init__(self, drawn: list[set[int]], numbers: list[float]) -> None:
        self.base = set(range(1, PEOPLE + 1))
        self.tags = {("A1", ""): drawn[0], ("C3", ""): drawn[1], ("B2", "高端"): drawn[2], ("B2", "in"): drawn[3]}
        self.tags["B2", ""] = drawn[2] | drawn[3]
        self.lists = {"l": drawn[4] | {9999}, "0199": drawn[5], "动感地带-2": drawn[3] | {8888}}
        self.numbers = numbers

    def everybody(self) -> BitMap:
        return BitMap(self.base)

    def tag(self, code: str, value: str) -> BitMap:
        return BitMap(self.tags.get((code, value), set()))

    def within(self, least: float | None, most: float | None) -> set[int]:
        low, high = -np.inf if least is None else least, np.inf if most is None else most
        return {who for who, value in enumerate(self.numbers, 1) if low <= value <= high}

    def feature(self, name: str, least: float | None, most: float | None) -> BitMap:
        return BitMap(self.within(least, most))

    def saved(self, audience_id: str, version: int) -> Expression:
        return AnyOf((TagIs("A1"), TagIs("C3"))) if audience_id == "young" else Saved("loop")

    def listed(self, kind: str, list_id: str) -> BitMap:
        return BitMap(self.lists[list_id])


def plain(told: Expression, source: Sets) -> set[int]:
    """Set algebra, word for word."""
    match told:
        case Everybody():
            return source.base
        case TagIs():
            values = told.values or ("",)
            return {who for value in values for who in source.tags.get((told.code, value), set())}
        case FeatureBetween():
            return source.within(told.least, told.most)
        case AllOf():
            return set.intersection(*(plain(part, source) for part in told.parts))
        case AnyOf():
            return set.union(*(plain(part, source) for part in told.parts))
        case Not():
            return source.base - plain(told.part, source)
        case AtLeast():
            found = [plain(part, source) for part in told.parts]
            return {who for who in source.base if sum(who in one for one in found) >= told.count}
        case Saved():
            return plain(source.saved(told.audience_id, told.version), source)
        case Listed():
            return source.lists[told.list_id] & source.base
        case Frozen():
            return source.lists[told.frozen_id] & source.base
        case InSegment():
            return source.lists[told.segment_id] & source.base


BOUND = st.one_of(st.none(), st.integers(-5, 5).map(float), st.floats(-9, 9, allow_nan=False))
LEAVES = st.one_of(
    st.just(Everybody()),
    st.sampled_from([TagIs("A1"), TagIs("C3"), TagIs("B2"), TagIs("B2", ("高端",)), TagIs("B2", ("高端", "in"))]),
    st.builds(FeatureBetween, st.just("age"), BOUND, BOUND).filter(
        lambda one: one != FeatureBetween("age") and (None in (one.least, one.most) or one.least <= one.most)
    ),
    st.sampled_from([Saved("young"), Saved("young", 2), Listed("l"), Frozen("0199"), InSegment("动感地带-2")]),
)


def _grown(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=1, max_size=4).map(tuple)
    some = several.flatmap(lambda parts: st.builds(AtLeast, st.integers(1, len(parts)), st.just(parts)))
    return st.one_of(st.builds(AllOf, several), st.builds(AnyOf, several), st.builds(Not, inner), some)


EXPRESSIONS = st.recursive(LEAVES, _grown, max_leaves=10)
PEOPLE_SETS = st.lists(st.sets(st.integers(1, PEOPLE)), min_size=6, max_size=6)


@settings(max_examples=2000 if FULL else 60, deadline=None)
@given(EXPRESSIONS, PEOPLE_SETS, st.lists(st.integers(-6, 6).map(float), min_size=PEOPLE, max_size=PEOPLE))
def test_audience_algebra_equals_set_algebra(told: Expression, drawn: list[set[int]], numbers: list[float]) -> None:
    """R001-067: AND, OR, NOT, n of m, values, ranges, saved audiences and lists."""
    source = Sets(drawn, numbers)
    assert set(members(told, source)) == plain(told, source)
    assert source.everybody() == BitMap(source.base)
    assert parts(told, source)[0].customers == len(plain(told, source))


@settings(max_examples=2000 if FULL else 60, deadline=None)
@given(EXPRESSIONS)
def test_the_text_says_the_same_as_the_expression(told: Expression) -> None:
    assert parse(text(told), TAGS, NAMES) == told
    assert expression_of(to_json(told)) == told
    check(told, TAGS)


def test_audiences_that_name_others_again_and_again_are_evaluated_once_each() -> None:
    """Sixteen levels of sixty-four times the one below: 64 to the sixteenth if each were looked at each time."""
    looked = list[str]()

    class Nested(Sets):
        def saved(self, audience_id: str, version: int) -> Expression:
            looked.append(audience_id)
            below = int(audience_id[1:]) - 1
            return AnyOf(tuple(Saved(f"a{below}") for _ in range(64))) if below else TagIs("A1")

    source = Nested([{3, 4}, *(set[int]() for _ in range(5))], [])
    assert set(members(Saved("a16"), source)) == {3, 4}
    assert len(looked) == 16


def test_people_write_it_as_they_speak() -> None:
    """R001-065, R001-066: a list from the tag library without a programmer."""
    told = parse('"上班族" 且 非 (B2 = 高端 或 age BETWEEN 20 AND 30.5)', TAGS, NAMES)
    assert told == AllOf((TagIs("A1"), Not(AnyOf((TagIs("B2", ("高端",)), FeatureBetween("age", 20, 30.5))))))
    assert text(told) == "A1 AND NOT (B2 = 高端 OR age BETWEEN 20 AND 30.5)"
    assert parse("at least 2 of (A1, C3, list 'l')", TAGS, NAMES) == AtLeast(2, (TagIs("A1"), TagIs("C3"), Listed("l")))
    assert parse("“上班族”且（B2＝‘高端’或 非 AT LEAST 1 OF（A1，C3、age≥5））", TAGS, NAMES) == parse(
        "\"上班族\" 且 (B2 = '高端' 或 非 AT LEAST 1 OF (A1, C3, age >= 5))", TAGS, NAMES
    )
    assert parse("B2 != 高端", TAGS, NAMES) == AllOf((TagIs("B2"), Not(TagIs("B2", ("高端",)))))


def test_place_person_traits_and_behaviour_are_asked_for_together(catalogue: Catalogue) -> None:
    """R002-071: geography; age and sex; occupation and spending; how often and how much: in one condition."""
    words = {tag.code: frozenset({"东城", "南城", "F", "M"}) for tag in catalogue.tags}
    told = parse(
        "RG01 = 东城 AND age BETWEEN 25 AND 34 AND BK02 = F AND HU01 AND arpu_3m_avg >= 80"
        " AND call_days_1m >= 20 AND recharge_amount_90d >= 150",
        words, {},
    )  # fmt: skip
    check(told, words)
    features = [part.name for _, _, part in walk(told) if isinstance(part, FeatureBetween)]
    assert set(features) <= set(catalogue.columns)
    drawn = [set(range(0, 40, step)) for step in range(1, 8)]  # each condition holds for every n-th customer
    bits = {name: BitMap(mine) for name, mine in zip(["RG01", "BK02", "HU01", *features], drawn, strict=True)}
    source = SimpleNamespace(tag=lambda code, value: bits[code], feature=lambda name, least, most: bits[name])
    assert set(members(told, cast(Source, source))) == set.intersection(*drawn)


@pytest.mark.parametrize(
    ("told", "at", "why"),
    [
        ("A1 AND", "6", "expected a tag"),
        ("A1 C3", "3", "expected AND, OR or the end, found C3"),
        ("(A1 OR C3", "9", "expected ), found the end"),
        ("a1", "0", "did you mean A1?"),
        ("X9", "0", "no tag X9; a feature is followed by"),
        ('"闲人"', "0", "no tag named 闲人"),
        ("B2 = ", "5", "expected a value"),
        ("A1 & C3", "3", "is not understood"),
        ("age >= 1e999", "7", "too large"),
        ("LIST 'A B'", "5", "is no id"),
        ("AT LEAST 1.5 OF (A1, C3)", "9", "a whole number"),
        ("C3 OR AT LEAST 3 OF (A1, C3)", "6", "at least 3 of 2"),
        ("A1 OR B2 IN (高端, low)", "17", "B2 has no value low; it has"),
        ("A1 OR age BETWEEN 30 AND 20", "18", "nothing lies between 30 and 20"),
        ("AUDIENCE 'young' VERSION 0.5", "25", "a whole number"),
        ("AUDIENCE 'young' VERSION 99999999999", "25", "a whole number"),
        ("NOT " * 20 + "A1", "64", "deeper than 16"),
    ],
)
def test_a_wrong_text_says_where_and_why(told: str, at: str, why: str) -> None:
    with pytest.raises(AudienceInvalid) as raised:
        parse(told, TAGS, NAMES)
    assert raised.value.at == at
    assert why in raised.value.why


def test_what_cannot_be_meant_is_refused() -> None:
    for told, why in (
        (TagIs("X9"), "no tag X9"),
        (TagIs("B2", ("low",)), "B2 has no value low; it has"),
        (AtLeast(3, (TagIs("A1"),)), "at least 3 of 1"),
        (FeatureBetween("age"), "no bound"),
        (FeatureBetween("age", 30, 20), "nothing lies between 30 and 20"),
        (FeatureBetween("age", float("nan")), "is no number"),
        (FeatureBetween("age", None, float("inf")), "is no number"),
        (TagIs("A1", tuple(map(str, range(65)))), "65 values, more than 64"),
        (Saved("young", 1 << 31), "is no version"),
        (AllOf(tuple(TagIs("A1") for _ in range(256))), "more than 256"),
    ):
        with pytest.raises(AudienceInvalid, match=why):
            check(told, TAGS)
    with pytest.raises(AudienceInvalid, match="name each other"):
        members(Saved("loop"), Sets([set() for _ in range(6)], []))
    with pytest.raises(AudienceInvalid, match="name each other"):
        parts(AnyOf((TagIs("A1"), Saved("loop"))), Sets([set() for _ in range(6)], []))
    with pytest.raises(AudienceInvalid, match="keys lie between"):
        bitmap_of(np.array([0, 5]))
