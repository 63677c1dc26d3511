"""The moment engine equals the slow reference matcher, whatever happens; the named examples hold to the boundary."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.moment import (
    Absent,
    All,
    Any,
    Counted,
    Dwell,
    Engine,
    Event,
    EventMatch,
    Happened,
    Match,
    Not,
    Pattern,
    PatternInvalid,
    Rule,
    Sequence,
    Test,
    check,
    explain,
)
from services.portrait.domain.moment.codec import packed, squeezed, unpacked
from services.portrait.domain.moment.pattern import anchored, words
from tests.fixtures.counts import FULL
from tests.portrait.reference_matcher import Reference

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
EXAMPLES = 2000 if FULL else 50

VALUES = ("x", "y", "z")
MATCHES = st.builds(
    EventMatch,
    st.lists(st.sampled_from(("a.b", "c.d")), min_size=1, max_size=2, unique=True).map(tuple),
    st.one_of(
        st.just(()),
        st.lists(st.sampled_from(VALUES), min_size=1, max_size=2, unique=True).map(
            lambda values: (Test("v", "one_of", tuple(values)),)
        ),
        st.sampled_from(VALUES).map(lambda value: (Test("v", "none_of", (value,)),)),
    ),
)
SPAN = st.integers(1, 12)
KEPT = st.integers(0, 12)
LEAVES = st.one_of(
    st.builds(Happened, MATCHES, KEPT),
    st.builds(Counted, MATCHES, st.integers(2, 3), SPAN, KEPT),
    st.builds(Sequence, st.lists(MATCHES, min_size=2, max_size=3).map(tuple), SPAN, KEPT),
    st.builds(Dwell, MATCHES.filter(lambda match: bool(match.tests)), SPAN),
    st.builds(Absent, MATCHES, MATCHES, SPAN, KEPT),
)


def _grown(inner: st.SearchStrategy[Pattern]) -> st.SearchStrategy[Pattern]:
    parts = st.lists(inner, min_size=1, max_size=3).map(tuple)
    return st.one_of(st.builds(All, parts), st.builds(Any, parts), st.builds(Not, inner))


PATTERNS = st.recursive(LEAVES, _grown, max_leaves=4).filter(anchored)
RULES = st.builds(
    Rule,
    rule_id=st.sampled_from(("r1", "r2", "r3")),
    version=st.just(1),
    pattern=PATTERNS,
    cool_down=st.sampled_from((0, 0, 7)),
    lateness=st.sampled_from((0, 0, 5)),
    stale_after=st.sampled_from((15, 40)),
    publish_time=st.sampled_from((0, 0, 20)),
)
# Delays reach to 12: an event may be known after those that followed it.
ARRIVALS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(("a.b", "c.d")), st.sampled_from(VALUES), st.integers(0, 12)),
    min_size=1,
    max_size=14,
)


def arrived(drawn: list[tuple[int, str, str, int]], twice: list[int]) -> list[tuple[int, Event]]:
    """(received, event) in order of arrival; some come twice."""
    events = [Event(f"e{n}", kind, 1, time, {"v": value}) for n, (time, kind, value, _) in enumerate(drawn)]
    told = [(event.time + drawn[n][3], event) for n, event in enumerate(events)]
    told += [(told[n % len(told)][0] + 3, told[n % len(told)][1]) for n in twice]
    return sorted(told, key=lambda one: one[0])


def key(match: Match) -> tuple[str, int, int, str]:
    return match.rule_id, match.version, match.time, match.start_event_id


def assert_equal_to_the_reference(rules: list[Rule], told: list[tuple[int, Event]]) -> None:
    """The engine finds what the slow reference finds, each match once."""
    engine, reference, found = Engine(), Reference(rules), list[Match]()
    engine.set_rules(rules)
    for received, event in told:
        found += engine.apply(event, received)
        reference.apply(event, received)
    found += engine.advance(200)
    reference.advance(200)
    assert sorted(map(key, found)) == sorted(reference.delivered)
    assert len({match.match_id for match in found}) == len(found)


def one_each(rules: list[Rule]) -> list[Rule]:
    return list({rule.rule_id: rule for rule in rules}.values())


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=3).map(one_each), ARRIVALS, st.lists(st.integers(0, 20), max_size=3))
def test_the_engine_equals_the_reference_under_reorder_duplicates_and_equal_times(
    rules: list[Rule], drawn: list[tuple[int, str, str, int]], twice: list[int]
) -> None:
    """R003-022, R003-023: no more and no fewer, for every kind of rule."""
    assert_equal_to_the_reference(rules, arrived(drawn, twice))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(RULES, min_size=1, max_size=3).map(one_each),
    ARRIVALS,
    st.lists(st.integers(0, 13), min_size=1, max_size=4),
    st.integers(0, 13),
)
def test_a_crash_at_any_event_and_a_sweep_change_nothing(
    rules: list[Rule], drawn: list[tuple[int, str, str, int]], crashes: list[int], kept_at: int
) -> None:
    """After a crash the events behind the snapshot come again, and what was delivered is known."""
    told, calm, found = arrived(drawn, []), Engine(), []
    calm.set_rules(rules)
    for received, event in told:
        found += calm.apply(event, received)
    found += calm.advance(200)

    delivered: dict[str, Match] = {}
    engine, snapshot, behind = Engine(), squeezed(packed(Engine().snapshot())), 0
    engine.set_rules(rules)
    at, left = 0, list(crashes)
    while at < len(told):
        for match in engine.apply(told[at][1], told[at][0]):
            delivered.setdefault(match.match_id, match)
        at += 1
        if at == kept_at:
            engine.forget()
            snapshot, behind = squeezed(packed(engine.snapshot())), at
        if left and at >= left[0]:
            left.pop(0)
            engine = Engine()
            engine.restore(unpacked(snapshot))
            engine.set_rules(rules)
            engine.restore_matches(delivered.values())
            at = behind
    for match in engine.advance(200):
        delivered.setdefault(match.match_id, match)
    assert sorted(map(key, delivered.values())) == sorted(map(key, found))


@settings(max_examples=EXAMPLES, deadline=None)
@given(RULES, st.one_of(PATTERNS, st.none()), ARRIVALS, st.integers(0, 13), st.integers(0, 6))
def test_a_rule_published_in_mid_stream_finds_what_it_would_have_found(
    rule: Rule, other: Pattern | None, drawn: list[tuple[int, str, str, int]], after: int, pause: int
) -> None:
    """R003-026: it looks back at what it must remember, also at what came while no rule asked for it, whether its
    pattern is another one or as before; the rule before it matches up to then; no event is lost."""
    told, back = arrived(drawn, []), after + pause
    ended, begun = (told[min(at, len(told)) - 1][0] if at else 0 for at in (after, back))
    old = Rule(rule.rule_id, 1, rule.pattern, stale_after=rule.stale_after, retire_time=ended)
    new = Rule(rule.rule_id, 2, other or rule.pattern, stale_after=rule.stale_after, publish_time=begun)
    engine, reference, found = Engine(), Reference([old]), []
    engine.set_rules([old])
    for number, (received, event) in enumerate(told):
        if number == after:
            engine.set_rules([])
            reference.rules = []
        if number == back:
            wanting = engine.set_rules([new])
            for _, past in told[:back]:
                engine.remember(past, wanting)
            found += engine.reconsider([new])
            reference.rules = [new]
            reference._deliver()
        found += engine.apply(event, received)
        reference.apply(event, received)
    found += engine.advance(200)
    reference.advance(200)
    assert sorted(map(key, found)) == sorted(reference.delivered)


def test_what_came_while_no_rule_asked_for_it_is_looked_back_at() -> None:
    """R003-029: a rule taken back on Monday and published again on Wednesday knows of a search on Tuesday."""
    shopping = All((Happened(SEARCHED, 3 * DAY), Happened(SHOP)))
    search = Event("s", "behaviour.search", 7, DAY, {"keyword": "iphone6"})
    engine = Engine()
    engine.set_rules([Rule("shop", 1, shopping)])
    engine.set_rules([])
    assert not engine.apply(search, DAY)
    wanting = engine.set_rules([again := Rule("shop", 2, shopping, publish_time=2 * DAY)])
    engine.remember(search, wanting)
    assert not engine.reconsider([again])
    visit = Event("m", "behaviour.web", 7, 2 * DAY, {"channel": "mall"})
    assert [(match.version, match.start_event_id) for match in engine.apply(visit, 2 * DAY)] == [(2, "s")]


def web(time: int, page: str, event_id: str = "") -> Event:
    return Event(event_id or f"w{time}", "behaviour.web", 7, time, {"channel": "web", "page": page})


def at(time: int, place_class: str) -> Event:
    return Event(f"l{time}", "location.changed", 7, time, {"place_class": place_class})


def online(time: int) -> Event:
    return Event(f"o{time}", "internet.access", 7, time, {"host": "example.com"})


def run(pattern: Pattern, *told: Event | int, cool_down: int = 0) -> list[Match]:
    """What a rule finds in events (each known at once) and instants of the clock."""
    engine, found = Engine(), []
    engine.set_rules([Rule("named", 1, pattern, cool_down)])
    for one in told:
        found += engine.advance(one) if isinstance(one, int) else engine.apply(one, one.time)
    return found


BALANCE = EventMatch(
    ("behaviour.web",), (Test("channel", "one_of", ("web",)), Test("page", "one_of", ("fee.query", "flow.query")))
)
AIRPORT = EventMatch(("location.changed",), (Test("place_class", "starts_with", ("tra.air",)),))
MALL = EventMatch(("location.changed",), (Test("place_class", "one_of", ("biz.market.digital",)),))
ONLINE = EventMatch(("internet.access",))
SEARCHED = EventMatch(("behaviour.search",), (Test("keyword", "contains", ("iphone6",)),))
SHOP = EventMatch(("behaviour.web",), (Test("channel", "one_of", ("mall",)),))


def test_querying_fee_and_flow_in_the_web_hall_is_a_moment() -> None:
    """R003-027: the user queries fee and flow on the web hall; once per ten minutes."""
    found = run(Happened(BALANCE), web(1000, "fee.query"), web(2000, "news"), web(3000, "flow.query"))
    assert [match.start_event_id for match in found] == ["w1000", "w3000"]
    found = run(Happened(BALANCE), web(1000, "fee.query"), web(3000, "flow.query"), cool_down=10 * MINUTE)
    assert [match.start_event_id for match in found] == ["w1000"]
    both = Sequence((BALANCE, BALANCE), 10 * MINUTE)
    assert run(both, web(0, "fee.query"), web(10 * MINUTE, "flow.query"))
    assert not run(both, web(0, "fee.query"), web(10 * MINUTE + 1, "flow.query"))


@pytest.mark.parametrize("first", ["before", "after"])
def test_ten_minutes_at_the_airport_and_online_is_a_moment(first: str) -> None:
    """R003-028: 9:59 no, 10:00 yes, leaving resets; online before the ten minutes are over, or after."""
    stay = All((Dwell(AIRPORT, 10 * MINUTE), Happened(ONLINE, 30 * MINUTE)))
    net = online(5 * MINUTE if first == "before" else 12 * MINUTE)
    here = at(0, "tra.air.terminal")
    early, late = (net, 10 * MINUTE - 1) if first == "before" else (10 * MINUTE - 1, net)
    assert not run(stay, *((here, net, 10 * MINUTE - 1) if first == "before" else (here, 11 * MINUTE)))
    found = run(stay, here, early, late, 13 * MINUTE)
    due = 10 * MINUTE if first == "before" else 12 * MINUTE
    assert [(match.time, match.start_event_id) for match in found] == [(due, "l0")]


def test_leaving_the_airport_resets_the_ten_minutes() -> None:
    """R003-028: who leaves at 9:59 has not stayed, and coming back begins anew; at 10:00 he has."""
    stay = All((Dwell(AIRPORT, 10 * MINUTE), Happened(ONLINE, 30 * MINUTE)))
    here, back = at(0, "tra.air.terminal"), at(11 * MINUTE, "tra.air.terminal")
    left = at(10 * MINUTE - 1000, "res.house.community")
    assert not run(stay, here, online(MINUTE), left, back, 21 * MINUTE - 1)
    found = run(stay, here, online(MINUTE), left, back, 22 * MINUTE)
    assert [(match.time, match.start_event_id) for match in found] == [(21 * MINUTE, f"o{MINUTE}")]
    on_time = at(10 * MINUTE, "res.house.community")
    assert [match.time for match in run(stay, here, online(MINUTE), on_time, 40 * MINUTE)] == [10 * MINUTE]
    assert not run(stay, here, on_time, online(11 * MINUTE), 40 * MINUTE)


def test_who_searched_a_handset_within_days_and_now_visits_the_mall() -> None:
    """R003-029, R003-024: a search is remembered for three days, to the millisecond; both malls count."""
    shopping = All((Happened(SEARCHED, 3 * DAY), Any((Happened(SHOP), Happened(MALL)))))
    search = Event("s", "behaviour.search", 7, 0, {"keyword": "Apple iPhone6 64G"})
    visit = Event("m", "behaviour.web", 7, 3 * DAY, {"channel": "mall", "page": "home"})
    found = run(shopping, search, visit, 3 * DAY + 1)
    assert [(match.time, match.start_event_id) for match in found] == [(3 * DAY, "s")]
    assert not run(shopping, search, visit._replace(time=3 * DAY + 1))
    assert run(shopping, search, at(DAY, "biz.market.digital"))
    assert not run(shopping, search._replace(fields={"keyword": "android"}), visit)


@pytest.mark.parametrize(
    ("kind", "fields", "other", "about"),
    [
        ("internet.access", {"host": "v.example.com", "category": "video"}, {"category": "news"}, "category"),
        ("location.changed", {"lac": 9520, "cell": 7, "place_class": "tra.air.terminal"}, {"lac": 1}, "place_class"),
        ("voice.called", {"peer_class": "rival", "direction": "out", "seconds": 61}, {"peer_class": "food"},
         "peer_class"),
    ],
)  # fmt: skip
def test_going_online_moving_and_calling_are_events_with_fields_and_moments(
    kind: str, fields: dict[str, object], other: dict[str, object], about: str
) -> None:
    """R003-017, R003-018, R003-020: perceived as typed events with named fields; a rule watches for each by them."""
    pattern = Happened(EventMatch((kind,), (Test(about, "one_of", (str(fields[about]),)),)))
    check(pattern)
    event, another = Event("e", kind, 7, 5, fields), Event("o", kind, 7, 6, other)
    assert [match.start_event_id for match in run(pattern, event, another)] == ["e"]
    assert not run(pattern, event._replace(type="business.NEW"))
    assert kind in words(pattern)


def test_a_changed_handset_is_a_moment_once() -> None:
    """R003-021: the same change told by two systems, or twice by one, is one."""
    changed = EventMatch(("terminal.changed",))
    told = [Event("t1", "terminal.changed", 7, 5, {}), Event("t1", "terminal.changed", 7, 5, {})]
    again = Event("boss-9", "terminal.changed", 7, 60_000, {})
    assert len(run(Happened(changed), *told, again, cool_down=DAY)) == 1
    assert len(run(Happened(changed), *told, again._replace(time=DAY + 5), cool_down=DAY)) == 2


def test_an_area_and_a_count_and_an_absence_are_moments() -> None:
    """R003-024, R003-025: three visits within an hour; a full basket without an order for 30 minutes."""
    three = Counted(EventMatch(("behaviour.web",)), 3, HOUR)
    assert run(three, web(0, "a"), web(1, "b"), web(HOUR, "c"))
    assert not run(three, web(0, "a"), web(1, "b"), web(HOUR + 1, "c"))
    basket, order = EventMatch(("behaviour.cart",)), EventMatch(("product.ordered",))
    left = Absent(basket, order, 30 * MINUTE)
    full = Event("b", "behaviour.cart", 7, 0, {})
    assert [match.time for match in run(left, full, 31 * MINUTE)] == [30 * MINUTE]
    assert not run(left, full, Event("o", "product.ordered", 7, 30 * MINUTE, {}), HOUR)


def test_static_customers_are_matched_with_dynamic_ones() -> None:
    """R003-030, R003-031: rule AND list; the list may be replaced between two events."""
    members = {7}
    engine = Engine(lambda rule, customer: customer in members)
    engine.set_rules([Rule("r", 1, Happened(ONLINE))])
    assert engine.apply(online(1), 1)
    assert not engine.apply(online(2)._replace(customer_key=8), 2)
    members.add(8)
    assert engine.apply(online(9)._replace(customer_key=8), 9)


def test_why_it_did_not_fire_is_said_part_by_part() -> None:
    """R003-028: nine minutes inside, and never online."""
    stay = All((Dwell(AIRPORT, 10 * MINUTE), Happened(ONLINE, 30 * MINUTE)))
    engine = Engine()
    engine.set_rules([Rule("r", 1, stay)])
    engine.apply(at(0, "tra.air.terminal"), 0)
    findings = explain(engine.node("r", 1), engine.history(7), engine.numbers, 9 * MINUTE)
    assert [(line.depth, line.holds, line.because) for line in findings] == [
        (0, False, "its parts do not hold together"),
        (1, False, "inside for 9 min of 10 min"),
        (1, False, "0 such events in reach"),
    ]
    assert findings[1].text == "stay of 10 min at location.changed[place_class begins with tra.air]"


@pytest.mark.parametrize(
    ("made", "at", "why"),
    [
        (lambda: Not(Happened(ONLINE)), "pattern", "only says what must not be"),
        (lambda: All((Not(Happened(ONLINE)), Not(Happened(MALL)))), "pattern", "only says what must not be"),
        (lambda: Any((Happened(ONLINE), Dwell(ONLINE, 5))), "pattern.any_of.parts[1]", "nobody is ever outside"),
        (lambda: Sequence((ONLINE,), 5), "pattern", "two steps"),
        (lambda: All(tuple(Happened(ONLINE) for _ in range(65))), "pattern", "66 parts"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(made: Callable[[], Pattern], at: str, why: str) -> None:
    with pytest.raises(PatternInvalid, match=why) as raised:
        check(made())
    assert raised.value.at == at


@given(PATTERNS)
def test_every_pattern_can_be_said_in_words(pattern: Pattern) -> None:
    check(pattern)
    assert words(pattern)


def test_what_can_matter_no_more_is_forgotten_but_the_start_of_a_stay() -> None:
    engine = Engine()
    engine.set_rules([Rule("r", 1, Dwell(AIRPORT, 10 * MINUTE), stale_after=HOUR)])
    found: list[Match] = []
    for minute in range(0, 3000, 5):
        found += engine.apply(at(minute * MINUTE, "tra.air.terminal"), minute * MINUTE)
    assert [match.start_event_id for match in found] == ["l0"]
    engine.forget()
    assert sum(map(len, engine.history(7).values())) < 50
    engine.apply(at(3000 * MINUTE, "res.house.community"), 3000 * MINUTE)
    engine.advance(3000 * MINUTE + 2 * DAY)
    engine.forget()
    assert engine.customers == 0
