"""Watching for moments: events are journalled, and partitions of customers, shared by all processes, match them.

A partition is leased and fenced. What its engine learnt stands in a snapshot, what it has not in the journal behind it;
matches, the place in the journal and the proof of the lease are one transaction. So a process may die anywhere: another
takes the partition, reads on from the snapshot, finds again what was found (which is there already, by its id), and
what was not.
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from pyroaring import BitMap

from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.waiting import pause
from services.portrait.domain.audience import expression_of
from services.portrait.domain.moment import Engine, EventMatch, Match, Rule
from services.portrait.domain.moment.codec import unpacked
from services.portrait.store import Moments, Partitions, Runs
from services.portrait.store.forgetting import Forgotten
from services.portrait.store.moments import Journalled, StoredRule
from services.portrait.store.partitions import Taken
from services.portrait.usecases.audiences import AudienceDesk
from services.portrait.usecases.journal import Journal
from services.portrait.usecases.snapshots import Held, Pace, Snapshots
from services.portrait.usecases.whereabouts import Whereabouts

_BATCH = 5000
_IDLE_SECONDS = 0.1
_MEMBERS_SECONDS = 5.0
_FORGET_AT_ONCE = 20_000
_DAY = 86_400_000

_log = structlog.get_logger(__name__)


class _Lost(Exception):
    """A partition went to another process while we worked on it, or a rule to another version."""


class Matching:
    """The partitions of one process."""

    def __init__(
        self, db: Database, moments: Moments, partitions: Partitions, audiences: AudienceDesk, clock: Clock, pace: Pace
    ) -> None:
        self._db = db
        self._moments = moments
        self._partitions = partitions
        self._audiences = audiences
        self._clock = clock
        self._pace = pace
        self._held: dict[int, Held] = {}
        self._rules: list[StoredRule] = []
        self._stamp = ""
        self._ahead = False
        self._members: dict[tuple[str, int], BitMap] = {}
        self._members_at = float("-inf")
        self._snapshots = Snapshots(db, partitions, pace)
        self._forgotten = Forgotten()
        self._where = Whereabouts(db, Runs())
        self.journal = Journal(moments, self._where)
        self._gone: frozenset[int] = frozenset()

    async def run(self, owner: str, stop: asyncio.Event) -> None:
        """Hold a fair share of the partitions and match their customers' events until `stop`."""
        loop = asyncio.get_running_loop()
        shared = ruled = float("-inf")
        try:
            while not stop.is_set():
                try:
                    if loop.time() - ruled >= self._pace.look_seconds:
                        await self._learn_rules()
                        await self._purge()
                        ruled = loop.time()
                    if loop.time() - shared >= self._pace.look_seconds:
                        await self._share(owner)
                        shared = loop.time()
                    if not await self._step():
                        await pause(_IDLE_SECONDS, stop)
                except _Lost as lost:
                    # Engines are ahead of what is kept: forget them all, and begin again from their snapshots, at once.
                    _log.warning("partitions_lost", held=sorted(self._held), why=str(lost))
                    await self._give_back()
                    shared = ruled = float("-inf")
        finally:
            await self._leave(owner)

    async def tidy(self) -> None:
        """Delete journalled events that are older than they are kept."""
        before, gone = self._now() - self._pace.journal_days * _DAY, 1
        while gone:
            async with self._db.begin() as tx:
                gone = await self._moments.forget(tx, before, _FORGET_AT_ONCE)
                await tx.commit()

    async def _share(self, owner: str) -> None:
        """Renew what is ours, give back what is more than our share, take what is free."""
        pace, lost = self._pace, list[int]()
        async with self._db.begin() as tx:
            workers = await self._partitions.hello(tx, owner, pace.lease_seconds, pace.partitions)
            share = -(-pace.partitions // max(1, workers))
            for number, held in list(self._held.items()):
                if len(self._held) - len(lost) > share:
                    await self._partitions.release(tx, number, held.taken.epoch)
                    lost.append(number)
                elif not await self._partitions.renew(tx, number, held.taken.epoch, pace.lease_seconds):
                    lost.append(number)
            room = share - len(self._held) + len(lost)
            seconds, count = pace.lease_seconds, pace.partitions
            taken = await self._partitions.take(tx, owner, seconds, count, room) if room > 0 else []
            await tx.commit()
        for number in lost:
            del self._held[number]
        for one in taken:
            await self._resume(one)
        if lost or taken:
            _log.info("partitions", held=sorted(self._held), workers=workers)

    async def _resume(self, taken: Taken) -> None:
        """Hold an engine as it stood at the snapshot, told of what was delivered since; the journal has the rest."""
        engine = Engine(self._member)
        if taken.snapshot is not None:
            engine.restore(await asyncio.to_thread(unpacked, taken.snapshot))
        async with self._db.read() as read:
            since = engine.now - _DAY
            delivered = await self._moments.found_since(read, since, self._pace.partitions, taken.partition)
            gone = await self._forgotten.keys(read)
        held = Held(taken, engine, taken.snapshot_seq, taken.snapshot_seq, asyncio.get_running_loop().time())
        self._held[taken.partition] = held
        engine.restore_matches(delivered)
        await self._set_rules(held, [each.rule for each in self._rules])
        purged = [engine.purge(key) for key in gone if key % self._pace.partitions == taken.partition]
        held.purged = any(purged)

    async def _purge(self) -> None:
        """Take who was erased out of the engines, and so out of the next snapshots, which follow at once."""
        async with self._db.read() as read:
            gone = await self._forgotten.keys(read)
        new, self._gone = gone - self._gone, gone
        for key in new:
            held = self._held.get(key % self._pace.partitions)
            if held is not None and held.engine.purge(key):
                held.purged = True

    async def _learn_rules(self) -> None:
        """Take up what was published or retired, and who belongs to the audiences now."""
        async with self._db.read() as read:
            self._stamp = await self._moments.stamp(read)
            active = await self._moments.watched(read, self._now())
        now, members = asyncio.get_running_loop().time(), dict(self._members)
        again = now - self._members_at >= _MEMBERS_SECONDS
        self._members_at = now if again else self._members_at
        if again:
            await self._where.refresh()
        for each in active:
            if each.audience is not None and (again or (each.rule.rule_id, each.rule.version) not in members):
                try:
                    found = await self._audiences.bitmap(expression_of(each.audience))
                except Exception as error:  # no run yet, or a list that is gone: nobody new belongs to it
                    key = (each.rule.rule_id, each.rule.version)
                    _log.warning("audience_not_known", rule=key, error=type(error).__name__)
                    found = self._members.get(key, BitMap())
                members[each.rule.rule_id, each.rule.version] = found
        self._members = members  # in one step: a match is judged by the old or the new
        if [each.rule for each in active] != [each.rule for each in self._rules]:
            self._rules = active
            for held in self._held.values():
                await self._set_rules(held, [each.rule for each in active])

    async def _set_rules(self, held: Held, rules: list[Rule]) -> None:
        """Look back for rules that are new to an engine, so that they know what came before, and what they missed."""
        fresh = [rule for rule in rules if not held.engine.watches(rule)]
        cooling = [rule for rule in fresh if rule.cool_down and rule.version > 1]
        for rule in cooling:
            if not held.engine.knows_matches(rule.rule_id):
                held.engine.restore_matches(await self._matched(held, rule))
        wanting = held.engine.set_rules(rules)
        await self._look_back(held, wanting)
        self._ahead = True
        found = held.engine.reconsider(fresh)
        if found:
            await self._commit([(held, held.seq)], found)
        self._ahead = False

    async def _matched(self, held: Held, rule: Rule) -> list[Match]:
        """What earlier versions of a rule matched that still cools down."""
        since = (held.engine.now or self._now()) - rule.cool_down
        async with self._db.read() as read:
            partitions, partition = self._pace.partitions, held.taken.partition
            return await self._moments.found_since(read, since, partitions, partition, rule.rule_id)

    async def _look_back(self, held: Held, wanting: Mapping[EventMatch, int]) -> None:
        """Remember events of the journal, up to where the engine stands."""
        types = sorted({kind for match in wanting for kind in match.types})
        since, after = (held.engine.now or self._now()) - max(wanting.values(), default=0), 0
        while wanting:
            async with self._db.read() as read:
                page = await self._moments.past(read, types, since, held.seq, after=after)
            if not page:
                break
            after = page[-1].seq
            for one in page:
                if one.event.customer_key % self._pace.partitions == held.taken.partition:
                    held.engine.remember(one.event, wanting)

    async def _step(self) -> bool:
        """Match what is new in the journal, then what time brings; says whether there was anything new."""
        if not self._held:
            return False
        after = min(held.seq for held in self._held.values())
        page, lagging = self.journal.tail.after(after, _BATCH)
        async with self._db.read() as read:
            if not page:
                page = await self._moments.read_on(read, after, _BATCH)
                lagging = len(page) == _BATCH
            stamp = await self._moments.stamp(read)
        if stamp != self._stamp:  # before it is matched: an event belongs to the version in force when it occurred
            await self._learn_rules()
        self._ahead = True
        found, moved = self._match(page)
        if not lagging:
            now = self._now()
            for held in self._held.values():
                found += held.engine.advance(now)
        if found or moved:
            await self._commit(moved, found)
        self._ahead = False
        await self._snapshots.keep(self._held.values())
        return bool(page)

    def _match(self, page: Sequence[Journalled]) -> tuple[list[Match], list[tuple[Held, int]]]:
        found: list[Match] = []
        for one in page:
            held = self._held.get(one.event.customer_key % self._pace.partitions)
            if held is not None and one.seq > held.seq:
                found += held.engine.apply(one.event, one.received)
        if not page:
            return found, []
        last = page[-1].seq
        moved = [(held, last) for held in self._held.values() if held.seq < last]
        return found, moved

    async def _commit(self, moved: Sequence[tuple[Held, int]], found: Sequence[Match]) -> None:
        """Matches, places and the proof that all is still ours, at once."""
        places = dict.fromkeys(self._held, 0) | {held.taken.partition: seq for held, seq in moved}
        rows = []
        for number in sorted(places):
            held = self._held.get(number)
            if held is not None:
                rows.append((number, held.taken.epoch, max(held.seq, places[number]), held.engine.now))
        async with self._db.begin() as tx:
            if found:
                if await self._moments.outlived(tx, found):
                    raise _Lost("a rule was replaced meanwhile")
                await self._moments.put(tx, found)
            if rows and not await self._partitions.move(tx, rows):
                raise _Lost("a partition was taken over")
            await tx.commit()
        for held, seq in moved:
            held.seq = max(held.seq, seq)

    async def _leave(self, owner: str) -> None:
        """Keep what was learnt and give everything back, so that nobody need wait. Engines that are ahead of what was
        committed believe matches to be delivered that were not: they are not kept."""
        try:
            if not self._ahead:
                await self._snapshots.keep_all(self._held.values())
            await self._snapshots.settled()
            async with self._db.begin() as tx:
                await self._partitions.bye(tx, owner)
                await tx.commit()
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        """Release what is held, as far as it is still ours, and know nothing of it any more."""
        held, self._held, self._ahead = self._held, {}, False
        async with self._db.begin() as tx:
            for number, each in held.items():
                await self._partitions.release(tx, number, each.taken.epoch)
            await tx.commit()

    def _member(self, rule: Rule, customer_key: int) -> bool:
        members = self._members.get((rule.rule_id, rule.version))
        return members is None or customer_key in members

    def _now(self) -> int:
        return int(self._clock().timestamp() * 1000)
