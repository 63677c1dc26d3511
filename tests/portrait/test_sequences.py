"""A sequence whose match was delivered is not looked at until another may follow; the reference sees no difference."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.portrait.domain.moment import Engine, Event, EventMatch, Happened, Match, Rule, Sequence, Test
from services.portrait.domain.moment.codec import packed, squeezed, unpacked
from tests.fixtures.counts import FULL
from tests.portrait.test_moment import arrived, assert_equal_to_the_reference, key

EXAMPLES = 4000 if FULL else 150
# Steps overlap, and a kind may be several steps of one sequence.
STEPS = st.sampled_from(
    (
        EventMatch(("a.b",)),
        EventMatch(("c.d",)),
        EventMatch(("a.b", "c.d")),
        EventMatch(("a.b",), (Test("v", "one_of", ("x",)),)),
        EventMatch(("c.d",), (Test("v", "one_of", ("y",)),)),
    )
)
SEQUENCES = st.builds(
    Sequence, st.lists(STEPS, min_size=2, max_size=4).map(tuple), st.integers(1, 40), st.sampled_from((0, 0, 3, 12))
)
RULES = st.builds(
    Rule,
    rule_id=st.just("r"),
    version=st.just(1),
    pattern=SEQUENCES,
    cool_down=st.sampled_from((0, 0, 7)),
    stale_after=st.sampled_from((15, 60)),
    publish_time=st.sampled_from((0, 0, 20)),
)
# Few instants, so that many events are of the same; some are told as if they happened in the future.
ARRIVALS = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from(("a.b", "c.d")), st.sampled_from(("x", "y")), st.integers(-4, 12)),
    min_size=3,
    max_size=20,
)
TWICE = st.lists(st.integers(0, 20), max_size=3)


@settings(max_examples=EXAMPLES, deadline=None)
@given(RULES, ARRIVALS, TWICE)
def test_sequences_equal_the_reference(rule: Rule, drawn: list[tuple[int, str, str, int]], twice: list[int]) -> None:
    """R003-022: under reorder, duplicates, equal times and clocks that are wrong."""
    assert_equal_to_the_reference([rule], arrived(drawn, twice))


@settings(max_examples=EXAMPLES, deadline=None)
@given(RULES, SEQUENCES, ARRIVALS, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_sequences_are_as_in_a_calm_life_after_a_crash_and_in_another_version(
    rule: Rule, other: Sequence, drawn: list[tuple[int, str, str, int]], kept_at: int, crash_at: int, renewed: int
) -> None:
    """Snapshot, crash, what was delivered told again; and in mid stream another version with its own matches."""
    told = arrived(drawn, [])
    again = Rule("r", 2, other, rule.cool_down, stale_after=rule.stale_after)

    def change(engine: Engine, number: int) -> list[Match]:
        if number != renewed:
            return []
        wanting = engine.set_rules([again])
        for _, past in told[:number]:
            engine.remember(past, wanting)
        return engine.reconsider([again])

    calm, found = Engine(), list[Match]()
    calm.set_rules([rule])
    for number, (received, event) in enumerate(told):
        found += change(calm, number) + calm.apply(event, received)
    found += calm.advance(200)

    engine, delivered = Engine(), dict[str, Match]()
    engine.set_rules([rule])
    snapshot, behind, at = squeezed(packed(engine.snapshot())), 0, 0
    crashed = False
    while at < len(told):
        for match in change(engine, at) + engine.apply(told[at][1], told[at][0]):
            delivered.setdefault(match.match_id, match)
        at += 1
        if at == kept_at:
            engine.forget()
            snapshot, behind = squeezed(packed(engine.snapshot())), at
        if at == crash_at and not crashed:
            crashed, engine = True, Engine()
            engine.restore(unpacked(snapshot))
            engine.set_rules([again if behind > renewed else rule])
            engine.restore_matches(delivered.values())
            at = behind
    for match in engine.advance(200):
        delivered.setdefault(match.match_id, match)
    assert sorted(map(key, delivered.values())) == sorted(map(key, found))


def test_who_began_again_is_seen_though_his_last_match_was_told() -> None:
    """A new first event, a late one between, and the last step at the very instant of the match: each is looked at."""
    first, last = EventMatch(("a.b",)), EventMatch(("c.d",))
    engine = Engine()
    engine.set_rules([Rule("r", 1, Sequence((first, last), 60)), Rule("one", 1, Happened(last))])

    def starts(kind: str, time: int, name: str, received: int) -> list[str]:
        found = engine.apply(Event(name, kind, 7, time, {}), received)
        return [match.start_event_id for match in found if match.rule_id == "r"]

    assert starts("a.b", 10, "a1", 10) == []
    assert starts("c.d", 20, "c1", 20) == ["a1"]
    assert starts("c.d", 21, "c2", 21) == []
    assert starts("a.b", 22, "a2", 22) == []
    assert starts("c.d", 23, "c3", 23) == ["a2"]
    assert starts("a.b", 15, "a0", 24) == ["a0"]  # c1 and c2 rest on it now
    assert starts("c.d", 25, "c4", 25) == []
