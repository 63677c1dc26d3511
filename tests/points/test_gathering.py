"""Callers who come together: each gets his own answer, and nobody fails for a neighbour's sake."""

import asyncio
from collections.abc import Sequence

import pytest

from services.kit.errors import Kind, Refusal
from services.points.usecases.gathering import Gathering

NO = Refusal(Kind.ABORTED, "NO", "no")


class Bank:
    """Answers a number with its double; knows no 13, and a 7 breaks it."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    async def answer(self, numbers: Sequence[int]) -> list[int | Refusal]:
        self.asked.append(list(numbers))
        await asyncio.sleep(0.01)
        if 7 in numbers:
            raise ValueError("7")
        return [NO if number == 13 else 2 * number for number in numbers]


async def test_those_who_come_while_one_is_answered_are_answered_together() -> None:
    bank = Bank()
    gathering = Gathering(bank.answer, 4)
    assert await asyncio.gather(*(gathering.ask(number) for number in range(6))) == [0, 2, 4, 6, 8, 10]
    assert bank.asked == [[0, 1, 2, 3], [4, 5]]
    assert await gathering.ask(21) == 42


async def test_each_gets_his_own_answer_refusal_or_fault() -> None:
    gathering = Gathering(Bank().answer, 10)
    found = await asyncio.gather(*(gathering.ask(n) for n in (1, 13, 7, 2)), return_exceptions=True)
    assert (found[0], found[1], found[3]) == (2, NO, 4)
    assert isinstance(found[2], ValueError)
    with pytest.raises(ValueError, match="7"):
        await gathering.ask(7)


async def test_a_caller_who_goes_away_leaves_the_others_their_answers() -> None:
    gathering = Gathering(Bank().answer, 10)
    asking = [asyncio.create_task(gathering.ask(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    asking[0].cancel()
    assert await asking[1] == 4
