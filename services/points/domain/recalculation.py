"""What a recalculation posts: the lines that changed are taken back, and what the rules say is given anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.points.domain.event import REFUND, Event
from services.points.domain.ledger import Entry, Place, account_of, contra_of, entry_id
from services.points.domain.month import LineKey, Wanted, Worth
from services.points.domain.posting import Rules


@dataclass(frozen=True)
class Change:
    """An event of which the ledger says something else than the rules; `lines` are what they say, of any rule."""

    key: tuple[str, str]
    period_id: str
    lines: Mapping[LineKey, Worth]

    def entries(
        self,
        event: Event,
        before: Sequence[Entry],
        origin: Sequence[Entry],
        place: Place,
        orgs: Mapping[str, str],
        rules: Mapping[str, Rules],
        run_id: str,
    ) -> list[Entry]:
        """Reversing and new entries, by rule: a rule whose lines stand as they should is left alone.

        `before` is what is posted for the event, `origin` for what it takes back.
        """
        kind = "REFUND" if event.type == REFUND else "EVENT"
        taken = {entry.reverses_entry_id for entry in before if entry.run_id}
        standing = [e for e in before if e.kind == kind and e.entry_id not in taken and not _takes_back(e, before)]
        made: list[Entry] = []
        for rule in sorted(
            {(k.rule_set_id, k.rule_id) for k in self.lines} | {(e.rule_set_id, e.rule_id) for e in standing}
        ):
            mine = [e for e in standing if (e.rule_set_id, e.rule_id) == rule]
            says = {k: w for k, w in self.lines.items() if (k.rule_set_id, k.rule_id) == rule}
            if {(e.role, e.staff_id): e.milli_points for e in mine if not e.account.startswith("budget:")} == {
                (k.role, k.staff_id): w.milli_points for k, w in says.items()
            }:
                continue
            made += [_back(e, event, place, run_id) for e in mine]
            made += _anew(event, says, origin, place, orgs, rules[rule[0]], kind, run_id) if says else []
        return made


def changes(wanted: Wanted, posted: Mapping[LineKey, int]) -> list[Change]:
    """Events with a difference: what was made first, refunds last, each by its identity."""
    by_event: dict[tuple[str, str], dict[LineKey, Worth]] = {}
    moved: set[tuple[str, str]] = set()
    for key, worth in wanted.lines.items():
        by_event.setdefault((key.source, key.source_event_id), {})[key] = worth
        if posted.get(key) != worth.milli_points:
            moved.add((key.source, key.source_event_id))
    moved |= {(key.source, key.source_event_id) for key in posted if key not in wanted.lines}
    back = {each for each in moved if any(w.milli_points < 0 for w in by_event.get(each, {}).values())}
    back |= {(k.source, k.source_event_id) for k, points in posted.items() if points < 0}
    return [Change(key, wanted.period_id, by_event.get(key, {})) for key in sorted(moved, key=lambda k: (k in back, k))]


def _takes_back(entry: Entry, before: Sequence[Entry]) -> bool:
    return bool(entry.run_id) and any(e.entry_id == entry.reverses_entry_id for e in before)


def _back(entry: Entry, event: Event, place: Place, run_id: str) -> Entry:
    own = entry_id(entry.entry_id, "taken back", run_id)
    return replace(entry, entry_id=own, milli_points=-entry.milli_points, reverses_entry_id=entry.entry_id,
                   period_id=place.period_id, run_id=run_id)  # fmt: skip


def _anew(
    event: Event, says: Mapping[LineKey, Worth], origin: Sequence[Entry], place: Place, orgs: Mapping[str, str],
    rules: Rules, kind: str, run_id: str,
) -> list[Entry]:  # fmt: skip
    rule_id = next(iter(says)).rule_id
    table, _ = rules.compiled.rule_set.find(rule_id)
    rows = [(account_of(k.staff_id), k.staff_id, k.role, w) for k, w in sorted(says.items())]
    whole = sum(w.milli_points for w in says.values())
    rows.append((contra_of(table.component), "", "", Worth(-whole, 10_000, 0)))
    taken = {e.reverses_entry_id for e in origin if e.run_id}
    given = {(e.rule_set_id, e.rule_id, e.account, e.role): e.entry_id for e in origin
             if e.kind == "EVENT" and e.entry_id not in taken and not _takes_back(e, origin)}  # fmt: skip
    return [
        Entry(
            entry_id=entry_id(*event.key, rules.sha256, rule_id, account, role, run_id),
            account=account, staff_id=staff_id, org_id=orgs.get(staff_id, ""), milli_points=worth.milli_points,
            source=event.source, source_event_id=event.source_event_id, event_id=event.event_id,
            rule_set_id=rules.rule_set_id, rule_set_sha256=rules.sha256, rule_id=rule_id, component=table.component,
            role=role, share_bps=worth.share_bps, assignment_id=worth.assignment_id,
            reverses_entry_id=given.get((rules.rule_set_id, rule_id, account, role), ""), period_id=place.period_id,
            occur_time=event.occur_time, kind=kind, accrual_id=place.accrual_id, customer_key=event.customer_key,
            business_date=place.business_date, event_type=event.type, product_id=event.product_id,
            category=place.category, channel=event.channel, customer_type=event.customer_type, run_id=run_id,
        )
        for account, staff_id, role, worth in rows
        if worth.milli_points
    ]  # fmt: skip
