"""What each source may send: the interface specifications of the operator's systems, column by column."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.ingest.domain.editing import is_editable
from services.ingest.domain.feed import Cycle, Schedule
from tests.ingest.made import DAY, FEEDS, shipped
from tests.ingest.test_contract import judged


def test_all_behaviours_of_the_probe_are_read_and_any_other_is_rejected() -> None:
    """R001-093, R001-152, R001-153: number, time, behaviour, location area and cell of the signalling monitor."""
    assert [column.name for column in shipped("signalling").columns] == ["msisdn", "time", "behaviour", "lac", "cell"]
    rows = [f"13800000001|20260901073000|{behaviour}|40976|1\n" for behaviour in range(1, 7)]
    good, bad, _ = judged("".join(rows).encode(), shipped("signalling"), DAY, 1000)
    assert good["behaviour"].to_list() == [1, 2, 3, 4, 5]
    assert bad.rows() == [(6, "behaviour", "CODE_UNKNOWN")]


GOLDEN = {
    "signalling": (
        "13800000001|20260901073000|4|40976|1\n13800000002|20260901080000|9|40976|1\n",
        {"@number": 13800000001, "time": datetime(2026, 8, 31, 23, 30, tzinfo=UTC), "behaviour": 4,
         "cell_id": (40976 << 28) + 1, "line": 1},
        (2, "behaviour", "CODE_UNKNOWN"),
    ),
    "customers": (
        "13800000001|G1|M|1990|全球通|4G38|20200101|手机 5G|A|active\n13800000002|G1|X|1990|||20200101||A|active\n",
        {"@number": 13800000001, "org_id": "G1", "sex": "M", "birth_year": 1990, "brand": "全球通", "plan": "4G38",
         "join_date": date(2020, 1, 1), "device": "手机 5G", "level": "A", "status": "active", "line": 1},
        (2, "sex", "CODE_UNKNOWN"),
    ),
    "bills": (
        "13800000001|202608|5850|120|3|2048\n13800000002|202608|-1|120|3|2048\n",
        {"@number": 13800000001, "month": date(2026, 8, 1), "fee_fen": 5850, "voice_minutes": 120, "sms_count": 3,
         "data_mb": 2048, "line": 1},
        (2, "fee_fen", "OUT_OF_RANGE"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("feed_id", GOLDEN)
def test_time_and_place_background_and_consumption_are_processed_as_recorded(feed_id: str) -> None:
    """R001-138: what goes in, and to the field what comes out of it or is rejected."""
    rows, wanted, rejected = GOLDEN[feed_id]
    feed = shipped(feed_id)
    good, bad, _ = judged(rows.encode(feed.encoding), feed, DAY, 1000)
    assert good.to_dicts() == [wanted]
    assert bad.rows() == [rejected]


def test_the_portrait_of_vgop_is_number_month_tag_and_value() -> None:
    """R001-150, R001-151: what it made already comes as tags; bills and details are feeds of their own."""
    rows = "13800000001|202609|video.heavy|Y|0.9\n13800000002|202609|Heavy|Y|0.9\n13800000003|202609|video.heavy|Y|2\n"
    good, bad, _ = judged(rows.encode(), shipped("coarse_portrait"), DAY, 1000)
    assert good.select("month", "tag", "value", "score").rows() == [(date(2026, 9, 1), "video.heavy", "Y", 0.9)]
    assert bad.rows() == [(2, "tag", "PATTERN_WRONG"), (3, "score", "OUT_OF_RANGE")]


@pytest.mark.parametrize(
    ("system", "feeds"),
    {
        "BOSS": (
            "customers",
            "bills",
            "orders",
            "product_activity",
            "products",
            "recharges",
            "terminal_changes",
            "plans",
            "terminals",
            "agreements",
        ),
        "detail records": ("call_details", "data_details", "web_logs", "app_logs", "classed_lines"),
        "VGOP": ("coarse_portrait",),
        "customer care": ("complaints", "surveys", "consent"),
        "parameters kept by hand": ("cells", "cell_places", "places", "place_classes", "map_layers", "city_events"),
    }.items(),
)
def test_every_system_has_its_contracts(system: str, feeds: tuple[str, ...]) -> None:
    """R001-094, R001-095, R001-136, R001-144, R002-014, R002-065: purpose, legal basis, columns of each."""
    for feed_id in feeds:
        feed = shipped(feed_id)
        assert feed.purpose, system
        assert feed.legal_basis, system
        assert feed.columns, system


def test_what_is_kept_by_hand_can_be_edited_and_says_from_when_on_it_holds() -> None:
    """R001-099, R001-100, R001-137: cells and classes of places have days of validity."""
    for feed_id in ("cells", "cell_places", "places", "place_classes", "map_layers", "city_events"):
        assert is_editable(shipped(feed_id)), feed_id
    for feed_id in ("cells", "place_classes"):
        names = {column.name for column in shipped(feed_id).columns}
        assert {"valid_from", "valid_to"} <= names, feed_id
    persons = [path.stem for path in FEEDS.glob("*.yaml") if shipped(path.stem).msisdn]
    assert not any(is_editable(shipped(feed_id)) for feed_id in persons)


def test_a_feed_comes_by_the_week_or_by_the_month_as_its_contract_says() -> None:
    """R001-097, R001-102: the cycle is a word of the contract, and a file is due after its period has ended."""
    zone = ZoneInfo("Asia/Shanghai")
    weekly, monthly = (Schedule(cycle, time(9), days=2) for cycle in (Cycle.WEEKLY, Cycle.MONTHLY))
    assert weekly.due_time(DAY, zone) == datetime(2026, 9, 10, 1, tzinfo=UTC)
    assert monthly.due_time(DAY, zone) == datetime(2026, 10, 3, 1, tzinfo=UTC)
    assert Cycle.WEEKLY.after(DAY) == DAY + timedelta(days=7)
