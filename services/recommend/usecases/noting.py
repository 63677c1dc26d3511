"""Noting what came of contacts, and who is gone; each with the cursor of its stream."""

from collections.abc import Sequence

from services.kit.db import Write
from services.recommend import store
from services.recommend.domain.outcome import Gone, Outcome


class Noting:
    """Keeps contacts with their outcomes: the training set of acceptance, and the rates of shortlists and models."""

    def __init__(self) -> None:
        self._outcomes = store.Outcomes()

    async def take_outcomes(self, tx: Write, told: Sequence[Outcome]) -> None:
        """Merge facts into their contacts; the same again changes nothing."""
        await store.hold(tx)
        for each in told:
            await self._outcomes.put(tx, each)

    async def take_gone(self, tx: Write, told: Sequence[Gone]) -> None:
        """Forget who was erased, and give what a merged key had to the other; the same again changes nothing."""
        for each in told:
            await self._outcomes.let_go(tx, each)
