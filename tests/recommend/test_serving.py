"""Serving under load: packed profiles, shared batches, and one customer's trouble that is nobody else's."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import text

from lifecircle.recommend import v1
from services.kit import domains
from services.kit.errors import Refusal
from services.recommend.domain.outcome import Gone
from services.recommend.lake import profiles
from services.recommend.usecases import Ask, Noting
from services.recommend.usecases.batches import MOST, Batches
from tests.recommend.house import PLACE, House, reason
from tests.recommend.town import FEATURES, published


async def pack(house: House) -> Path:
    """The profiles as a training leaves them; no row of them is left in Postgres."""
    run = published(house.folder, PLACE).run
    file = profiles.write(house.lake, run.run_id, house.lake.features(run.files))
    async with house.db.begin() as tx:
        await house.inputs.serve_run(tx, run.run_id, FEATURES, file)
        await tx.execute(text("DELETE FROM profile"))
        await tx.commit()
    house.forget()
    return Path(unquote(file.uri.removeprefix("file://")))


async def asked(stub: Any, keys: Sequence[int]) -> list[tuple[Any, ...]]:
    """What each is recommended, all asked at once."""
    told = await asyncio.gather(*(stub.Recommend(v1.RecommendRequest(customer_key=key)) for key in keys))
    return [
        tuple((each.product_id, round(each.score, 6), tuple(each.reasons)) for each in one.recommendations)
        for one in told
    ]


async def test_the_pack_says_what_postgres_says_alone_and_in_batches(stub: Any, house: House) -> None:
    await house.learn()
    await house.train()
    keys = PLACE.keys[:80].tolist()
    alone = [(await asked(stub, [key]))[0] for key in keys[:20]]
    from_postgres = await asked(stub, keys)
    assert from_postgres[:20] == alone
    assert any(len(each) > 1 for each in alone)
    await pack(house)
    assert await asked(stub, keys) == from_postgres
    async with house.db.begin() as tx:
        await Noting().take_gone(tx, [Gone(keys[0], 0)])
        await tx.commit()
    gone = stub.Recommend(v1.RecommendRequest(customer_key=keys[0]))
    rest, told = await asyncio.gather(asked(stub, keys[1:20]), reason(gone))
    assert rest == alone[1:]
    assert told == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")


async def test_a_pack_that_was_touched_is_not_mapped(stub: Any, house: House) -> None:
    await house.learn()
    await house.train()
    path = await pack(house)
    path.write_bytes(path.read_bytes()[:-64] + b"\1" * 64)
    assert await reason(stub.Recommend(v1.RecommendRequest(customer_key=3))) == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")
    assert (await house.keeper.view()).pack is None


async def test_a_caller_of_another_organisation_finds_nobody_in_the_same_batch(house: House) -> None:
    await house.learn()
    await house.train()
    await pack(house)

    async def ask(sees: frozenset[str] | None) -> str:
        domains.enter(sees)
        try:
            return (await house.recommending.recommend(Ask(3, 5))).model_id
        except Refusal as refusal:
            return refusal.reason

    callers = (None, frozenset({"G3"}), frozenset({"X"}))
    told = await asyncio.gather(*(asyncio.create_task(ask(sees)) for sees in callers))
    assert told == ["m1", "m1", "CUSTOMER_NOT_FOUND"]


async def test_calls_that_come_together_are_answered_together_and_each_with_its_own() -> None:
    sizes: list[int] = []

    async def answer(batch: Sequence[int]) -> list[int | BaseException]:
        sizes.append(len(batch))
        await asyncio.sleep(0.01)
        return [ValueError(str(each)) if each % 7 == 0 else -each for each in batch]

    batches: Batches[int, int] = Batches(answer)
    told = await asyncio.gather(*(batches.ask(each) for each in range(1, 201)), return_exceptions=True)
    assert [each for each in told if isinstance(each, int)] == [-each for each in range(1, 201) if each % 7]
    assert sum(isinstance(each, ValueError) for each in told) == 200 // 7
    assert sum(sizes) == 200
    assert max(sizes) <= MOST
    assert len(sizes) <= 200 // MOST + 3
    assert await batches.ask(1) == -1  # and again after the queue ran dry


async def test_a_batch_that_fails_fails_its_callers_and_no_later_ones() -> None:
    broken = True

    async def answer(batch: Sequence[int]) -> list[int | BaseException]:
        if broken:
            raise RuntimeError("lost")
        return list(batch)

    batches: Batches[int, int] = Batches(answer)
    waiting = [asyncio.create_task(batches.ask(each)) for each in range(3)]
    waiting[0].cancel()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [asyncio.CancelledError, RuntimeError, RuntimeError]
    broken = False
    assert await batches.ask(5) == 5
