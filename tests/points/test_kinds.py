"""Each kind of rule, and all of a month's business, against points counted by hand."""

from collections import Counter
from datetime import timedelta

from services.kit.db import Database
from tests.fixtures.postgres import Fresh
from tests.points.desk import Desk, forget
from tests.points.made import NOON, event, refund

KINDS = """
description: 各种规则
most_amount_fen: 1000000
tables:
  counted: {component: development, to: staff, rows: [{id: COUNT, type: [NEW], category: [宽带], fixed: 10000}]}
  by_amount: {component: development, to: staff, rows: [{id: AMOUNT, type: [NEW], category: [流量], num: 5, den: 3}]}
  scaled: {component: development, to: staff, rows: [{id: BASE, type: [UPGRADE], fixed: 2001}]}
  capped: {component: stock, to: staff, rows: [{id: EACH, type: [RENEW], fixed: 4000}]}
multipliers:
  shop: {tables: [scaled], rows: [{id: SHOP, channel: [store], bps: 12500}]}
tiers:
  - {id: THREE, component: development, of: count, type: [NEW], category: [宽带], tables: [counted],
     steps: [{from: 3, bps: 11000, fixed: 500}]}
caps:
  - {id: MONTH, component: stock, per: employee, window: month, most: 9000}
"""
BUSINESS = {"P1": "宽带", "P2": "流量", "P3": "电视", "P4": "手机", "P5": "政企ICT", "P6": "语音"}
FULL = """
description: 全业务
most_amount_fen: 1000000
tables:
  new: {component: development, to: staff, rows: [{id: NEW, type: [NEW], fixed: 1000, num: 1, den: 2}]}
  kept: {component: stock, to: staff, rows: [{id: KEPT, type: [RENEW], fixed: 700}]}
"""


async def given(desk: Desk) -> Counter[str]:
    """Milli-points of S1 by rule."""
    await desk.settle()
    sums: Counter[str] = Counter()
    for entry in (await desk.ledger()).values():
        if entry.account == "staff:S1":
            sums[entry.rule_id] += entry.milli_points
    return sums


async def test_each_kind_of_rule_gives_what_is_counted_by_hand(db: Database, database: Fresh) -> None:
    """R000-015: by count, by amount, by tier, by coefficient, up to a cap, and what a refund takes off."""
    forget(database)
    desk = Desk(db)
    await desk.learn()
    await desk.publish(KINDS)
    await desk.take(*[event(number, amount_fen=0) for number in (1, 2)])
    await desk.take(event(4, product_id="P2", amount_fen=1_001), event(5, type="UPGRADE", amount_fen=0))
    await desk.take(*[event(number, type="RENEW", amount_fen=0) for number in (6, 7, 8)])
    found = await given(desk)
    # 1,001 × 5 / 3 = 1,668.3; 2,001 × 1.25 = 2,501.25: both rounded down. Three renewals are 12,000, the cap is 9,000.
    assert found == {"COUNT": 20_000, "AMOUNT": 1_668, "BASE": 2_501, "EACH": 12_000, "MONTH": -3_000}
    await desk.take(event(3, amount_fen=0))  # the third broadband: a tenth of 30,000 on top, and 500
    found = await given(desk)
    assert (found["COUNT"], found["THREE"]) == (30_000, 3_500)
    later = NOON + timedelta(hours=1)
    await desk.take(refund(9, 4, product_id="P2", amount_fen=1_001, occur_time=later, receive_time=later))
    found = await given(desk)
    assert found["AMOUNT"] == 0
    assert sum(found.values()) == 30_000 + 3_500 + 2_501 + 9_000


async def test_a_month_of_all_business_gives_points_for_each_type(db: Database, database: Fresh) -> None:
    """R000-018: broadband, data, TV, handset, ICT, voice; new and stock; the sums by type are the ledger's."""
    forget(database)
    desk = Desk(db)
    desk.told.rows["products"] = {name: (name, name, category) for name, category in BUSINESS.items()}
    await desk.learn()
    await desk.publish(FULL)
    kinds = [(product, kind) for product in BUSINESS for kind in ("NEW", "RENEW")]
    await desk.take(
        *[event(number, product_id=product, type=kind, amount_fen=number * 100)
          for number, (product, kind) in enumerate(kinds, 1)]
    )  # fmt: skip
    await desk.settle()
    by_type: Counter[tuple[str, str]] = Counter()
    for entry in (await desk.ledger()).values():
        if entry.account.startswith("staff:"):
            by_type[kinds[int(entry.source_event_id[1:]) - 1]] += entry.milli_points
    expected = {each: 1_000 + number * 50 if each[1] == "NEW" else 700 for number, each in enumerate(kinds, 1)}
    assert by_type == expected
    assert sum(expected.values()) == (await desk.period()).milli_points
