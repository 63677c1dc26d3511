"""request_id: the same request has one effect and one answer, whoever asks, however often, also at the same time."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest
from sqlalchemy import text

from services.kit import idempotency, operations
from services.kit.db import Database
from services.kit.errors import Refusal
from services.kit.idempotency import RequestKey
from services.kit.interceptors import Caller, call
from services.kit.interceptors.call import Method

ADD = text("INSERT INTO note VALUES (:note_id, 'x')")


def a_key(request_id: str, *, caller: str = "ann", method: str = "/s/Add", fingerprint: bytes = b"body") -> RequestKey:
    return RequestKey(caller, method, request_id, fingerprint)


async def add(db: Database, key: RequestKey, note_id: int, *, fail: bool = False, hold: float = 0.0) -> int:
    """A use case as a service writes it."""
    async with db.begin() as tx:
        earlier = await idempotency.remember(tx, key)
        if earlier is not None:
            return int(earlier["note_id"])
        await tx.execute(ADD, {"note_id": note_id})
        await asyncio.sleep(hold)
        if fail:
            raise ZeroDivisionError
        await idempotency.answer(tx, key, {"note_id": note_id})
        await tx.commit()
    return note_id


async def notes(db: Database) -> list[int]:
    async with db.read() as read:
        return [row.note_id for row in await read.rows(text("SELECT note_id FROM note ORDER BY note_id"))]


@pytest.fixture(autouse=True)
async def empty(db: Database) -> None:
    async with db.begin() as tx:
        await tx.execute(text("DELETE FROM note"))
        await tx.execute(text("DELETE FROM request"))
        await tx.execute(text("DELETE FROM outbox"))
        await tx.commit()


async def test_a_repeated_request_gets_the_first_answer_and_has_no_effect(db: Database) -> None:
    assert await add(db, a_key("1"), 10) == 10
    assert await add(db, a_key("1"), 11) == 10
    assert await notes(db) == [10]


async def test_many_at_the_same_time_have_one_effect_and_one_answer(db: Database) -> None:
    answers = await asyncio.gather(*(add(db, a_key("1"), n, hold=0.05) for n in range(8)))
    assert len(set(answers)) == 1
    assert await notes(db) == [answers[0]]


async def test_who_waits_behind_a_failure_goes_on_itself(db: Database) -> None:
    first, second = await asyncio.gather(
        add(db, a_key("1"), 1, fail=True, hold=0.05), add(db, a_key("1"), 2), return_exceptions=True
    )
    assert isinstance(first, ZeroDivisionError)
    assert second == 2
    assert await notes(db) == [2]


async def test_the_same_id_with_another_body_is_refused(db: Database) -> None:
    await add(db, a_key("1"), 10)
    with pytest.raises(Refusal) as refusal:
        await add(db, a_key("1", fingerprint=b"other"), 11)
    assert refusal.value.reason == "REQUEST_ID_REUSED"
    assert refusal.value.metadata == {"request_id": "1"}


async def test_ids_of_other_callers_and_methods_are_other_ids(db: Database) -> None:
    for note_id, key in enumerate([a_key("1"), a_key("1", caller="bob"), a_key("1", method="/s/Other"), a_key("2")]):
        assert await add(db, key, note_id) == note_id
    assert await notes(db) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("role", "better", "told"), [("operator", False, 1), ("operator", True, 1), ("service", False, 0)]
)
async def test_what_a_person_does_is_told_to_the_operation_log_once(
    db: Database, echo: ModuleType, role: str, better: bool, told: int
) -> None:
    """R000-006: with its effect, by its method; a use case that told it better is not repeated."""
    method = Method.at("/lifecircle.sample.v1.SampleService/Add")
    call.begin(method, ()).who = Caller("ann", frozenset({role}), "G1")
    key = idempotency.key_of(echo.SayRequest(request_id="1", text="hello"))
    for _ in range(2):
        async with db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                if better:
                    await operations.record(tx, "sample.Add", "n7", of="more")
                await idempotency.answer(tx, key, {"note_id": "n7"})
            await tx.commit()
    async with db.read() as read:
        lines = [row.payload for row in await read.rows(text("SELECT payload FROM outbox WHERE kind = 'operation'"))]
    expected = {"of": "more"} if better else {"request_id": "1", "sha256": key.fingerprint.hex()}
    assert [(each["caller"], each["org_id"], each["action"], each["target"], each["detail"]) for each in lines] == [
        ("ann", "G1", "sample.Add", "n7", expected)
    ] * told


async def test_answers_may_be_forgotten_by_age(db: Database) -> None:
    await add(db, a_key("1"), 10)
    async with db.begin() as tx:
        assert await idempotency.forget(tx, datetime.now(UTC) - timedelta(hours=1)) == 0
        assert await idempotency.forget(tx, datetime.now(UTC) + timedelta(hours=1)) == 1
