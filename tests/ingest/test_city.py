"""The synthetic city's files of every feed through the real path: what was planted is rejected, and nothing else."""

from datetime import date

import pytest

from city.generate import Order, generate
from services.ingest.domain.definition import read
from services.ingest.domain.delivery import State
from services.kit.errors import Refusal
from tests.ingest.house import House
from tests.ingest.made import FEEDS

CITY_HAS_NONE = {"feedback", "surveys", "place_fields"}
"""Feedback answers a hand-over; nobody was asked; nobody is responsible for places."""


async def test_every_feed_of_the_city_loads_and_rejects_what_was_planted(house: House) -> None:
    """R002-074, R001-094, R001-095, R001-096: each source has its contract, and a file of it loads."""
    order = Order(200, 1, 3, date(2026, 9, 1), house.landing, house.root / "truth")
    planted = {file.name: len(file.dirty) for file in generate(order, lambda stage, done, total: None)}
    await house.settle()
    later = ("CITYEVT_20260901_001", "PRODACT_20260801_001")  # these refer to places and to products
    assert house.waiting() == [f"{name}.{ending}" for name in later for ending in ("CHK", "TXT")]
    await house.settle()
    found = await house.deliveries.page(feed_id="", state=None, file_name="", before=None, size=100)
    assert {each.file_name: each.rejected_rows for each in found} == planted
    assert {each.state for each in found} == {State.LOADED}
    assert {each.feed_id for each in found} == {path.stem for path in FEEDS.glob("*.yaml")} - CITY_HAS_NONE
    assert not house.waiting()


async def test_the_other_end_of_a_call_is_a_pseudonym_that_is_the_same_for_the_same_end(house: House) -> None:
    """No number stands in the lake; two calls with one other end can still be told."""
    ends = ("13800000009", "+8613800000009", "10086", "075512345678")
    rows = [f"13800000001|2026090110000{at}|1|{end}|60|1|||0" for at, end in enumerate(ends)]
    await house.deliver("CALL_20260901_001.TXT", "\n".join(rows))
    calls = await house.snapshot("call_details")
    peers = calls["peer"].to_list()
    assert peers[0] == peers[1]
    assert len(set(peers)) == 3
    assert all(peer > 10**12 for peer in peers)
    assert calls["cell_id"].to_list() == [None] * 4


async def test_a_classed_line_has_the_pseudonym_by_which_calls_name_it(house: House) -> None:
    """R001-095, R001-144: so calls to banks or takeaways can be counted by whoever reads both feeds."""
    lines = ["95588|finance|工商银行", "4008517517|food|麦乐送", "10086|service|", "95511|bank|", "95588|health|"]
    await house.deliver("CLASSLINE_20260901_001.TXT", "\n".join(lines[:3]))
    rows = [f"13800000001|2026090110000{at}|1|{end}|60|1|||0" for at, end in enumerate(("95588", "+95588", "10086"))]
    await house.deliver("CALL_20260901_001.TXT", "\n".join(rows))
    classes = await house.snapshot("classed_lines")
    calls = await house.snapshot("call_details")
    met = calls.join(classes, on="peer", how="left", maintain_order="left")
    assert met["peer_class"].to_list() == ["finance", None, "service"]
    assert not {"95588", "4008517517"} & set(map(str, classes["peer"].to_list()))
    await house.deliver("CLASSLINE_20261001_001.TXT", "\n".join(lines))
    rejected = await house.rows("SELECT line, reason FROM reject ORDER BY line")
    assert rejected == [(4, "CODE_UNKNOWN"), (5, "DUPLICATE")]


async def test_a_customer_is_told_where_he_is_the_other_end_of_a_call(house: House) -> None:
    """R002-037: the feed of customers says by which pseudonym others name his number, and says no number."""
    rows = [f"{who}|G1|M|1990|A|B|20200101|X|A|active" for who in ("13800000001", "13800000009")]
    await house.deliver("CUST_20260901_001.TXT", "\n".join(rows))
    ends = ("13800000009", "008613800000009", "10086")
    calls = [f"13800000001|2026090110000{at}|1|{end}|60|1|||0" for at, end in enumerate(ends)]
    await house.deliver("CALL_20260901_001.TXT", "\n".join(calls))
    party = dict((await house.snapshot("customers")).select("party", "customer_key").iter_rows())
    told = (await house.snapshot("call_details")).sort("start_time")
    assert told["customer_key"].to_list() == [1, 1, 1]
    assert [party.get(peer) for peer in told["peer"].to_list()] == [2, 2, None]
    with pytest.raises(Refusal, match="party is a name of the platform"):
        read((FEEDS / "customers.yaml").read_text().replace("name: brand,", "name: party,"))


async def test_rows_of_nobody_are_in_the_lake_too(house: House) -> None:
    """A visitor who was not signed in has no customer key; his rows are counted and kept like all others."""
    rows = [f"{who}|20260901100000|app|view|home|||s|1" for who in ("13800000001", "", "13800000002", "")]
    found = await house.deliver("APPLOG_20260901_001.TXT", "\n".join(rows))
    assert found.loaded_rows == 4
    assert (await house.snapshot("app_logs"))["customer_key"].null_count() == 2
