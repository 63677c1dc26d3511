"""The kernel gives what the rules say, bit for bit."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.points.domain.rule_set import MOST_INT64, Hit, Row, RuleSet, Span, Table, To
from services.points.domain.rule_text import parse
from services.points.domain.scoring import Compiled, Facts
from tests.points import reference
from tests.points.made import RULES, facts, rule_sets


def kernel(rules: RuleSet, events: list[Facts]) -> list[list[tuple[str, int]]]:
    compiled = Compiled(rules)
    found: list[list[tuple[str, int]]] = [[] for _ in events]
    for given_ in compiled.score(events):
        found[given_.event].append((compiled.rules[given_.rule][1].rule_id, given_.milli_points))
    return found


def rule(number: int, **cells: frozenset[str]) -> Row:
    return Row(f"R{number}", cells, {}, number, 0, 1)


@settings(deadline=None, max_examples=60)
@given(rule_sets(), st.lists(facts(), min_size=1, max_size=12))
def test_kernel_equals_reference_bit_for_bit(rules: RuleSet, events: list[Facts]) -> None:
    assert kernel(rules, events) == [reference.score(rules, event) for event in events]


@settings(deadline=None, max_examples=25)
@given(rule_sets(most_rows=10), st.lists(facts(), min_size=1, max_size=10))
def test_one_event_scores_as_it_does_among_many(rules: RuleSet, events: list[Facts]) -> None:
    assert kernel(rules, events) == [kernel(rules, [event])[0] for event in events]


def test_a_first_table_is_left_at_its_first_match_across_words() -> None:
    rows = tuple(rule(n, type=frozenset({"NEW" if n in (3, 70, 199) else "CHURN"})) for n in range(200))
    tables = (
        Table("a", "stock", Hit.FIRST, To.STAFF, rows[:70]),
        Table("b", "stock", Hit.FIRST, To.STAFF, rows[70:]),
    )
    event = Facts("NEW", "", "", "", "", 0, 1)
    assert kernel(RuleSet("", 1, tables), [event]) == [[("R3", 3), ("R70", 70)]]
    event = Facts("CHURN", "", "", "", "", 0, 1)
    assert kernel(RuleSet("", 1, tables), [event]) == [[("R0", 0), ("R71", 71)]]


def test_a_collect_table_gives_every_match_beyond_the_first_guess_of_room() -> None:
    rows = tuple(rule(n) for n in range(300))
    rules = RuleSet("", 1, (Table("a", "stock", Hit.COLLECT, To.STAFF, rows),))
    assert kernel(rules, [Facts("NEW", "", "", "", "", 0, 1)] * 3) == [[(f"R{n}", n) for n in range(300)]] * 3


@settings(deadline=None)
@given(st.integers(-5, 25))
@example(10)
@example(20)
@example(21)
def test_both_ends_of_a_range_belong_to_it(amount: int) -> None:
    row = Row("R", {}, {"amount_fen": Span(10, 20)}, 1, 0, 1)
    rules = RuleSet("", 100, (Table("a", "stock", Hit.FIRST, To.STAFF, (row,)),))
    event = Facts("NEW", "", "", "", "", max(amount, 0), 1)
    assert bool(kernel(rules, [event])[0]) == (10 <= amount <= 20)


def test_the_largest_admissible_product_does_not_wrap() -> None:
    most = 10**12
    num = MOST_INT64 // most
    row = Row("R", {}, {}, 0, num, 10**7)
    rules = RuleSet("", most, (Table("a", "stock", Hit.FIRST, To.STAFF, (row,)),))
    event = Facts("NEW", "", "", "", "", most, 1)
    assert kernel(rules, [event]) == [[("R", most * num // 10**7)]]


def test_a_text_that_no_rule_names_matches_rows_without_that_cell() -> None:
    rules = parse(RULES)
    event = Facts("NEW", "P77", "新品类", "street", "", 100, 739_000)
    assert kernel(rules, [event]) == [[("NEW", 1014)]]
