"""The ledger's arithmetic: it balances, it reverses, it does not depend on who posts when."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from services.points.domain import posting
from services.points.domain.event import Event, Reason
from services.points.domain.field import Assignment
from services.points.domain.period import Period, State, period_of
from services.points.domain.posting import Employee, Origin, Reference, Rules
from services.points.domain.proof import digest
from services.points.domain.rule_set import RuleSet, checksum
from services.points.domain.rule_text import parse
from services.points.domain.scoring import Compiled
from tests.points.made import NOON, PRODUCTS, RULES, STAFF, TYPES, ZONE, event, owned, refund, rule_sets

FIELD = [
    Assignment(1, owned(7, "S1", 6000), NOON, None),
    Assignment(2, owned(7, "S2", 2500, "support"), NOON, None),
]


def reference(rules: RuleSet | None = None, ready: bool = True, effective: date = date(2026, 1, 1)) -> Reference:
    rules = rules or parse(RULES)
    return Reference(
        ready=ready,
        zone=ZONE,
        categories=PRODUCTS,
        staff={name: Employee(*values) for name, values in STAFF.items()},
        fields={7: FIELD},
        effective=[("main", effective, "v1")],
        rules={"v1": Rules("v1", checksum(rules), Compiled(rules))},
    )


def one(value: Event, known: Reference | None = None) -> posting.Outcome:
    return posting.score([value], known or reference())[0]


EVENTS = st.builds(
    event,
    st.integers(1, 10**6),
    type=st.sampled_from(TYPES),
    customer_key=st.sampled_from([0, 7, 8]),
    product_id=st.sampled_from([*PRODUCTS, ""]),
    staff_id=st.sampled_from([*STAFF, ""]),
    channel=st.sampled_from(["store", "call", ""]),
    amount_fen=st.integers(0, 10**6),
)


@settings(deadline=None, max_examples=60)
@given(rule_sets(most_rows=8), st.lists(EVENTS, min_size=1, max_size=5))
def test_double_entry_sums_to_zero(rules: RuleSet, events: list[Event]) -> None:
    for outcome in posting.score(events, reference(rules)):
        assert outcome.doubt is None
        assert sum(entry.milli_points for entry in outcome.entries) == 0
        for component in {entry.component for entry in outcome.entries}:
            assert sum(entry.milli_points for entry in outcome.entries if entry.component == component) == 0
        assert len({entry.entry_id for entry in outcome.entries}) == len(outcome.entries)


@settings(deadline=None, max_examples=60)
@given(rule_sets(most_rows=8), EVENTS)
def test_event_and_reversal_net_to_zero(rules: RuleSet, value: Event) -> None:
    given_ = one(value, reference(rules)).entries
    back = posting.refund(refund(2_000_000, 1), Origin(value.type, True, False, given_), ZONE).entries
    assert [entry.reverses_entry_id for entry in back] == [entry.entry_id for entry in given_]
    balance: dict[str, int] = {}
    for entry in [*given_, *back]:
        balance[entry.account] = balance.get(entry.account, 0) + entry.milli_points
    assert not any(balance.values())
    assert not {entry.entry_id for entry in given_} & {entry.entry_id for entry in back}


def test_owners_share_and_the_rest_is_unassigned() -> None:
    entries = one(event(type="RENEW", amount_fen=100)).entries  # 1001 + 200 // 3 = 1067
    assert [(e.account, e.milli_points, e.share_bps) for e in entries] == [
        ("staff:S1", 641, 6000), ("staff:S2", 266, 2500), ("unassigned", 160, 1500), ("budget:stock", -1067, 10000)
    ]  # fmt: skip


def test_what_nobody_made_belongs_to_unassigned() -> None:
    entries = one(event(type="UPGRADE", staff_id="")).entries
    assert [(e.account, e.milli_points) for e in entries] == [("unassigned", 700), ("budget:development", -700)]


def test_a_gift_of_zero_posts_nothing_but_is_scored() -> None:
    outcome = one(event(type="ACTIVATE", amount_fen=100))
    assert outcome.entries == []
    assert outcome.doubt is None


@given(EVENTS)
@settings(deadline=None, max_examples=30)
def test_the_same_event_gives_the_same_entries(value: Event) -> None:
    assert digest(one(value).entries) == digest(one(value).entries)
    many = posting.score([event(2_000_001), value, event(2_000_002)], reference())
    assert many[1].entries == one(value).entries


def doubt(value: Event, known: Reference | None = None) -> Reason | None:
    found = one(value, known).doubt
    return found.reason if found else None


def test_what_cannot_be_scored_waits_with_its_reason() -> None:
    assert doubt(event(product_id="P9")) is Reason.UNKNOWN_PRODUCT
    assert doubt(event(staff_id="S9")) is Reason.UNKNOWN_STAFF
    assert doubt(event(amount_fen=-1)) is Reason.NEGATIVE_AMOUNT
    assert doubt(event(amount_fen=None)) is Reason.UNREADABLE_AMOUNT
    assert doubt(event(amount_fen=1_000_001)) is Reason.AMOUNT_TOO_LARGE
    assert doubt(event(type="SOLD")) is Reason.UNKNOWN_TYPE
    assert doubt(event(occur_time=datetime(2031, 1, 1, tzinfo=ZONE))) is Reason.FUTURE_DATE
    assert doubt(event(), reference(ready=False)) is Reason.REFERENCE_MISSING
    assert doubt(event(), reference(effective=date(2026, 9, 11))) is Reason.NO_RULES_IN_FORCE


def test_an_owner_who_is_no_employee_or_shares_beyond_the_whole_keep_an_event_waiting() -> None:
    known = reference()
    strange = {7: [Assignment(1, owned(7, "S9", 10000), NOON, None)]}
    assert doubt(event(type="RENEW"), Reference(**(vars(known) | {"fields": strange}))) is Reason.UNKNOWN_STAFF
    more = {7: [*FIELD, Assignment(3, owned(7, "S3", 5000), NOON, None)]}
    assert doubt(event(type="RENEW"), Reference(**(vars(known) | {"fields": more}))) is Reason.SHARES_TOO_LARGE


def test_a_refund_needs_an_origin_that_was_scored_and_not_taken_back() -> None:
    def reason(origin: Origin | None) -> Reason | None:
        found = posting.refund(refund(2, 1), origin, ZONE).doubt
        return found.reason if found else None

    assert reason(None) is Reason.UNKNOWN_ORIGIN
    assert reason(Origin("NEW", False, False, ())) is Reason.ORIGIN_NOT_SCORED
    assert reason(Origin("NEW", True, True, ())) is Reason.ORIGIN_REFUNDED
    assert reason(Origin("REFUND", True, False, ())) is Reason.ORIGIN_IS_REFUND
    assert reason(Origin("NEW", True, False, ())) is None


def test_a_month_begins_at_midnight_of_the_business_zone() -> None:
    assert period_of(datetime(2026, 8, 31, 16, 0, tzinfo=ZoneInfo("UTC")), ZONE) == "2026-09"
    assert period_of(datetime(2026, 8, 31, 15, 59, 59, tzinfo=ZoneInfo("UTC")), ZONE) == "2026-08"
    period = Period("2026-02", State.OPEN, 0, 0, "")
    assert (period.first_date, period.last_date) == (date(2026, 2, 1), date(2026, 2, 28))
