"""Deliveries from the landing folder to the lake: exactly once, reconciled, held whole when they cannot be used."""

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path
from typing import cast

import polars as pl
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.ingest.domain.delivery import State
from services.ingest.domain.reconciliation import Measured
from services.ingest.lake.landing import Landing
from services.ingest.store import Deliveries, Feeds
from services.ingest.usecases import Intake, Load
from services.ingest.worker import load_deliveries
from services.kit import jobs
from services.kit.db import Database
from services.kit.ids import system_ids
from tests.ingest import reference
from tests.ingest.house import PATIENCE, House
from tests.ingest.made import DAY, ZONE, control_of, drop, shipped

NAME = "SIGNAL_20260901_001.TXT"


def signal(customer: int, minute: int, behaviour: str = "4") -> str:
    return f"138{customer:08d}|20260901{minute // 60:02d}{minute % 60:02d}00|{behaviour}|40976|{100000000 + customer}\n"


def signals(rows: int = 60, customers: int = 7) -> str:
    return "".join(signal(row % customers, row) for row in range(rows))


def orders(first: int = 0, rows: int = 20, product: str = "P01") -> str:
    return "".join(f"T{first + row:06d}|138{row:08d}|{product}|open|20260901120000\n" for row in range(rows))


async def test_what_was_sent_is_what_was_loaded_and_what_was_rejected(house: House) -> None:
    """R000-007, R001-102: with no step by hand, and every row accounted for."""
    text_of_it = signals() + "13800000001|2026|4|40976|1\n" + signal(1, 5, behaviour="9") + "13800000001|x\n"
    loaded = await house.deliver(NAME, text_of_it)
    good, bad = reference.judge(text_of_it.encode(), shipped("signalling"), DAY, ZONE)
    assert (loaded.state, loaded.source_rows, loaded.loaded_rows, loaded.rejected_rows) == (State.LOADED, 63, 60, 3)
    _, rejects = await house.deliveries.rejects(loaded.delivery_id, after=0, size=10)
    assert [(each.line, each.column, each.reason) for each in rejects] == bad
    snapshot = await house.snapshot("signalling")
    assert snapshot["line"].to_list() == [row["line"] for row in good]
    assert snapshot["time"].to_list() == [row["time"] for row in good]
    assert house.waiting() == []
    archived = house.landing / ".archive" / "signalling" / loaded.delivery_id
    assert sorted(path.name for path in archived.iterdir()) == [NAME.replace("TXT", "CHK"), NAME]


async def test_keys_are_dense_in_the_order_in_which_customers_appear_and_choose_the_bucket(house: House) -> None:
    await house.deliver(NAME, signals(rows=40, customers=9))
    snapshot = await house.snapshot("signalling")
    assert snapshot["customer_key"].to_list() == [row % 9 + 1 for row in range(40)]
    for file in (await house.deliveries.snapshot("signalling", None, None)).files:
        keys = pl.read_parquet(house.root / "lake" / file.path)["customer_key"]
        assert set(keys % 4) == {file.bucket}
    await house.deliver("SIGNAL_20260901_002.TXT", signal(3, 1) + signal(99, 2))
    assert await house.rows("SELECT min(customer_key), max(customer_key), count(*) FROM vault") == [(1, 10, 10)]


UNDECODABLE = b"".join(b"T%d|1390000000%d|P\xff\xff|open|20260901120000\n" % (row, row) for row in range(10))
WRONG = [
    ("ROW_COUNT_WRONG", orders(rows=20).encode(), {"rows": 21}),
    ("CHECKSUM_WRONG", orders(rows=20).encode(), {"md5": "0" * 32}),
    ("SIZE_WRONG", orders(rows=20).encode(), {"size": 1}),
    ("CONTROL_FILE_INVALID", orders(rows=20).encode(), {"rows": "many"}),
    ("CONTROL_FILE_INVALID", orders(rows=20).encode(), {"file_name": "ORDER_20260902_001.TXT"}),
    ("EMPTY_FILE", b"", {}),
    ("ENCODING_BROKEN", orders(rows=20).encode() + b"\0\n", {}),
    ("ENCODING_BROKEN", UNDECODABLE, {}),
    ("COLUMNS_MISSING", b"T1|13900000001|P01\n" * 9 + orders(rows=2).encode(), {}),
    ("REJECTS_OVER_THRESHOLD", orders(rows=10).replace("open", "opened").encode() + orders(rows=5).encode(), {}),
    ("LINE_TOO_LONG", b"T" * (1 << 21), {}),
]


@pytest.mark.parametrize(("reason", "data", "wrong"), WRONG, ids=[f"{at}-{each[0]}" for at, each in enumerate(WRONG)])
async def test_a_delivery_that_cannot_be_used_is_held_whole_with_its_reason_and_its_correction_loads(
    house: House, reason: str, data: bytes, wrong: dict[str, object]
) -> None:
    name = "ORDER_20260901_001.TXT"
    house.ahead = timedelta(seconds=3)  # it has settled
    held = await house.deliver(name, data, control_of(name, data, **wrong))
    assert (held.state, [problem.reason for problem in held.problems]) == (State.QUARANTINED, [reason])
    assert await house.value("SELECT count(*) FROM lake_file") == 0
    assert await house.value("SELECT count(*) FROM event") == 0
    assert sorted(path.name for path in (house.landing / ".quarantine" / held.delivery_id).iterdir()) == [
        name.replace("TXT", "CHK"),
        name,
    ]
    good = await house.deliver(name, orders(first=100))
    assert (good.state, good.loaded_rows) == (State.LOADED, 20)
    assert await house.value("SELECT count(*) FROM delivery") == 2


async def test_a_file_waits_for_its_control_file_and_no_longer_than_the_grace(house: House) -> None:
    name = "ORDER_20260901_001.TXT"
    drop(house.landing, name, orders().encode(), control=b"")
    await house.settle()
    assert house.waiting() == [name]
    house.ahead = timedelta(seconds=21)
    await house.settle()
    held = await house.latest(name)
    assert [problem.reason for problem in held.problems] == ["CONTROL_FILE_MISSING"]
    loaded = await house.deliver(name, orders())  # the very same bytes, now with their control file
    assert loaded.state is State.LOADED


async def test_a_file_that_is_still_being_written_is_left_alone(house: House) -> None:
    name, whole = "ORDER_20260901_001.TXT", orders().encode()
    drop(house.landing, name, whole[:100], control=control_of(name, whole))
    await house.settle()
    assert house.waiting() == [name.replace("TXT", "CHK"), name]
    (house.landing / name).write_bytes(whole)
    await house.settle()
    assert (await house.latest(name)).state is State.LOADED


async def test_names_that_nobody_knows_links_and_lonely_control_files_are_held_and_listed(
    house: House, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("13912345678")
    (house.landing / "ORDER_20260901_001.TXT").symlink_to(secret)
    (house.landing / "ORDER_20260901_001.CHK").write_bytes(b"x")
    (house.landing / "ORDERS 13912345678.TXT").write_bytes(b"x")
    (house.landing / "ORDER_20269901_001.TXT").write_bytes(b"x")
    (house.landing / "BILL_20260901_001.CHK").write_bytes(b"x")
    (house.landing / "ORDER_20260902_001.TXT.part").write_bytes(b"an upload under way")
    (house.landing / os_name(b"\xff\xfe.TXT")).write_bytes(b"x")
    house.ahead = timedelta(seconds=21)
    await house.settle()
    found = await house.rows("SELECT file_name, problems -> 0 ->> 'reason', sha256 = '' FROM delivery ORDER BY 1, 2")
    assert found == [
        ("BILL_20260901_001.CHK", "DATA_FILE_MISSING", False),
        ("ORDERS ***********.TXT", "NAME_UNKNOWN", False),
        ("ORDER_20260901_001.TXT", "NOT_A_FILE", True),
        ("ORDER_20269901_001.TXT", "NAME_UNKNOWN", False),
        ("\\udcff\\udcfe.TXT", "NAME_UNKNOWN", False),
    ]
    assert house.waiting() == ["ORDER_20260902_001.TXT.part"]
    assert secret.read_text() == "13912345678"


def os_name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


class Damaged(Landing):
    """A landing folder in which one file cannot be read."""

    def measure(self, name: str) -> Measured:
        if name == "CUST_20260901_001.TXT":
            raise PermissionError(name)
        return super().measure(name)


async def test_a_file_that_cannot_be_read_is_held_and_those_behind_it_are_taken(house: House) -> None:
    for name in ("CUST_20260901_001.TXT", "ORDER_20260901_001.TXT"):
        drop(house.landing, name, orders().encode())
    damaged = Damaged(house.landing)
    intake = Intake(house.db, Deliveries(), Feeds(), damaged, PATIENCE, house.clock, system_ids)
    assert await intake.sweep() == 1  # it may be given its permissions at this moment
    house.ahead = timedelta(seconds=3)
    assert await intake.sweep() == 1
    held = await house.latest("CUST_20260901_001.TXT")
    assert (held.state, [problem.reason for problem in held.problems]) == (State.QUARANTINED, ["NOT_READABLE"])
    assert house.waiting() == []
    (house.landing / "CUST_20260901_001.TXT").write_bytes(b"x")  # one of which even the control file is missing
    house.ahead = timedelta(seconds=21)
    assert await intake.sweep() == 1
    held = await house.latest("CUST_20260901_001.TXT")
    assert [problem.reason for problem in held.problems] == ["CONTROL_FILE_MISSING", "NOT_READABLE"]
    await house.work()
    assert (await house.latest("ORDER_20260901_001.TXT")).state is State.LOADED


async def test_an_archived_file_is_removed_after_its_days_and_a_held_one_is_not(house: House) -> None:
    loaded = await house.deliver(NAME, signals())
    (house.landing / "UNKNOWN.TXT").write_bytes(b"x")
    house.ahead = timedelta(days=29)
    await house.settle()
    archived = house.landing / ".archive" / "signalling" / loaded.delivery_id
    assert archived.is_dir()
    house.ahead = timedelta(days=31)
    await house.intake.tidy()
    assert not archived.exists()
    assert len(list((house.landing / ".quarantine").iterdir())) == 1
    assert (await house.snapshot("signalling")).height == 60
    assert (await house.deliver(NAME, signals())).delivery_id == loaded.delivery_id  # still known


async def test_the_owner_of_a_job_is_of_this_process_alone(house: House) -> None:
    stop, owners = asyncio.Event(), []

    class Looking:
        async def load(self, running: jobs.Running) -> None:
            owners.append(await house.value("SELECT owner FROM job"))
            async with house.db.begin() as tx:
                await running.succeed(tx)
                await tx.commit()
            stop.set()

    drop(house.landing, NAME, signals().encode())
    await house.intake.sweep()
    run = load_deliveries(house.db, cast(Load, Looking()), house.clock, lease=timedelta(seconds=15), at_once=1)
    await asyncio.wait_for(run(stop), 20)
    assert uuid.UUID(owners[0]).version == 7


async def test_the_same_file_again_changes_nothing(house: House) -> None:
    """R000-009: not the tables either."""
    first = await house.deliver(NAME, signals())
    before = await tables(house)
    for _ in range(3):
        again = await house.deliver(NAME, signals())
        assert again.delivery_id == first.delivery_id
    assert await tables(house) == before
    assert house.waiting() == []


async def test_a_correction_takes_the_place_of_what_it_corrects_and_both_are_kept(house: House) -> None:
    first = await house.deliver(NAME, signals(rows=30))
    second = await house.deliver(NAME, signals(rows=50))
    assert [(await house.deliveries.get(each.delivery_id)).state for each in (first, second)] == [
        State.SUPERSEDED,
        State.LOADED,
    ]
    assert (await house.snapshot("signalling")).height == 50
    back = await house.deliver(NAME, signals(rows=30))  # the corrected one once more: it stays corrected
    assert back.delivery_id == second.delivery_id
    assert (await house.snapshot("signalling")).height == 50
    assert await house.value("SELECT count(*) FROM lake_file") > 4


async def test_the_later_of_two_corrections_wins_whichever_is_loaded_first(house: House) -> None:
    drop(house.landing, NAME, signals(rows=30).encode())
    await house.intake.sweep()
    drop(house.landing, NAME, signals(rows=50).encode())
    await house.intake.sweep()
    async with house.db.begin() as tx:  # the second one is claimed first
        last = "(SELECT delivery_id FROM delivery ORDER BY delivery_no DESC LIMIT 1)"
        earlier = "UPDATE job SET create_time = create_time - interval '1 hour'"
        await tx.execute(text(f"{earlier} WHERE spec ->> 'delivery_id' = {last}"))
        await tx.commit()
    await house.work()
    assert await house.rows("SELECT state, loaded_rows FROM delivery ORDER BY delivery_no") == [
        ("SUPERSEDED", 30),
        ("LOADED", 50),
    ]


async def test_customers_belong_where_the_latest_profile_says(house: House) -> None:
    def profile(org: str, who: range) -> str:
        rows = (f"138{each:08d}|{org}|M|1990|全球通|4G38|20200101|手机 5G|A|active\n" for each in who)
        return "".join(rows)

    await house.deliver("CUST_20260901_001.TXT", profile("44190101", range(3)))
    await house.deliver("CUST_20261001_001.TXT", profile("44190102", range(2)))
    await house.deliver("CUST_20260901_001.TXT", profile("44190103", range(1, 4)))  # a late correction of the first
    found = await house.rows("SELECT customer_key, org_id FROM customer ORDER BY 1")
    assert found == [(1, "44190102"), (2, "44190102"), (3, "44190103"), (4, "44190103")]


async def test_rows_become_events_once_and_what_was_told_cannot_be_told_otherwise(house: House) -> None:
    await house.deliver("ORDER_20260901_001.TXT", orders(rows=12))
    again = await house.deliver("ORDER_20260901_002.TXT", orders(rows=13))
    assert again.loaded_rows == 13
    assert await house.value("SELECT count(*) FROM event") == 13
    other = await house.deliver("ORDER_20260901_003.TXT", orders(rows=3, product="P02") + orders(first=50, rows=9))
    assert (other.state, other.loaded_rows, other.rejected_rows) == (State.LOADED, 9, 3)
    _, rejects = await house.deliveries.rejects(other.delivery_id, after=0, size=10)
    assert [(each.line, each.reason) for each in rejects] == [(line, "EVENT_ID_REUSED") for line in (1, 2, 3)]
    assert (await house.snapshot("orders")).height == 12 + 13 + 9
    assert await house.rows("SELECT DISTINCT type, said::json ->> 'product_id' FROM event") == [
        ("product.ordered", "P01")
    ]


async def test_a_load_that_fails_for_good_is_held_and_may_be_sent_again(house: House) -> None:
    drop(house.landing, NAME, signals().encode())
    await house.intake.sweep()
    async with house.db.begin() as tx:
        await tx.execute(text("UPDATE job SET state = 'FAILED'"))
        await tx.commit()
    await house.intake.tidy()
    held = await house.latest(NAME)
    assert [problem.reason for problem in held.problems] == ["LOAD_FAILED"]
    assert (await house.deliver(NAME, signals())).state is State.LOADED


async def test_a_file_that_is_changed_while_it_is_read_is_held(house: House) -> None:
    drop(house.landing, NAME, signals().encode())
    await house.intake.sweep()
    taken = next((house.landing / ".taken").glob(f"*/{NAME}"))
    taken.write_text(signals(rows=61))
    await house.work()
    assert [problem.reason for problem in (await house.latest(NAME)).problems] == ["CHANGED_WHILE_READ"]


async def test_postgres_itself_refuses_a_delivery_that_does_not_reconcile(house: House, db: Database) -> None:
    await house.deliver(NAME, signals())
    with pytest.raises(IntegrityError, match="delivery_reconciles"):
        async with db.begin() as tx:
            await tx.execute(text("UPDATE delivery SET loaded_rows = loaded_rows - 1"))


async def test_no_clear_number_stands_in_any_table_nor_in_any_file_of_the_lake(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = signals() + signal(1, 3, behaviour="13800000001") + "13800000001|13800000001\n13800000001\n"
    await house.deliver(NAME, rows)
    await house.deliver("ORDER_20260901_001.TXT", orders())
    note = "F1|20260901120000|responded|Y||请回电13800000003\n"
    await house.deliver("FEEDBACK_20260901_001.TXT", note.encode("gb18030"))
    places = "P1|13800000004 x|food|13800000004|113.7|23.0\n"
    await house.deliver("PLACE_20260901_001.TXT", places)
    told = "E1|20260901120000|NEW|13800000001|P01|13800000005|tel 13800000005|1|13800000005\n"
    assert (await house.deliver("BIZEVT_20260901_001.TXT", told)).loaded_rows == 1
    (house.landing / "13800000006.xls").write_bytes(b"x")
    house.ahead = timedelta(seconds=21)
    await house.settle()
    for name, content in (await tables(house)).items():
        assert "1380000000" not in content, name
        assert b"1380000000".hex() not in content, name  # as bytea would show it
    for path in (house.root / "lake").rglob("*.parquet"):
        assert "1380000000" not in str(pl.read_parquet(path).rows()), path
    shown = capsys.readouterr()
    assert "1380000000" not in shown.out + shown.err
    numbers = [
        number
        async for part in house.identities.reveal([2, 1], purpose="tests", caller="me")
        for number in part.identities
    ]
    assert numbers == [(2, "13800000001"), (1, "13800000000")]


async def tables(house: House) -> dict[str, str]:
    """Every table of the schema as text, bytea as it would print."""
    found = await house.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'ingest'")
    return {
        name: str(await house.rows(f"SELECT encode(convert_to(t::text, 'UTF8'), 'escape') FROM {name} AS t ORDER BY 1"))
        for (name,) in found
    }


async def test_two_loads_at_once_assign_every_customer_one_key_without_a_gap(house: House) -> None:
    for number in range(1, 7):
        rows = "".join(signal(number * 50 + row, row % 1440) for row in range(150))
        drop(house.landing, f"SIGNAL_20260901_{number:03d}.TXT", rows.encode())
    await asyncio.gather(house.settle(), house.settle())
    assert await house.rows("SELECT min(customer_key), max(customer_key), count(DISTINCT token) FROM vault") == [
        (1, 400, 400)
    ]
    assert await house.value("SELECT count(*) FROM delivery WHERE state = 'LOADED'") == 6
