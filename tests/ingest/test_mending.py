"""What suppliers and operators can do: replay, upload, compress, change a contract; and what is checked on the way."""

import gzip
import io
import zipfile
from datetime import date, timedelta

import pyarrow as pa
import pytest

from services.ingest.domain.delivery import State
from services.kit.errors import Refusal
from services.kit.idempotency import RequestKey
from tests.ingest.house import House
from tests.ingest.made import FEEDS, control_of, text_of

NAME = "ORDER_20260901_001.TXT"
GOOD = [f"T{row}|139000000{row:02}|P01|open|20260901120000" for row in range(50)]
PAUSED = [f"P{row}|139000000{row:02}|P01|pause|20260901120000" for row in range(3)]


def key(number: int, method: str = "Any") -> RequestKey:
    return RequestKey("tester", method, f"request-{number}", f"fingerprint-{number}".encode())


async def test_rejected_rows_are_replayed_corrected_and_superseded_with_their_file(house: House) -> None:
    """R000-008: rejected rows are kept and come again."""
    first = await house.deliver(NAME, "\n".join([*GOOD, *PAUSED]))
    assert (first.loaded_rows, first.rejected_rows) == (50, 3)
    mended = PAUSED[0].replace("pause", "cancel").encode()
    with pytest.raises(Refusal, match="NOTHING_TO_REPLAY"):
        await house.replays.replay(first.delivery_id, [7], {}, key(1), all_=False)
    made = await house.replays.replay(first.delivery_id, [52], {51: mended}, key(2), all_=False)
    again = await house.replays.replay(first.delivery_id, [52], {51: mended}, key(2), all_=False)
    assert again.delivery_id == made.delivery_id
    await house.work()
    replay = await house.deliveries.get(made.delivery_id)
    assert (replay.state, replay.source_rows, replay.loaded_rows, replay.rejected_rows) == (State.LOADED, 2, 1, 1)
    assert (replay.replay_of, replay.sequence, replay.file_name) == (first.delivery_id, 1001, f"{NAME}.R1")
    _, rejects = await house.deliveries.rejects(first.delivery_id, after=0, size=10)
    assert [each.replay_delivery_id for each in rejects] == [made.delivery_id, made.delivery_id, ""]
    with pytest.raises(Refusal, match="NOTHING_TO_REPLAY"):
        await house.replays.replay(first.delivery_id, [], {51: mended}, key(3), all_=False)
    assert (await house.snapshot("orders")).height == 51
    await house.deliver(NAME, "\n".join(GOOD[:40]))
    assert (await house.deliveries.get(made.delivery_id)).state is State.SUPERSEDED
    assert (await house.snapshot("orders")).height == 40


async def test_rejected_rows_are_replayed_as_they_came_when_the_contract_was_corrected(house: House) -> None:
    first = await house.deliver(NAME, "\n".join([*GOOD, *PAUSED]))
    text = (FEEDS / "orders.yaml").read_text(encoding="utf-8").replace("[open, cancel]", "[open, cancel, pause]")
    await house.feeds.update("orders", text, "", key(1))
    made = await house.replays.replay(first.delivery_id, [], {}, key(2), all_=True)
    await house.work()
    replay = await house.deliveries.get(made.delivery_id)
    assert (replay.state, replay.loaded_rows, replay.rejected_rows) == (State.LOADED, 3, 0)
    assert replay.revision == first.revision + 1
    assert (await house.snapshot("orders"))["action"].to_list().count("pause") == 3


async def test_a_contract_is_in_force_from_its_day_on_and_no_revision_ever_changes(house: House) -> None:
    """Registering and changing a feed needs no deployment; each file is judged by the revision of its period."""
    old = text_of({"name": "word", "type": "string"}, rejects={"share": 1.0})
    new = text_of({"name": "word", "type": "string"}, {"name": "n", "type": "int"}, effective_from=date(2026, 9, 3))
    one = await house.feeds.update("tests", old, "", key(1))
    two = await house.feeds.update("tests", new, one.etag, key(2))
    with pytest.raises(Refusal, match="FEED_CHANGED"):
        await house.feeds.update("tests", old, one.etag, key(3))
    before = await house.deliver("TEST_20260902_001.TXT", "a\nb\n")
    after = await house.deliver("TEST_20260903_001.TXT", "a|1\nb|2\n")
    assert (before.state, before.revision, after.state, after.revision) == (State.LOADED, 1, State.LOADED, 2)
    assert (await house.feeds.get("tests", 1)).definition == old
    assert [each.revision for each in await house.feeds.revisions("tests", before=None, size=9)] == [2, 1]
    assert two.feed.effective_from == date(2026, 9, 3)


async def test_a_file_sent_by_rpc_in_parts_is_like_any_other(house: House) -> None:
    data = "\n".join(GOOD).encode()
    with pytest.raises(Refusal, match="FILE_NAME_UNKNOWN"):
        await house.uploads.create("../ORDER_20260901_001.TXT", "a", key(1, "CreateUpload"))
    made = await house.uploads.create(NAME, "a", key(2, "CreateUpload"))
    again = await house.uploads.create(NAME, "a", key(2, "CreateUpload"))
    assert again.upload_id == made.upload_id
    await house.uploads.append(made.upload_id, 0, data[:1000], "a")
    await house.uploads.append(made.upload_id, 0, data[:1000], "a")  # the answer was lost
    for offset, part in ((999, data[999:1500]), (1500, data[1500:]), (0, b"other")):
        with pytest.raises(Refusal, match="UPLOAD_OFFSET_WRONG"):
            await house.uploads.append(made.upload_id, offset, part, "a")
    with pytest.raises(Refusal, match="UPLOAD_NOT_FOUND"):
        await house.uploads.append(made.upload_id, 1000, data[1000:], "somebody else")
    assert (await house.uploads.append(made.upload_id, 1000, data[1000:], "a")).received_bytes == len(data)
    assert house.waiting() == []
    control = control_of(NAME, data)
    assert (await house.uploads.commit(made.upload_id, control, "a", key(3, "CommitUpload"))).committed
    assert (await house.uploads.commit(made.upload_id, control, "a", key(3, "CommitUpload"))).committed
    await house.settle()
    assert (await house.latest(NAME)).loaded_rows == 50
    assert not list((house.landing / ".uploads").iterdir())


async def test_an_upload_never_takes_the_place_of_a_file_that_waits_and_is_forgotten_after_a_day(house: House) -> None:
    made = await house.uploads.create(NAME, "a", key(1, "CreateUpload"))
    await house.uploads.append(made.upload_id, 0, b"x\n", "a")
    (house.landing / NAME).write_bytes(b"another one's")
    with pytest.raises(Refusal, match="FILE_WAITS"):
        await house.uploads.commit(made.upload_id, b"c", "a", key(2, "CommitUpload"))
    house.ahead = timedelta(days=1, seconds=1)
    await house.uploads.tidy()
    assert not list((house.landing / ".uploads").iterdir())
    with pytest.raises(Refusal, match="UPLOAD_NOT_FOUND"):
        await house.uploads.append(made.upload_id, 2, b"x", "a")


def zipped(data: bytes, *names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as whole:
        for name in names:
            whole.writestr(name, data)
    return made.getvalue()


def controlled(name: str, raw: bytes, content: bytes) -> bytes:
    """The control line of a compressed file: bytes and checksum as sent, rows of the content."""
    return control_of(name, raw, rows=content.count(b"\n"))


@pytest.mark.parametrize("ending", ["gz", "zst", "zip"])
async def test_a_compressed_file_is_loaded_like_a_plain_one(house: House, ending: str) -> None:
    data = "".join(f"{row}\n" for row in GOOD).encode()
    pack = {
        "gz": gzip.compress,
        "zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True),
        "zip": lambda raw: zipped(raw, "ORDER.TXT"),
    }
    raw: bytes = pack[ending](data)  # type: ignore[no-untyped-call]
    name = f"{NAME}.{ending}"
    (house.landing / "ORDER_20260901_001.CHK").write_bytes(controlled(name, raw, data))
    found = await house.deliver(name, raw, b"")
    assert (found.state, found.loaded_rows) == (State.LOADED, 50)


ZEROS = b"0" * (200 << 20)


@pytest.mark.parametrize(
    ("ending", "raw", "reason"),
    [
        ("gz", gzip.compress(ZEROS), "EXPANDS_TOO_MUCH"),
        ("zip", zipped(ZEROS, "a"), "EXPANDS_TOO_MUCH"),
        ("zst", pa.compress(ZEROS, codec="zstd", asbytes=True), "EXPANDS_TOO_MUCH"),
        ("gz", gzip.compress(b"a|b\n" * 1000)[:-20], "COMPRESSION_BROKEN"),
        ("gz", b"a|b|c|d|e\n", "COMPRESSION_BROKEN"),
        ("zst", b"a|b|c|d|e\n", "COMPRESSION_BROKEN"),
        ("zip", b"a|b|c|d|e\n", "COMPRESSION_BROKEN"),
        ("zip", zipped(b"a", "one", "two"), "COMPRESSION_BROKEN"),
    ],
    ids=["gz bomb", "zip bomb", "zst bomb", "cut", "no gz", "no zst", "no zip", "two files"],
)
async def test_a_bomb_or_a_broken_archive_is_held(house: House, ending: str, raw: bytes, reason: str) -> None:
    name = f"{NAME}.{ending}"
    (house.landing / "ORDER_20260901_001.CHK").write_bytes(control_of(name, raw))
    house.ahead = timedelta(seconds=10)
    found = await house.deliver(name, raw, b"")
    assert (found.state, [each.reason for each in found.problems]) == (State.QUARANTINED, [reason])


async def test_control_totals_are_of_the_rows_that_were_sent(house: House) -> None:
    """R000-013: control totals."""
    fields = ["file_name", "rows", "md5", "bytes", "sum:fen"]
    columns = {"name": "word", "type": "string"}, {"name": "fen", "type": "int", "most": 100}
    await house.feeds.update("tests", text_of(*columns, control={"fields": fields}), "", key(1))
    data = b"a|5\nb|-7\nc|1000\nd|2\n"  # one row is rejected, and counts
    for number, total, state in ((1, b"1000", State.LOADED), (2, b"999", State.QUARANTINED)):
        name = f"TEST_20260901_00{number}.TXT"
        found = await house.deliver(name, data, control_of(name, data).rstrip() + b"|" + total + b"\n")
        assert found.state is state
    assert [each.reason for each in found.problems] == ["CONTROL_TOTAL_WRONG"]


async def test_a_reference_must_be_known_in_the_other_feed_and_waits_for_it(house: House) -> None:
    columns = [{"name": "product_id", "type": "string", "references": "products.product_id"}]
    await house.feeds.update("tests", text_of(*columns), "", key(1))
    await house.deliver("PRODUCT_20260901_001.TXT", "P01|a||1|1||\nP02|b||1|1||\n")
    found = await house.deliver("TEST_20260901_001.TXT", "P01\nP03\nP02\nP01\n")
    assert (found.loaded_rows, found.rejected_rows) == (3, 1)
    _, rejects = await house.deliveries.rejects(found.delivery_id, after=0, size=10)
    assert [(each.line, each.reason) for each in rejects] == [(2, "REFERENCE_UNKNOWN")]


async def test_a_reference_to_a_feed_that_never_came_holds_the_file_in_the_end(house: House) -> None:
    columns = [{"name": "product_id", "type": "string", "references": "products.product_id"}]
    await house.feeds.update("tests", text_of(*columns), "", key(1))
    name = "TEST_20260901_001.TXT"
    (house.landing / name).write_bytes(b"P01\n")
    (house.landing / "TEST_20260901_001.CHK").write_bytes(control_of(name, b"P01\n"))
    await house.settle()
    assert len(house.waiting()) == 2
    house.ahead = timedelta(seconds=30)
    await house.settle()
    assert [each.reason for each in (await house.latest(name)).problems] == ["REFERENCE_NOT_LOADED"]


async def test_a_file_that_cannot_be_moved_stops_no_other(house: House) -> None:
    (house.landing / ".taken").chmod(0o700)
    blocked = "ORDER_20260901_002.TXT"
    for name in (NAME, blocked):
        data = "\n".join(GOOD if name == NAME else GOOD[:10]).encode()
        (house.landing / name).write_bytes(data)
        (house.landing / name).with_suffix(".CHK").write_bytes(control_of(name, data))
    move = house.files.take

    def take(name: str, control: str, delivery_id: str) -> None:
        if name == NAME:
            raise PermissionError(13, "not yours")
        move(name, control, delivery_id)

    house.files.take = take  # type: ignore[method-assign]
    assert await house.intake.sweep() == 1
    house.files.take = move  # type: ignore[method-assign]
    await house.work()
    assert (await house.latest(blocked)).state is State.LOADED
