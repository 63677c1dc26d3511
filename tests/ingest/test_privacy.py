"""Persons: rotated keys, recycled numbers, merged keys, the audit, and who is erased is found nowhere."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import polars as pl
import pytest

from lifecircle.ingest import v1
from services.ingest.domain.identity import VaultKeys
from services.ingest.store.identities import Identities
from services.ingest.usecases.identities import ROTATE
from services.kit import jobs
from services.kit.db import Database
from tests.fixtures.serving import refused
from tests.ingest.house import KEYS, House
from tests.ingest.test_api import event_of, privacy, read, served, stub

__all__ = ["privacy", "served", "stub"]

NEWER = VaultKeys(2, b"T" * 32, b"V" * 32, earlier=(KEYS,))
MARKED = "13800000007"


def signals(*numbers: str, day: int = 1) -> str:
    return "".join(f"{number}|202609{day:02d}{hour:02d}0000|4|40976|1\n" for hour, number in enumerate(numbers))


def numbers(count: int, first: int = 0) -> list[str]:
    return [f"1380000{number:04d}" for number in range(first, first + count)]


async def resolved(privacy: v1.IngestServiceStub, *asked: str) -> list[int]:
    request = v1.ResolveIdentitiesRequest(msisdns=asked, purpose="tests of the vault")
    return list((await privacy.ResolveIdentities(request)).customer_keys)


async def revealed(privacy: v1.IngestServiceStub, *keys: int) -> dict[int, str]:
    request = v1.RevealIdentitiesRequest(customer_keys=keys, purpose="tests of the vault")
    return {
        each.customer_key: each.msisdn async for part in privacy.RevealIdentities(request) for each in part.identities
    }


async def test_while_the_vault_is_rotated_tokens_of_both_versions_lead_to_the_same_customers(
    db: Database, house: House, tmp_path: Path
) -> None:
    await house.deliver("SIGNAL_20260901_001.TXT", signals(*numbers(9)))
    new = House(db, tmp_path, keys=NEWER)
    assert await new.identities.resolve(numbers(3), purpose="t", caller="t") == [1, 2, 3]
    await new.deliver("SIGNAL_20260902_001.TXT", signals(*numbers(12), day=2))  # three are new, under the newer keys
    assert await house.rows("SELECT key_version, count(*) FROM vault GROUP BY 1 ORDER BY 1") == [(1, 9), (2, 3)]
    async with db.begin() as tx:
        part = await Identities().under(tx, 2, 4)  # the job died after its first part
        await Identities().put_under(tx, new.identities._anew(part), 2)
        await tx.commit()
    assert await new.identities.resolve(numbers(12), purpose="t", caller="t") == list(range(1, 13))
    async with db.begin() as tx:
        await jobs.create(tx, job_id="r", kind=ROTATE, key="r", spec={}, now=house.clock())
        await tx.commit()
    await new.work()
    assert await house.rows("SELECT DISTINCT key_version FROM vault") == [(2,)]
    alone = House(db, tmp_path, keys=replace(NEWER, earlier=()))
    assert await alone.identities.resolve(numbers(12), purpose="t", caller="t") == list(range(1, 13))
    told = [
        pair async for part in alone.identities.reveal([1, 12], purpose="t", caller="t") for pair in part.identities
    ]
    assert told == [(1, "13800000000"), (12, "13800000011")]
    with pytest.raises(RuntimeError, match="newer keys"):
        await house.load._assign_some(["13900000001"])  # a process that was left behind gives out no second key


async def test_a_recycled_number_is_a_new_customer_and_history_stays_with_the_old(
    privacy: v1.IngestServiceStub, house: House
) -> None:
    await house.deliver("SIGNAL_20260901_001.TXT", signals(*numbers(3)))
    left = "13800000001|4419|M|1980|b|p|20200101|d|A|left\n13800000002|4419|M|1980|b|p|20200101|d|A|active\n"
    await house.deliver("CUST_20260901_001.TXT", left)
    day = datetime(2026, 9, 1, tzinfo=UTC)
    assert await house.identities.recycle(day) == 0  # he left that day, not before
    assert await house.identities.recycle(day + timedelta(days=1)) == 1
    assert await resolved(privacy, "13800000001") == [0]
    assert await revealed(privacy, 2, 3) == {3: "13800000002"}
    await house.deliver("SIGNAL_20260902_001.TXT", signals("13800000001", "13800000002", day=2))
    assert await resolved(privacy, "13800000001", "13800000002") == [4, 3]
    assert (await house.snapshot("signalling"))["customer_key"].sort().to_list() == [1, 2, 3, 3, 4]
    asked = v1.RetireIdentitiesRequest(customer_keys=[3], request_id="r")
    assert [(await privacy.RetireIdentities(asked)).retired for _ in range(2)] == [1, 1]
    assert await resolved(privacy, "13800000002") == [0]


async def test_merged_keys_are_one_person_from_then_on_and_followers_are_told(
    privacy: v1.IngestServiceStub, stub: v1.IngestServiceStub, house: House
) -> None:
    await house.deliver("SIGNAL_20260901_001.TXT", signals(*numbers(5)))

    async def merge(into: int, *keys: int) -> tuple[int, int]:
        request = v1.MergeIdentitiesRequest(
            into_key=into, customer_keys=keys, reason="same contract", request_id=f"{into}-{keys}"
        )
        answer = await privacy.MergeIdentities(request)
        assert await privacy.MergeIdentities(request) == answer
        return answer.into_key, answer.merged

    assert await merge(1, 2) == (1, 1)
    assert await merge(3, 1) == (3, 1)  # what was merged before follows
    assert await merge(2, 4) == (3, 1)  # the key that stays is that of the person
    assert await resolved(privacy, *numbers(5)) == [3, 3, 3, 3, 5]
    listed = await stub.ListMerges(v1.ListMergesRequest(page_size=2))
    rest = await stub.ListMerges(v1.ListMergesRequest(page_token=listed.next_page_token))
    assert [(each.customer_key, each.into_key) for each in (*listed.merges, *rest.merges)] == [(1, 3), (2, 3), (4, 3)]
    await house.deliver("SIGNAL_20260902_001.TXT", signals(*numbers(5), day=2))
    assert (await house.snapshot("signalling"))["customer_key"].to_list().count(3) == 1 + 4
    (seen,) = await read(stub.WatchEvents(v1.WatchEventsRequest(type_prefixes=["identity."], batch_size=9)), 1)
    assert [(each.customer_key, each.attributes["into_key"]) for each in seen.events] == [(2, "1"), (1, "3"), (4, "3")]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await merge(1, 99)
    assert refused(error.value)[:2] == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")


async def test_who_learned_what_is_listed_by_customer_and_caller(privacy: v1.IngestServiceStub, house: House) -> None:
    await house.deliver("SIGNAL_20260901_001.TXT", signals(*numbers(3)))
    await resolved(privacy, "13800000001", "13999999999")
    await revealed(privacy, 1, 2)
    first = await privacy.ListDisclosures(v1.ListDisclosuresRequest(page_size=1))
    second = await privacy.ListDisclosures(v1.ListDisclosuresRequest(page_token=first.next_page_token))
    both = [*first.disclosures, *second.disclosures]
    assert [(each.method, each.caller, each.asked, each.told) for each in both] == [
        ("RevealIdentities", "officer", 2, 2),
        ("ResolveIdentities", "officer", 2, 1),
    ]
    of_one = await privacy.ListDisclosures(v1.ListDisclosuresRequest(customer_key=1))
    assert [each.method for each in of_one.disclosures] == ["RevealIdentities"]
    assert not (await privacy.ListDisclosures(v1.ListDisclosuresRequest(caller="nobody"))).disclosures


async def test_a_person_who_was_erased_is_found_nowhere_and_the_others_are_as_before(
    privacy: v1.IngestServiceStub, stub: v1.IngestServiceStub, house: House, tmp_path: Path
) -> None:
    """R002-097: erasure."""
    await planted(house, stub)
    before = await house.snapshot("signalling")
    kept = before.filter(before["customer_key"] != 8)
    asked = v1.EraseSubjectRequest(customer_key=8, reason="request 7 of the person", request_id="r")
    erasure = (await privacy.EraseSubject(asked)).erasure
    assert (await privacy.EraseSubject(asked)).erasure.erasure_id == erasure.erasure_id
    assert not erasure.proof
    assert await resolved(privacy, MARKED) == [0]
    await house.work()
    done = (await privacy.GetErasure(v1.GetErasureRequest(erasure_id=erasure.erasure_id))).erasure
    assert {each.place: (each.looked_at > 0, each.found) for each in done.proof} == dict.fromkeys(
        ["customer", "event", "event_reject", "lake", "landed", "operator_files", "reject", "vault"], (True, 0)
    )
    removed = {each.place: each.count for each in done.removed}
    assert min(removed[place] for place in ("event", "event_reject", "lake", "landed", "operator_files", "reject")) > 0
    assert (await house.snapshot("signalling")).equals(kept)
    assert [each async for each in found_anywhere(house, tmp_path)] == []
    (seen,) = await read(stub.WatchEvents(v1.WatchEventsRequest(type_prefixes=["subject."], batch_size=9)), 1)
    assert [(each.type, each.customer_key) for each in seen.events] == [("subject.erased", 8)]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.PublishEvent(v1.PublishEventRequest(event=event_of(source_event_id="late", customer_key=8)))
    assert refused(error.value)[1] == "CUSTOMER_NOT_FOUND"
    await house.deliver("SIGNAL_20260903_001.TXT", signals(MARKED, day=3))
    assert await resolved(privacy, MARKED) == [11]  # whoever has the number now is somebody new


async def planted(house: House, stub: v1.IngestServiceStub) -> None:
    """The marked person in every place, among others."""
    await house.deliver("SIGNAL_20260901_001.TXT", signals(*numbers(10)))
    bad = f"{MARKED}|nonsense|4|40976|1\n13800000001|nonsense|4|40976|1\n"
    await house.deliver("SIGNAL_20260902_001.TXT", signals(*numbers(10), *numbers(10), day=2) + bad)
    profile = "".join(f"{number}|4419|M|1980|b|p|20200101|d|A|active\n" for number in numbers(10))
    await house.deliver("CUST_20260901_001.TXT", profile)
    orders = "".join(f"O{at}|{number}|P01|open|20260901120000\n" for at, number in enumerate(numbers(10)))
    await house.deliver("ORDER_20260901_001.TXT", orders)
    await house.land()
    events = [event_of(source_event_id=f"E{key}", customer_key=key) for key in (7, 8, 9)]
    events.append(event_of(source_event_id="bad", attributes={"to": MARKED}))
    answers = [each async for each in stub.PublishEvents(iter([v1.PublishEventsRequest(events=events)]))]
    assert (answers[0].written, answers[0].rejected) == (3, 1)
    assert len([each async for each in found_anywhere(house, house.root)]) >= 5


async def found_anywhere(house: House, root: Path) -> Any:
    """Independent of the proof: every table as text, every lake file by key, every other file by its bytes."""
    tables = await house.rows("SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                              " WHERE nspname = 'ingest' AND relkind = 'r'")  # fmt: skip
    for (table,) in tables:
        number = await house.value(f'SELECT count(*) FROM "{table}" AS t WHERE t::text LIKE :it', it=f"%{MARKED}%")
        if number:
            yield table, "number"
    for table in ("event", "customer"):
        told = "AND type <> 'subject.erased'" if table == "event" else ""
        if await house.value(f"SELECT count(*) FROM {table} WHERE customer_key = 8 {told}"):
            yield table, "key"
    sealed = [("vault", b"number", raw) for (raw,) in await house.rows("SELECT sealed FROM vault WHERE sealed <> ''")]
    for table, about, raw in sealed:
        if MARKED in KEYS.unseal(bytes(raw), about).decode():
            yield table, "sealed"
    for path in await asyncio.to_thread(lambda: [each for each in root.rglob("*") if each.is_file()]):
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
            if "customer_key" in frame.columns and (frame["customer_key"] == 8).any():
                yield path, "key"
        elif MARKED.encode() in path.read_bytes():
            yield path, "bytes"


async def test_consents_are_followed_in_the_order_in_which_they_were_given(
    stub: v1.IngestServiceStub, house: House
) -> None:
    rows = [f"13800000001|sms|marketing|{'YN'[at % 2]}|2026090110{at:02d}00\n" for at in range(6)]
    await house.deliver("CONSENT_20260901_001.TXT", "".join(rows))
    await house.deliver("CONSENT_20260902_001.TXT", "13800000001|sms|marketing|Y|20260902100000\n")
    (seen,) = await read(stub.WatchEvents(v1.WatchEventsRequest(type_prefixes=["consent."], batch_size=99)), 1)
    assert [each.attributes["granted"] for each in seen.events] == ["Y", "N", "Y", "N", "Y", "N", "Y"]


async def test_what_is_done_with_persons_stands_in_the_operation_log_without_a_number(
    privacy: v1.IngestServiceStub, house: House
) -> None:
    """Who revealed, merged, rotated or erased, in the transaction of the effect; a merge that is repeated, once."""
    await house.deliver("SIGNAL_20260901_001.TXT", signals(*numbers(3)))
    request = v1.RevealIdentitiesRequest(customer_keys=[1], purpose="call back 13800000000")
    assert [part async for part in privacy.RevealIdentities(request)]
    for _ in range(2):
        await privacy.MergeIdentities(
            v1.MergeIdentitiesRequest(into_key=1, customer_keys=[2], reason="one person", request_id="merge-1")
        )
    await privacy.RotateVaultKeys(v1.RotateVaultKeysRequest(request_id="rotate-1"))
    await privacy.EraseSubject(v1.EraseSubjectRequest(customer_key=3, reason="asked for", request_id="erase-1"))
    told = [row[0] for row in await house.rows("SELECT payload FROM outbox WHERE kind = 'operation' ORDER BY id")]
    methods = ["RevealIdentities", "MergeIdentities", "RotateVaultKeys", "EraseSubject"]
    assert [each["action"] for each in told] == [f"ingest.{method}" for method in methods]
    assert all(each["caller"] and each["target"] for each in told)
    assert told[1]["detail"] == {"asked": "1", "merged": "1"}
    assert "13800000000" not in str(told)
