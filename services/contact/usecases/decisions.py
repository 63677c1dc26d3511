"""Decisions online: requests gathered for a few milliseconds, reserved together, answered after the commit."""

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from services.contact.domain.auction import Matrix
from services.contact.domain.decision import Place
from services.contact.domain.policy import business_day
from services.contact.domain.reservation import CANCELLED, CONFIRMED, RESERVED, SHOWN, Decided
from services.contact.domain.slot import Showing
from services.contact.domain.standing import Standing
from services.contact.lake import LakeFile
from services.contact.refusals import grant_not_found, grant_state
from services.contact.store import Store
from services.contact.store.decisions import LeaseLost
from services.contact.usecases.deciding import Answer, Ask, Batch, Waiting, late
from services.contact.usecases.rulebook import Rulebook
from services.contact.usecases.supply import Supply
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.errors import request_id_reused

Showings = Callable[[Sequence[str], str], Awaitable[Sequence[Showing]]]
"""(slot ids, moment) → what the registry shows there, each with its slot; also when there is no offer."""

GATHER_SECONDS = 0.002
PATIENCE_SECONDS = 0.003
WORTHWHILE = 64
"""A batch costs as much as so many decisions: beside others under way a smaller one waits for one of them to end, or
for PATIENCE_SECONDS more."""
MOST_TOGETHER = 512
AT_ONCE = 3
_MOST_PLAIN = 10_000

MOMENT_LIFE = timedelta(hours=1)
"""For so long after a moment rule matched, campaigns that wait for it bid."""


class Decisions:
    """Decides; one per process."""

    def __init__(
        self,
        db: Database,
        store: Store,
        clock: Clock,
        zone: tzinfo,
        showings: Showings,
        matrix_files: Callable[[str], Awaitable[Sequence[LakeFile]]],
        read_matrix: Callable[[Sequence[LakeFile]], Matrix],
    ) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._zone = zone
        self._showings = showings
        self._rulebook = Rulebook(db, store, clock, zone, matrix_files, read_matrix)
        self._supply = Supply(db, store)
        self._waiting: list[Waiting] = []
        self._running: set[asyncio.Task[None]] = set()
        self._gatherer: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._busy: set[int] = set()
        self._shown: dict[str, tuple[str, str]] = {}
        """Slot → its channel and what it shows by default, as of the last look."""
        self._plain: dict[tuple[tuple[str, str], ...], tuple[tuple[Place, ...], tuple[str, ...]]] = {}

    async def decide_within(self, ask: Ask, seconds: float) -> list[Answer]:
        """As decide(), but after so many seconds what each place shows by default, with the reason `late`.

        What is granted later all the same is the answer to the same request when it comes again, or expires by itself.
        """
        deciding = asyncio.ensure_future(self.decide(ask))
        done, _ = await asyncio.wait([deciding], timeout=seconds)
        if done:
            return deciding.result()
        deciding.add_done_callback(lambda one: one.cancelled() or one.exception())  # nobody waits for it any more
        return [
            Answer(late(ask, at, *self._shown.get(slot_id, (channel, ""))))
            for at, (slot_id, channel) in enumerate(ask.places)
        ]

    async def decide(self, ask: Ask) -> list[Answer]:
        """What each place shows or sends, in the order of the places. Raises request_id_reused, inputs_incomplete."""
        if self._rulebook.stale:
            await self._rulebook.book()
        placed = self._plain.get(ask.places) or await self._placed(ask)
        waiting = Waiting(ask, ask.customer_key, *placed, asyncio.get_running_loop().create_future())
        self._enqueue(waiting)
        return await waiting.answer

    def _enqueue(self, waiting: Waiting) -> None:
        self._waiting.append(waiting)
        if self._gatherer is None or self._gatherer.done():
            # In a context of its own: the callers have several domains, and none of their deadlines is that of all.
            self._gatherer = asyncio.create_task(self._gather(), context=contextvars.Context())

    async def ready(self) -> None:
        """Have rules and scores in memory; scores that are replaced meanwhile will do. Raises inputs_incomplete."""
        if not self._rulebook.scored:
            await self._rulebook.ready()

    async def confirm(self, grant: str) -> Decided:
        """The contact is made now: consent and the campaign's state are looked at once more. Raises grant_not_found,
        grant_state."""
        return await self._settle(grant, CONFIRMED)

    async def cancel(self, grant: str) -> Decided:
        """Give a reservation back. Raises grant_not_found, grant_state."""
        return await self._settle(grant, CANCELLED)

    async def withdraw(self, customer_key: int, way: tuple[str, str] | None) -> int:
        """Take a consent back (channel, purpose), or every one; the very next decision knows. Gives what fell."""
        async with self._db.begin() as tx:
            fell = await self._store.decisions.withdraw(tx, customer_key, way, self._clock())
            await tx.commit()
        return fell

    async def tidy(self) -> None:
        """End what has expired, take back what processes that are gone had leased, and stay in force."""
        now = self._clock()
        async with self._db.begin() as tx:
            while await self._store.decisions.expire(tx, now, 1_000) == 1_000:
                pass
            await self._store.shards.reclaim(tx, now)
            await tx.commit()

    async def _settle(self, grant: str, state: str) -> Decided:
        now = self._clock()
        async with self._db.begin() as tx:
            decided = await self._store.decisions.for_update(tx, grant)
            if decided is None or decided.state == SHOWN:
                raise grant_not_found(grant)
            at = decided.state_at(now)
            if at == state:
                return decided
            if at != RESERVED:
                raise grant_state(grant, at)
            if state == CONFIRMED:
                await self._still_allowed(tx, decided, now)
            else:
                await self._store.decisions.give_back(tx, [(decided.kind.quotas, decided.shard)])
            await self._store.decisions.move(tx, grant, state)
            await tx.commit()
        return decided.moved(state)

    async def _still_allowed(self, tx: Write, decided: Decided, now: datetime) -> None:
        """Consent, hours and the campaign hold at the moment of the send. Raises grant_state when they do not."""
        on, kind = business_day(now, self._zone), decided.kind
        known = await self._store.decisions.lock(tx, [decided.customer_key], on, now)
        one = known.get(decided.customer_key)
        if one is None or one.left or not one.asked.consenting(kind.channel, kind.purpose):
            raise grant_state(decided.grant_id, "CONSENT_WITHDRAWN")
        policy = (await self._rulebook.book()).policy
        if policy.silent(kind.channel, kind.purpose, on, now.astimezone(self._zone).hour):
            raise grant_state(decided.grant_id, "QUIET_HOURS")
        campaigns = await self._store.campaigns.of_ids(tx, [kind.campaign_id])
        if not any(campaign.bids_on(on) for campaign in campaigns):
            raise grant_state(decided.grant_id, "CAMPAIGN_STOPPED")

    async def _placed(self, ask: Ask) -> tuple[tuple[Place, ...], tuple[str, ...]]:
        """The places with their channels, and what each shows by default; a slot that is disabled takes no offer."""
        slot_ids = [slot_id for slot_id, _ in ask.places if slot_id]
        if not slot_ids and len(self._plain) < _MOST_PLAIN:
            placed = tuple(Place("", channel) for _, channel in ask.places), ("",) * len(ask.places)
            self._plain[ask.places] = placed
            return placed
        shown = {one.slot_id: one for one in await self._showings(slot_ids, ask.moment)} if slot_ids else {}
        places, defaults = [], []
        for slot_id, channel in ask.places:
            showing = shown.get(slot_id)
            if showing is None:
                places.append(Place("", channel))
                defaults.append("")
                continue
            slot = showing.slot
            usable = slot is not None and (showing.content is not None or showing.reason == "nothing due")
            places.append(Place(slot_id, slot.channel if slot is not None and usable else ""))
            default = showing.content.pitch if showing.content else slot.default_content if slot else ""
            defaults.append(default)
            if slot is not None:
                self._shown[slot_id] = places[-1].channel, default
        return tuple(places), tuple(defaults)

    async def _gather(self) -> None:
        """Batches, AT_ONCE of them at a time, each begun when it is full, or large enough, or others waited enough."""
        while self._waiting:
            if len(self._waiting) < MOST_TOGETHER:
                await asyncio.sleep(GATHER_SECONDS)
            if self._running and len(self._waiting) < WORTHWHILE:
                await asyncio.wait(self._running, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            await self._slots.acquire()
            batch = self._batch()
            if not batch:  # all who wait are for customers that a running batch holds
                self._slots.release()
                await asyncio.sleep(GATHER_SECONDS)
                continue
            task = asyncio.create_task(self._together(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _batch(self) -> list[Waiting]:
        """Those who wait longest, one for each customer: another of his waits for the next batch."""
        batch: list[Waiting] = []
        later: list[Waiting] = []
        mine: set[int] = set()
        for at, waiting in enumerate(self._waiting):
            key = waiting.key
            if key and (key in mine or key in self._busy):
                later.append(waiting)
                continue
            batch.append(waiting)
            mine.add(key)
            if len(batch) == MOST_TOGETHER:
                later += self._waiting[at + 1 :]
                break
        self._waiting = later
        self._busy |= mine
        return batch

    async def _together(self, batch: list[Waiting]) -> None:
        mine = {waiting.key for waiting in batch}
        try:
            answered = await self._reserved(batch)
        except Exception as error:
            answered = [(waiting, error) for waiting in batch]
        for waiting, answer in answered:
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
        self._busy -= mine
        self._slots.release()

    async def _reserved(self, batch: list[Waiting]) -> Sequence[tuple[Waiting, list[Answer] | Exception]]:
        """Decide for a batch in one transaction: lock the customers, look at all that counts, keep what was decided.

        Who is asked for by a key that was merged is decided for under the key that stays, in a batch to come.
        """
        book = await self._rulebook.book()
        now = self._clock()
        on, hour = business_day(now, self._zone), now.astimezone(self._zone).hour
        try:
            await self._supply.ready(book, on, hour, now)
            since = on - timedelta(days=book.policy.widest_window())
            async with self._db.begin() as tx:
                if book.bounds(on, hour):
                    await self._supply.fence(tx, now)
                keys = {waiting.key for waiting in batch if waiting.key}
                known = await self._store.decisions.lock(tx, keys, since, now) if keys else {}
                live = await self._store.moments.live(tx, keys, now - MOMENT_LIFE) if book.moments else {}
                batch = self._redirected(batch, known)
                supply = self._supply
                made = Batch(book, batch, known, live, supply.blocks, supply.shard, on, hour, now).made()
                every = [one for mine in made for one in mine]
                new = await self._store.decisions.add(tx, every)
                before = {} if new else await self._store.decisions.of_ids(tx, [one.grant_id for one in every])
                await tx.commit()
        except LeaseLost:
            self._supply.lost()
            return await self._reserved(batch)
        return [(waiting, self._answered(waiting, mine, before)) for waiting, mine in zip(batch, made, strict=True)]

    def _redirected(self, batch: list[Waiting], known: Mapping[int, Standing]) -> list[Waiting]:
        """The batch without those whose key was merged, who wait again under the key that stays."""
        merged = [one for one in batch if one.key in known and known[one.key].merged_into]
        if not merged:
            return batch
        for one in merged:
            one.key = known[one.key].merged_into
            self._enqueue(one)
        return [one for one in batch if one not in merged]

    def _answered(
        self, waiting: Waiting, mine: Sequence[Decided], before: Mapping[str, Decided]
    ) -> list[Answer] | Exception:
        """The answer, which for a request that came before is the one of that time."""
        if not before:
            return [Answer(one) for one in mine]
        final = []
        for one in mine:
            earlier = before.get(one.grant_id, one)
            if earlier != one:
                self._supply.blocks.give(one.kind.quotas)
                if earlier.fingerprint != one.fingerprint:
                    return request_id_reused(waiting.ask.request_id)
            final.append(Answer(earlier))
        return final

    async def close(self) -> None:
        """Wait for the batches under way."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._running, return_exceptions=True)
