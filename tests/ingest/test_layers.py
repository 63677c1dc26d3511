"""The layers: landed rows beside conformed ones, lineage, leases, roll-off, small files put together."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc.aio
import polars as pl
import pytest
from google.protobuf.duration_pb2 import Duration
from google.type.date_pb2 import Date
from sqlalchemy import text

from lifecircle.ingest import v1
from services.ingest.usecases import upkeep
from services.kit import jobs
from tests.fixtures.serving import refused
from tests.ingest.house import House
from tests.ingest.test_api import event_of, read, served, stub
from tests.ingest.test_privacy import numbers, signals

__all__ = ["served", "stub"]

ORDERS = "O1|13800000001|P01|open|20260901120000\nO2|13899999999|P0X\nO3|+8613800000002|P02|cancel|nonsense\n"


def day(number: int) -> Date:
    return Date(year=2026, month=9, day=number)


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


async def keep(house: House, kind: str) -> jobs.Job:
    """One job of upkeep, done."""
    async with house.db.begin() as tx:
        job_id = house.ids()
        await jobs.create(tx, job_id=job_id, kind=kind, key=job_id, spec={}, now=house.clock())
        await tx.commit()
    await house.work()
    async with house.db.read() as read:
        return await jobs.get(read, job_id)


async def frames(stub: v1.IngestServiceStub, feed_id: str, layer: Any) -> list[pl.DataFrame]:
    found = await stub.GetSnapshot(v1.GetSnapshotRequest(feed_id=feed_id, layer=layer))
    paths = [path_of(file.uri) for file in found.files]
    for path, file in zip(paths, found.files, strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    return [pl.read_parquet(path, hive_partitioning=False) for path in paths]


async def test_the_track_has_each_position_once_however_often_its_file_comes(
    stub: v1.IngestServiceStub, house: House
) -> None:
    """R001-103: rows of the conformed layer = positions that were seen, each with the place and class of its cell."""
    first = [f"1380000000{who}|20260901{hour:02d}0000|4|40976|{cell}\n" for who, hour, cell in POSITIONS[:5]]
    second = [f"1380000000{who}|20260901{hour:02d}0000|5|40976|{cell}\n" for who, hour, cell in POSITIONS[5:]]
    await house.deliver("PLACE_20260901_001.TXT", "PL1|Home|res.house|A|113.7|23\nPL2|Work|work.office|A|113.8|23\n")
    await house.deliver("CELLPLACE_20260901_001.TXT", "40976|1|PL1|1\n40976|2|PL2|1\n")
    await house.deliver("SIGNAL_20260901_001.TXT", "".join(first))
    await house.deliver("SIGNAL_20260901_002.TXT", "".join(second[:2]))
    await house.deliver("SIGNAL_20260901_001.TXT", "".join(first))  # the same file again
    await house.deliver("SIGNAL_20260901_002.TXT", "".join(second))  # a correction takes the place of the earlier one
    track = pl.concat(await frames(stub, "signalling", v1.LAYER_CONFORMED))
    assert track.height == track.n_unique(["customer_key", "time", "cell_id"]) == len(POSITIONS)
    (cells,), (places,) = [await frames(stub, feed, v1.LAYER_CONFORMED) for feed in ("cell_places", "places")]
    cells, places = cells.drop("line"), places.drop("line")
    mapped = track.join(cells, on="cell_id", how="left").join(places, on="place_id", how="left")
    assert mapped.height == track.height
    assert mapped.group_by("class_code").len().sort("class_code").rows() == [
        (None, 1),
        ("res.house", 5),
        ("work.office", 4),
    ]


POSITIONS = (
    (1, 7, 1),
    (1, 9, 2),
    (1, 19, 1),
    (2, 7, 1),
    (2, 9, 2),
    (1, 8, 3),
    (1, 10, 2),
    (2, 18, 2),
    (2, 20, 1),
    (3, 7, 1),
)
"""Customer, hour and cell; nothing stands at the third cell."""


async def test_rows_land_as_they_came_with_keys_in_the_place_of_numbers(
    stub: v1.IngestServiceStub, house: House
) -> None:
    made = ORDERS + "".join(f"G{at}|13800000001|P01|open|20260901120000\n" for at in range(50))
    delivery = await house.deliver("ORDER_20260901_001.TXT", made)
    assert (delivery.loaded_rows, delivery.rejected_rows) == (51, 2)
    assert not await frames(stub, "orders", v1.LAYER_LANDED)
    await house.land()
    (landed,) = await frames(stub, "orders", v1.LAYER_LANDED)
    assert landed.columns == ["customer_key", "order_id", "product_id", "action", "time", "line"]
    assert landed.head(2).rows() == [
        (1, "O1", "P01", "open", "20260901120000", 1),
        (None, "O3", "P02", "cancel", "nonsense", 3),  # rejected: it has no key, and it is here as it came
    ]
    (conformed,) = await frames(stub, "orders", v1.LAYER_CONFORMED)
    assert conformed["line"].to_list() == [1, *range(4, 54)]


async def test_a_conformed_row_leads_back_to_its_delivery_file_and_line(
    stub: v1.IngestServiceStub, house: House
) -> None:
    """R000-020: through the layers, down to the line of the operator's file."""
    first = await house.deliver("SIGNAL_20260901_001.TXT", signals(*numbers(6)))
    second = await house.deliver("SIGNAL_20260901_002.TXT", signals(*numbers(6, first=3)))
    await house.land()

    async def lineage(line: int, key: int = 0) -> list[tuple[str, str, int]]:
        request = v1.GetLineageRequest(feed_id="signalling", period=day(1), line=line, customer_key=key)
        found = (await stub.GetLineage(request)).origins
        for each in found:
            assert pl.read_parquet(path_of(each.uri)).filter(pl.col("line") == line).height == 1
            assert pl.read_parquet(path_of(each.landed_uri)).filter(pl.col("line") == line).height == 1
        return [(each.delivery.delivery_id, each.delivery.file_name, each.customer_key) for each in found]

    one, two = (first.delivery_id, first.file_name), (second.delivery_id, second.file_name)
    assert await lineage(4) == [(*one, 4), (*two, 7)]
    assert await lineage(4, key=7) == [(*two, 7)]
    assert (await keep(house, upkeep.COMPACT)).counts["made"] > 0
    assert await lineage_key(stub, 4, 7) == [second.delivery_id]
    assert await lineage_key(stub, 4, 4) == [first.delivery_id]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await lineage(99)
    assert refused(error.value)[:2] == ("NOT_FOUND", "ROW_NOT_FOUND")


async def lineage_key(stub: v1.IngestServiceStub, line: int, key: int) -> list[str]:
    request = v1.GetLineageRequest(feed_id="signalling", period=day(1), line=line, customer_key=key)
    return [each.delivery.delivery_id for each in (await stub.GetLineage(request)).origins]


async def test_small_files_become_one_and_no_reader_loses_a_file(stub: v1.IngestServiceStub, house: House) -> None:
    for sequence in range(1, 5):
        await house.deliver(f"SIGNAL_20260901_{sequence:03d}.TXT", signals(*numbers(12)))
    leased = await stub.GetSnapshot(v1.GetSnapshotRequest(feed_id="signalling", lease=Duration(seconds=60)))
    before = sorted(row for frame in await frames(stub, "signalling", v1.LAYER_CONFORMED) for row in frame.rows())
    done = await keep(house, upkeep.COMPACT)
    assert (done.counts["files"], done.counts["made"]) == (16, 4)
    after = await frames(stub, "signalling", v1.LAYER_CONFORMED)
    assert len(after) == 4
    assert sorted(row for frame in after for row in frame.rows()) == before
    names = (await stub.GetSnapshot(v1.GetSnapshotRequest(feed_id="signalling"))).files
    assert all(len(file.delivery_ids) == 4 for file in names)
    await keep(house, upkeep.ROLL_OFF)
    assert all(path_of(file.uri).exists() for file in leased.files)
    await stub.ReleaseSnapshot(v1.ReleaseSnapshotRequest(lease_id=leased.lease_id))
    await keep(house, upkeep.ROLL_OFF)
    assert not any(path_of(file.uri).exists() for file in leased.files)
    assert (await keep(house, upkeep.COMPACT)).counts["made"] == 0


async def test_a_correction_of_a_compacted_delivery_takes_its_place_alone(
    stub: v1.IngestServiceStub, house: House
) -> None:
    for sequence in range(1, 4):
        await house.deliver(f"SIGNAL_20260901_{sequence:03d}.TXT", signals(*numbers(8)))
    await keep(house, upkeep.COMPACT)
    corrected = await house.deliver("SIGNAL_20260901_002.TXT", signals(*numbers(3)))
    assert corrected.state.value == "LOADED"
    rows = [row for frame in await frames(stub, "signalling", v1.LAYER_CONFORMED) for row in frame.rows()]
    assert len(rows) == 8 + 3 + 8


async def test_what_is_older_than_its_contract_allows_is_rolled_off(stub: v1.IngestServiceStub, house: House) -> None:
    """R001-104: by whole periods, in the lake and in what is landed."""
    await house.deliver("SIGNAL_20260901_001.TXT", signals(*numbers(8)))
    await house.land()
    days = await retention(stub)
    house.ahead = datetime(2026, 9, 1, 12, tzinfo=UTC) + timedelta(days=days) - datetime.now(UTC)
    assert (await keep(house, upkeep.ROLL_OFF)).counts["files"] == 0
    house.ahead += timedelta(days=1)
    assert (await keep(house, upkeep.ROLL_OFF)).counts["files"] == 5
    await keep(house, upkeep.ROLL_OFF)
    assert not await frames(stub, "signalling", v1.LAYER_CONFORMED)
    assert not list((house.root / "lake").rglob("*.parquet"))


async def retention(stub: v1.IngestServiceStub) -> int:
    """A contract of 30 days for signalling."""
    feed = (await stub.GetFeed(v1.GetFeedRequest(feed_id="signalling"))).feed
    if "retention" not in feed.definition:
        feed.definition += "\nretention: {days: 30}\n"
        await stub.UpdateFeed(v1.UpdateFeedRequest(feed=feed, request_id="retention"))
        return 30
    return int(feed.definition.split("retention:")[1].split("days:")[1].split("}")[0].split(",")[0])


async def test_months_of_the_log_go_when_every_follower_has_passed_them(
    stub: v1.IngestServiceStub, house: House
) -> None:
    house.ahead = datetime(2027, 1, 15, tzinfo=UTC) - datetime.now(UTC)
    await keep(house, upkeep.ROLL_OFF)
    for number in range(3):
        await stub.PublishEvent(v1.PublishEventRequest(event=event_of(source_event_id=f"E{number}")))
    (seen,) = await read(stub.WatchEvents(v1.WatchEventsRequest(batch_size=2)), 1)
    (rest,) = await read(stub.WatchEvents(v1.WatchEventsRequest(batch_size=2, cursor=seen.cursor)), 1)
    house.ahead += timedelta(days=440)
    async with house.db.begin() as tx:
        await house.layer_store.seen(tx, "tests", "slow", (1, 1), house.clock())
        await tx.commit()
    await keep(house, upkeep.ROLL_OFF)
    assert await house.value("SELECT count(*) FROM event") == 3  # somebody has not seen them yet
    async with house.db.begin() as tx:
        await house.layer_store.seen(tx, "tests", "slow", (1 << 50, 1), house.clock())
        await tx.execute(text("DELETE FROM event_follower WHERE stream <> 'slow'"))
        await tx.commit()
    await keep(house, upkeep.ROLL_OFF)
    assert await house.value("SELECT count(*) FROM event") == 0
    (none,) = await read(stub.WatchEvents(v1.WatchEventsRequest(cursor=rest.cursor)), 1)
    assert not none.HasField("event")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.WatchEvents(v1.WatchEventsRequest(cursor=seen.cursor)).read()
    assert refused(error.value)[:2] == ("FAILED_PRECONDITION", "CURSOR_EXPIRED")
    again = await stub.PublishEvent(v1.PublishEventRequest(event=event_of(source_event_id="E0")))
    assert again.duplicate  # the log forgets, the keys do not
