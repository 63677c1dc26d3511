"""The city plants fraud; every planted event is caught under its pattern, and no bystander is."""

import random
from datetime import date, timedelta

import pytest

from city.fraud import plant
from services.points.domain.fraud import Fact, cases
from tests.points.made import ZONE


@pytest.mark.parametrize("seed", range(5))
def test_every_planted_pattern_is_caught_and_honest_business_is_not(seed: int) -> None:
    """R002-102."""
    people = [(13_900_000_000 + n, f"S{n % 40:03d}") for n in range(500)]
    sales, own = plant(people, date(2026, 9, 30), seed)
    voided = {sale.origin_event_id: sale.time for sale in sales if sale.type == "REFUND"}
    chance = random.Random(seed)
    start = sales[0].time.replace(day=1)
    times = [start + timedelta(minutes=chance.randrange(29 * 1440)) for _ in range(400)]
    honest = [
        Fact("boss", f"H{n}", "NEW", 15_000_000_000 + n, "P002", "宽带", f"S{n % 40:03d}", "G1", 100 + n,
             time.replace(tzinfo=ZONE), None)
        for n, time in enumerate(times)
    ]  # fmt: skip
    planted = [
        Fact("boss", s.event_id, s.type, s.msisdn, s.product_id, "流量", s.staff_id, "G1", s.amount_fen,
             s.time.replace(tzinfo=ZONE), (back := voided.get(s.event_id)) and back.replace(tzinfo=ZONE))
        for s in sales if s.type != "REFUND" and s.time.month == 9
    ]  # fmt: skip
    found = {(case.pattern, case.fact.source_event_id) for case in cases([*honest, *planted], own)}
    wanted = {(s.pattern, s.event_id) for s in sales if s.pattern}
    assert wanted <= found
    assert not {event for _, event in found} & {fact.source_event_id for fact in honest}
    assert all(case.explanation for case in cases(planted, own))
