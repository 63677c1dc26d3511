"""The budget effect of rules that are not in force yet, on a month's real events."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from services.points.domain.month import LineKey, PeriodKey, Wanted
from services.points.domain.rule_set import COMPONENTS, RuleSet


@dataclass(frozen=True)
class Effect:
    """What a month gives now and would give then, by component, and who would gain or lose."""

    period_id: str
    sha256: str
    events: int
    components: Mapping[str, tuple[int, int]]
    most_milli_points: int
    gaining: int
    losing: int

    def value(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)


def effect_of(
    period_id: str, sha256: str, rules: RuleSet, wanted: Wanted, lines: Mapping[LineKey, int],
    period: Mapping[PeriodKey, int], most: int,
) -> Effect:  # fmt: skip
    """Compare what rules would give with what is posted. Rules that are not theirs count by their sums alone."""
    component = {row.rule_id: table.component for table in rules.tables for row in table.rows}
    component |= {each.rule_id: each.component for each in rules.tiers} | {c.rule_id: c.component for c in rules.caps}
    sums = {name: [0, 0] for name in sorted(COMPONENTS)}
    by_staff: dict[str, int] = {}
    now: list[tuple[LineKey | PeriodKey, int]] = [*lines.items(), *period.items()]
    then: list[tuple[LineKey | PeriodKey, int]] = [(k, w.milli_points) for k, w in wanted.lines.items()]
    then += list(wanted.period.items())
    for place, sign, values in ((0, -1, now), (1, 1, then)):
        for key, points in values:
            sums[component.get(key.rule_id, "development")][place] += points
            by_staff[key.staff_id] = by_staff.get(key.staff_id, 0) + sign * points
    moved = [points for name, points in by_staff.items() if name]
    return Effect(period_id, sha256, wanted.events, {name: (a, b) for name, (a, b) in sums.items()}, most,
                  sum(points > 0 for points in moved), sum(points < 0 for points in moved))  # fmt: skip
