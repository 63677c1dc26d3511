"""Domains and forgetting: whom a caller may see on the hot paths, and that who was erased is gone from all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from typing import Any

import grpc.aio
import pytest
from pyroaring import BitMap
from sqlalchemy import text

from lifecircle.portrait import v1
from services.kit.db import Database
from services.kit.domains import Directory, Known
from services.portrait.api import RIGHTS, PortraitApi, encode_contacts, encoder
from services.portrait.domain.moment import Event
from services.portrait.domain.run import KeptDay, LakeFile, Portrait, Run
from services.portrait.domain.tag import Catalogue
from services.portrait.store import Audiences, HotPortraits, Projections, Runs
from services.portrait.store.days import KeptDays
from services.portrait.store.forgetting import Forgotten
from services.portrait.store.runs import Published
from services.portrait.usecases import AudienceDesk, Indexes, Reading, WholePortraits
from services.portrait.usecases.forgetting import Forgetting
from tests.fixtures.serving import Serve, Served, refused

NOW = datetime(2026, 9, 30, tzinfo=UTC)
RUN = Run("run-d", date(2026, 9, 1), date(2026, 9, 30), 6, 1, 1, "ab" * 32)
ORGS = {1: "east", 2: "east", 3: "west", 4: "west", 5: "north", 6: "north"}
BEARERS = {
    ("@all", ""): BitMap(ORGS),
    ("@org", "east"): BitMap([1, 2]),
    ("@org", "west"): BitMap([3, 4]),
    ("@org", "north"): BitMap([5, 6]),
    ("HU01", ""): BitMap([1, 3, 5]),
}


@pytest.fixture
async def served(db: Database, serving: Serve, catalogue: Catalogue, ids: Callable[[], str]) -> AsyncIterator[Served]:
    await empty(db)
    runs, encode = Runs(), encoder(catalogue)
    async with db.begin() as tx:
        run_no = await runs.put(tx, Published(RUN, "job", "v", "d", {}), NOW)
        assert run_no is not None
        told = [(key, org, encode(Portrait(key, org, RUN.run_id, (), (), {}), ())) for key, org in ORGS.items()]
        await runs.copy_portraits(tx, run_no, told)
        await Audiences().put_bitmaps(tx, run_no, BEARERS)
        await runs.make_current(tx, run_no)
        await tx.commit()
    hot, indexes = HotPortraits(db.dedicated), Indexes(db, runs, Audiences())
    whole = WholePortraits(db, runs, hot, Projections(), encode_contacts, lambda: NOW)
    desk = AudienceDesk(db, Audiences(), indexes, catalogue, lambda: NOW, ids)
    nobody: Any = None
    reading = Reading(db, runs, whole, catalogue, lambda: NOW)
    api = PortraitApi(reading, nobody, desk, nobody, nobody, nobody, nobody, nobody, asyncio.Event())
    async with serving(
        "portrait",
        register=lambda server: v1.add_PortraitServiceServicer_to_server(api, server),
        rights=RIGHTS,
        background=[hot.run, whole.run, indexes.run],
        known=Known(Directory(parents={"east": "", "west": "", "north": ""})),
    ) as served:
        while True:
            try:
                indexes.current  # noqa: B018  # raises until the run is loaded
                break
            except Exception:
                await asyncio.sleep(0.02)
        yield served
    await empty(db)


async def empty(db: Database) -> None:
    async with db.begin() as tx:
        for table in ("erased_customer", "customer_list", "portrait", "tag_bitmap", "tag_count", "run_file",
                      "current_run", "run", "request"):  # fmt: skip
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()


@pytest.fixture
def stub(served: Served) -> Callable[[str], v1.PortraitServiceStub]:
    return lambda org: v1.PortraitServiceStub(served.channel(roles={"operator"}, subject=f"of {org}", org=org))


async def members(stub: v1.PortraitServiceStub, told: str) -> list[int]:
    request = v1.ListAudienceMembersRequest(text=told, page_size=100)
    return [each.customer_key for each in (await stub.ListAudienceMembers(request)).members]


async def test_three_users_of_three_domains_see_disjoint_rows_whose_union_is_the_whole(stub: Any) -> None:
    """R000-004: lists and counts; an audience of everybody but a tag stays within the domain."""
    for told in ("HU01", "NOT HU01", "HU01 OR NOT HU01"):
        parts = [await members(stub(org), told) for org in ("east", "west", "north")]
        assert sorted(key for part in parts for key in part) == await members(stub(""), told)
        assert [{ORGS[key] for key in part} for part in parts] == [{"east"}, {"west"}, {"north"}]
    counted = await stub("east").CountAudience(v1.CountAudienceRequest(text="HU01", sample_size=10))
    assert (counted.audience.customers, list(counted.audience.sample_customer_keys)) == (1, [1])
    profile = await stub("west").GetAudienceProfile(v1.GetAudienceProfileRequest(text="HU01"))
    assert (profile.customers, profile.base_customers) == (1, 2)


async def test_a_guessed_key_of_another_domain_is_not_found(stub: Any) -> None:
    """R000-004: GetPortrait and its batch."""
    assert (await stub("east").GetPortrait(v1.GetPortraitRequest(customer_key=1))).portrait.org_id == "east"
    assert (await stub("").GetPortrait(v1.GetPortraitRequest(customer_key=3))).portrait.org_id == "west"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub("east").GetPortrait(v1.GetPortraitRequest(customer_key=3))
    assert refused(raised.value)[:2] == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")
    batch = await stub("north").BatchGetPortraits(v1.BatchGetPortraitsRequest(customer_keys=list(ORGS)))
    assert [each.customer_key for each in batch.portraits] == [5, 6]


async def test_an_erased_and_a_merged_customer_are_gone_from_every_answer(stub: Any, db: Database) -> None:
    """The event of an erasure or merge empties rows, bitmaps and lists; told twice it changes nothing."""
    keys = v1.UpdateCustomerListRequest(request_id="u", list_id="school", title="学校", customer_keys=[1, 2, 3])
    await stub("").UpdateCustomerList(keys)
    told = [
        (Event("erase:1", "subject.erased", 1, 0, {}), 0),
        (Event("merge:3:4", "identity.merged", 3, 0, {"into_key": "4"}), 0),
        (Event("e", "subject.moved", 5, 0, {}), 0),
    ]
    file = LakeFile("file:///nowhere", 1, "", 1)
    kept = [KeptDay(date(2026, 9, 1), bucket, "i", "r", 1, file, file) for bucket in (-1, 1, 2)]
    async with db.begin() as tx:
        await KeptDays().put(tx, kept, kept, NOW)
        await tx.commit()
    for _ in range(2):
        async with db.begin() as tx:
            await Forgetting(Forgotten(), KeptDays(), 8, lambda: NOW).take(tx, told)
            await tx.commit()
    async with db.read() as read:
        assert await read.value(text("SELECT count(*) FROM portrait")) == 4
        assert [len(await KeptDays().of_bucket(read, bucket)) for bucket in (-1, 1, 2)] == [0, 0, 1]
        listed = await Audiences().list_members(read, "school")
        run_no = await read.value(text("SELECT run_no FROM current_run"))
        stored = await Audiences().bitmaps(read, run_no)
    assert list(listed) == [2]
    assert all(not {1, 3} & set(bearers) for bearers in stored.values())
    async with asyncio.timeout(60):
        while await members(stub(""), "HU01 OR NOT HU01") != [2, 4, 5, 6]:
            await asyncio.sleep(0.05)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub("").GetPortrait(v1.GetPortraitRequest(customer_key=1))
    assert refused(raised.value)[1] == "CUSTOMER_NOT_FOUND"


def test_a_compacted_file_stands_for_all_its_deliveries() -> None:
    one = LakeFile("file:///a", 1, "", 0, date(2026, 9, 1), "d1")
    assert one.deliveries == {"d1"}
    assert LakeFile("file:///b", 2, "", 0, date(2026, 9, 1), "", ("d1", "d2")).deliveries == {"d1", "d2"}
