"""From events to entries: what the kernel gives, split between those who share it; online and in bulk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from zoneinfo import ZoneInfo

from services.points.domain.batch import portion
from services.points.domain.event import REFUND, Doubt, Event, Reason, doubt_about, doubt_about_references
from services.points.domain.field import Assignment, holders
from services.points.domain.ledger import Entry, Grant, Place, posting, reversal
from services.points.domain.period import business_day, period_of
from services.points.domain.rule_set import Table, in_force
from services.points.domain.scoring import Compiled, Facts
from services.points.domain.shares import receivers


@dataclass(frozen=True, slots=True)
class Employee:
    """What scoring needs to know of an employee."""

    org_id: str
    role: str


@dataclass(frozen=True, slots=True)
class Rules:
    """A published version, ready to score."""

    rule_set_id: str
    sha256: str
    compiled: Compiled


@dataclass(frozen=True)
class Reference:
    """What is known at scoring. `ready` says that every reference feed was loaded at least once.

    `categories` by product id, `staff` by id, `fields` by subject, as known now; `effective` as in_force() takes
    it.
    """

    ready: bool
    zone: ZoneInfo
    categories: Mapping[str, str]
    staff: Mapping[str, Employee]
    fields: Mapping[int, Sequence[Assignment]]
    effective: Sequence[tuple[str, date, str]]
    rules: Mapping[str, Rules]
    posts_in: Mapping[str, str] = field(default_factory=dict)

    def place(self, event: Event) -> Place:
        """Where an event's entries stand."""
        return place_of(event, self.zone, self.posts_in, self.categories.get(event.product_id, ""))

    def role(self, staff_id: str) -> str:
        """Of an employee."""
        return self.staff[staff_id].role if staff_id in self.staff else ""


@dataclass
class Outcome:
    """What became of one event: its entries (perhaps none), or the doubt that keeps it waiting, and the facts used."""

    event: Event
    entries: list[Entry] = field(default_factory=list)
    doubt: Doubt | None = None
    category: str = ""
    staff_role: str = ""


def place_of(event: Event, zone: ZoneInfo, posts_in: Mapping[str, str], category: str = "") -> Place:
    """Where an event's entries stand: in its month or, when that is closed, in the period that `posts_in` gives."""
    month = period_of(event.occur_time, zone)
    return Place(posts_in.get(month, month), month, business_day(event.occur_time, zone), category)


def score(events: Sequence[Event], reference: Reference) -> list[Outcome]:
    """Outcomes of events that are no refunds, in the order given."""
    outcomes = [
        Outcome(event, [], None, reference.categories.get(event.product_id, ""), reference.role(event.staff_id))
        for event in events
    ]
    ready: dict[str, list[tuple[Outcome, Facts]]] = {}
    for outcome in outcomes:
        event = outcome.event
        day = business_day(event.occur_time, reference.zone)
        versions = in_force(reference.effective, day)
        outcome.doubt = _doubt(event, reference, versions)
        if outcome.doubt is None and event.amount_fen is not None:
            facts = Facts(
                event.type, event.product_id, outcome.category, event.channel, outcome.staff_role, event.amount_fen,
                day.toordinal(), event.customer_type,
            )  # fmt: skip
            for rule_set_id in versions:
                ready.setdefault(rule_set_id, []).append((outcome, facts))
    for rule_set_id, batch in ready.items():
        rules = reference.rules[rule_set_id]
        for given in rules.compiled.score([facts for _, facts in batch]):
            table, row = rules.compiled.rules[given.rule]
            _grant(batch[given.event][0], rules, table, row.rule_id, given.milli_points, reference)
    return outcomes


def refund(event: Event, origin: "Origin | None", zone: ZoneInfo, posts_in: Mapping[str, str] | None = None) -> Outcome:
    """Outcome of a REFUND: its origin's entries reversed, as a whole or by the refund's part of the amount."""
    doubt = doubt_about(event)
    if doubt is None:
        doubt = _doubt_about_origin(event, origin)
    if doubt is not None or origin is None:
        return Outcome(event, doubt=doubt)
    whole = max(1, origin.amount_fen)
    after = portion(event.amount_fen or 0, origin.amount_fen, origin.taken_fen)
    if after is None:
        left = whole - origin.taken_fen
        return Outcome(event, doubt=Doubt(Reason.REFUND_TOO_LARGE, f"only {left} fen of its origin are left to refund"))
    place = place_of(event, zone, posts_in or {})
    return Outcome(event, reversal(event, origin.entries, place, (origin.taken_fen, after, whole)))


@dataclass(frozen=True, slots=True)
class Origin:
    """The event that a refund takes back, as it stands: its entries, and how many fen were taken back before."""

    type: str
    scored: bool
    refunded: bool
    entries: Sequence[Entry]
    amount_fen: int = 0
    taken_fen: int = 0

    def after(self, refund: Event) -> "Origin":
        """As it stands when one more refund was accepted."""
        taken = portion(refund.amount_fen or 0, self.amount_fen, self.taken_fen) or self.taken_fen
        return replace(self, taken_fen=taken, refunded=taken >= max(1, self.amount_fen))


def _doubt(event: Event, reference: Reference, versions: Sequence[str]) -> Doubt | None:
    doubt = doubt_about(event)
    if doubt is not None:
        return doubt
    if not reference.ready:
        return Doubt(Reason.REFERENCE_MISSING, "organisations, staff, products or fields were not loaded yet")
    if not versions:
        day = business_day(event.occur_time, reference.zone)
        return Doubt(Reason.NO_RULES_IN_FORCE, f"no published rules score {day.isoformat()}")
    doubt = doubt_about_references(event, reference.categories, reference.staff)
    if doubt is not None:
        return doubt
    most = min(reference.rules[each].compiled.rule_set.most_amount_fen for each in versions)
    if event.amount_fen is not None and event.amount_fen > most:
        return Doubt(Reason.AMOUNT_TOO_LARGE, f"the amount is {event.amount_fen} fen; the rules admit {most}")
    return None


def _grant(outcome: Outcome, rules: Rules, table: Table, rule_id: str, milli_points: int, reference: Reference) -> None:
    event = outcome.event
    if outcome.doubt is not None or milli_points == 0:
        return
    held = holders(reference.fields, event.subjects, event.occur_time)
    parts = receivers(table.to, event.staff_id, held, event.occur_time, rules.compiled.rule_set)
    if parts is None:
        outcome.doubt = Doubt(Reason.SHARES_TOO_LARGE, "the shares of the customer's field exceed 10,000 then")
        outcome.entries.clear()
        return
    unknown = sorted(p.staff_id for p in parts if p.staff_id and p.staff_id not in reference.staff)
    if unknown:
        outcome.doubt = Doubt(Reason.UNKNOWN_STAFF, f"no employee has the id {unknown[0]}, an owner of the field")
        outcome.entries.clear()
        return
    grant = Grant(rules.rule_set_id, rules.sha256, rule_id, table.component, milli_points, parts)
    orgs = {part.staff_id: reference.staff[part.staff_id].org_id for part in grant.parts if part.staff_id}
    outcome.entries += posting(event, grant, reference.place(event), orgs)


def _doubt_about_origin(event: Event, origin: Origin | None) -> Doubt | None:
    if origin is None:
        named = f"the event {event.origin_event_id}" if event.origin_event_id else "no event"
        return Doubt(Reason.UNKNOWN_ORIGIN, f"it takes back {named}, which {event.source} did not tell")
    if origin.type == REFUND:
        return Doubt(Reason.ORIGIN_IS_REFUND, "it takes back a refund; tell the business again as a new event")
    if not origin.scored:
        return Doubt(Reason.ORIGIN_NOT_SCORED, f"the event {event.origin_event_id} waits in suspense itself")
    if origin.refunded:
        return Doubt(Reason.ORIGIN_REFUNDED, f"the event {event.origin_event_id} was taken back before")
    return None
