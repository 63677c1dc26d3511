"""Reviews of what is in force: which are due when, and the reminder of those that are not done."""

from datetime import UTC, date, datetime

import structlog

from services.kit import telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.portrait.domain.review import Review, released, reviews
from services.portrait.store import Moments
from services.portrait.store.latent import Latent
from services.portrait.store.tags import Tags
from services.portrait.usecases.shelf import Shelf

_log = structlog.get_logger(__name__)
_overdue = telemetry.gauge("lifecircle.portrait.reviews_overdue", "{review}", "Reviews whose day has passed.")


class ReviewDesk:
    """What is in force, with when it was put there."""

    def __init__(self, db: Database, tags: Tags, latent: Latent, moments: Moments, shelf: Shelf, clock: Clock) -> None:
        self._db = db
        self._tags = tags
        self._latent = latent
        self._moments = moments
        self._shelf = shelf
        self._clock = clock
        self._reminded: date | None = None

    async def page(self, after: int, size: int, *, overdue: bool) -> tuple[list[Review], date]:
        """A page of what is in force, that which is due first, and today; with `overdue` those whose day has passed."""
        today = self._clock().date()
        async with self._db.read() as read:
            found = await self._all(read)
        chosen = [each for each in found if each.overdue(today) or not overdue]
        return chosen[after : after + size], today

    async def remind(self) -> None:
        """Remind of what is overdue: a gauge, and once a day a line of the log for each."""
        found, today = await self.page(0, 1 << 31, overdue=True)
        _overdue(len(found))
        if self._reminded != today:
            self._reminded = today
            for each in found:
                _log.warning("review_overdue", kind=each.kind, name=each.name, version=each.version, due=f"{each.due}")

    async def _all(self, read: Read) -> list[Review]:
        catalogue, _ = await self._shelf.in_force(read)
        made = {(each.code, each.version): _published(each.create_time, *(a.time for a in each.approvals))
                for each in await self._tags.in_force(read)}  # fmt: skip
        shipped = released(catalogue.version) or self._clock().date()
        known = [("TAG", tag.code, tag.version, made.get((tag.code, tag.version), shipped)) for tag in catalogue.tags]
        known += [("LATENT_MODEL", each.target, each.version, each.create_time.date())
                  for each in await self._latent.live(read)]  # fmt: skip
        for stored in await self._moments.active(read):
            day = datetime.fromtimestamp(stored.rule.publish_time / 1000, UTC).date()
            known.append(("MOMENT_RULE", stored.rule.rule_id, stored.rule.version, day))
        return reviews(known)


def _published(*times: datetime) -> date:
    return max(times).date()
