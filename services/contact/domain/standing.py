"""How customers stand with the rules: what counts of each, the same for all who stand alike."""

from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from services.contact.domain.auction import LEFT
from services.contact.domain.campaign import Offer
from services.contact.domain.policy import Asked, Policy, Touch

FIELD, ROW = "\x1f", "\x1e"
"""What separates the columns and the rows of a text that holds a small table."""


class Era(NamedTuple):
    """What the rules look at beside the customer."""

    policy: Policy
    on: date
    hour: int


class Standing:
    """A customer as the rules see him. Whoever stands alike shares it, and what it remembers of refusals."""

    def __init__(self, org_id: str, merged_into: int, asked: Asked, *, left: bool) -> None:
        self.org_id = org_id
        self.merged_into = merged_into
        self.left = left
        self.asked = asked
        self._held_out = asked._replace(held_out=True)
        self._reasons: dict[tuple[bool, str, str, str, str], str] = {}
        self._era: Era | None = None

    def as_asked(self, held_out: bool) -> Asked:
        """He as the rules see him, in the holdout or not."""
        return self._held_out if held_out else self.asked

    def refusal(self, era: Era, held_out: bool, channel: str, purpose: str, offer: Offer) -> str:
        """Why an offer may not be made to him through a channel, or ""; asked once in an era."""
        if self._era != era:
            self._era = era
            self._reasons.clear()
        told = held_out, channel, purpose, offer.product_id, offer.exclusive_group
        found = self._reasons.get(told)
        if found is None:
            customer = self.as_asked(held_out)
            found = era.policy.refusal(customer, offer.wish(channel, purpose), era.on, era.hour)
            self._reasons[told] = found
        return found


@lru_cache(maxsize=1 << 16)
def standing(
    org_id: str, level: str, status: str, merged_into: int, unwanted: bool, consents: str, touches: str
) -> Standing:
    """A standing by what is kept: consents as (channel, purpose, given) and touches as (days since 2000, channel,
    purpose, product, exclusive group, refused), in rows of fields."""
    given: set[tuple[str, str]] = set()
    refused: set[tuple[str, str]] = set()
    for channel, purpose, granted in _rows(consents):
        (given if granted == "t" else refused).add((channel, purpose))
    earlier = tuple(
        Touch(date.fromordinal(_EPOCH + int(day)), 1, channel, purpose, product, group, int(no == "t"))
        for day, channel, purpose, product, group, no in _rows(touches)
    )
    asked = Asked(level, earlier, frozenset(given), frozenset(refused), unwanted)
    return Standing(org_id, merged_into, asked, left=status == LEFT)


_EPOCH = date(2000, 1, 1).toordinal()


def _rows(told: str) -> Sequence[list[str]]:
    return [row.split(FIELD) for row in told.split(ROW)] if told else []
