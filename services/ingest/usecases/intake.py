"""What lies in the landing folder: taken for loading, quarantined with the reason, known already, or left to settle."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import structlog

from services.ingest import store
from services.ingest.domain import feed as feeds
from services.ingest.domain import identity, reconciliation
from services.ingest.domain.delivery import Delivery, Problem, State
from services.ingest.domain.feed import Feed, Revision
from services.ingest.domain.reconciliation import Measured
from services.ingest.lake.landing import Found, Landing
from services.kit import jobs, telemetry
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.ids import Ids

LOAD = "load"
"""Kind of the jobs that load deliveries."""

_ORPHAN = timedelta(hours=1)
_NOT_READABLE = Problem("NOT_READABLE", "the platform cannot read the file or its control file; check its permissions")

_log = structlog.get_logger(__name__)
_seen = telemetry.counter(
    "lifecircle.ingest.deliveries.received", "{delivery}", "Files decided on, by feed and outcome."
)


@dataclass(frozen=True)
class Patience:
    """`control`: how long a file may lie without its control file; `settle`: how long it may disagree with it."""

    control: timedelta
    settle: timedelta


@dataclass(frozen=True)
class _File:
    """A data file with what goes with it. `control` is the found control file, `place` its period and sequence."""

    found: Found
    control: Found | None
    revision: Revision | None
    place: tuple[date, int] | None
    is_control: bool = False

    @property
    def changed(self) -> datetime:
        return max(each.change_time for each in self.files)

    @property
    def control_name(self) -> str:
        return self.control.name if self.control else ""

    @property
    def files(self) -> list[Found]:
        """The control file first: while the data file lies there, its delivery is not done."""
        return [each for each in (self.control, self.found) if each]

    @property
    def rank(self) -> tuple[int, date, int, str]:
        order = self.revision.feed.order if self.revision else 100
        period, sequence = self.place or (date.max, 0)
        return order, period, sequence, self.found.name


class Intake:
    """Decides about files. Many processes may do it at once: the decision on one name is under one lock."""

    def __init__(
        self,
        db: Database,
        deliveries: store.Deliveries,
        revisions: store.Feeds,
        landing: Landing,
        patience: Patience,
        clock: Clock,
        ids: Ids,
        archive: timedelta = timedelta(days=30),
    ) -> None:
        self._db = db
        self._deliveries = deliveries
        self._feeds = revisions
        self._landing = landing
        self._patience = patience
        self._clock = clock
        self._ids = ids
        self._archive = archive
        self._told: set[str] = set()

    async def sweep(self) -> int:
        """Decide about everything that lies there, in the feeds' order; gives how many files were decided on."""
        found = await asyncio.to_thread(self._landing.found)
        if not found:
            return 0
        async with self._db.read() as read:
            revisions = feeds.by_feed(await self._feeds.revisions(read))
        decided = 0
        for file in sorted(_paired(found, revisions), key=lambda each: each.rank):
            try:
                decided += await self._decide(file)
            except OSError as error:  # of this file alone: it cannot be moved, or the disk is full
                self._stuck(file.found.shown, error)
        return decided

    def _stuck(self, name: str, error: OSError) -> None:
        """Say once that a file cannot be moved; it is tried again at every sweep."""
        if name not in self._told:
            self._told.add(name)
            _log.error(
                "file_cannot_be_moved", file=identity.masked(name), error=type(error).__name__, errno=error.errno
            )

    async def tidy(self) -> None:
        """Finish what was left behind: a load that failed for good, a file put aside but loaded or held already.

        What has been archived for longer than `archive` is removed.
        """
        async with self._db.begin() as tx:
            for each in await self._deliveries.abandoned(tx):
                message = "it could not be loaded, by a fault of the platform; send it again when that is mended"
                await self._deliveries.set_quarantined(tx, each.delivery_id, [Problem("LOAD_FAILED", message)])
                _log.error("delivery_abandoned", delivery=each.delivery_id, file=each.file_name)
            await tx.commit()
        for delivery_id in await asyncio.to_thread(self._landing.taken):
            try:
                await self._tidy_taken(delivery_id)
            except OSError as error:
                self._stuck(delivery_id, error)
        await asyncio.to_thread(self._landing.forget_collected, self._clock() - _ORPHAN)
        removed = await asyncio.to_thread(self._landing.forget, self._clock() - self._archive)
        if removed:
            _log.info("archive_tidied", deliveries=removed)

    async def _tidy_taken(self, delivery_id: str) -> None:
        async with self._db.read() as read:
            known = await self._deliveries.get(read, delivery_id)
        if known is None:
            await asyncio.to_thread(self._landing.forget_taken, delivery_id, self._clock() - _ORPHAN)
        elif known.state in (State.LOADED, State.SUPERSEDED):
            await asyncio.to_thread(self._landing.archive, delivery_id, known.feed_id)
        elif known.state is State.QUARANTINED:
            await asyncio.to_thread(self._landing.hold, delivery_id)

    async def _waits_for_others(self, feed: Feed, waited: timedelta) -> bool:
        """Whether a feed that this one refers to is just being loaded, or was never loaded and may still come."""
        others = {other for other, _ in feed.references.values()} - {feed.feed_id}
        if not others:
            return False
        async with self._db.read() as read:
            under_way, missing = await self._deliveries.unsettled(read, sorted(others))
        return under_way or (missing and waited < self._patience.control)

    async def _decide(self, file: _File) -> bool:
        waited = self._clock() - file.changed
        if not file.found.regular or (file.control and not file.control.regular):
            problem = Problem("NOT_A_FILE", "it is a link or another thing that is no plain file; send the file itself")
            return await self._hold(file, None, [problem])
        if file.revision is None or file.place is None or file.control is None:
            problem = _incomplete(file)
            return waited >= self._patience.control and await self._hold(file, None, [problem])
        try:
            measured = await asyncio.to_thread(self._landing.measure, file.found.name)
            content = await asyncio.to_thread(self._landing.control, file.control.name)
        except FileNotFoundError:  # taken away meanwhile: by another process, or by the supplier
            return False
        except OSError as error:
            _log.warning("file_not_readable", file=file.found.shown, error=type(error).__name__)
            return waited >= self._patience.settle and await self._hold(file, None, [_NOT_READABLE])
        feed = file.revision.feed
        stated = reconciliation.read_control(content, feed.control)
        if isinstance(stated, Problem):
            problems = [stated]
        else:
            problems = reconciliation.compare(file.found.name, measured, stated, header=feed.header)
        if problems and waited < self._patience.settle:
            return False  # it may still be on its way
        problems = problems or reconciliation.usable(measured, header=feed.header)
        if problems:
            return await self._hold(file, measured, problems)
        if await self._waits_for_others(feed, waited):
            return False
        with telemetry.span("receive delivery", attributes={"feed": feed.feed_id}):  # the load continues this trace
            return await self._accept(file, measured)

    async def _accept(self, file: _File, measured: Measured) -> bool:
        """Take a file that agrees with its control file, unless it is known."""
        new = self._delivery(file, measured)
        async with self._db.begin() as tx:
            await self._deliveries.lock_file(tx, new.file_name)
            known = await self._deliveries.latest_of_file(tx, new.file_name, new.sha256)
            if known is None or (known.state is State.QUARANTINED and not _judged_before(known, new)):
                await self._deliveries.add(tx, new)
                key = f"{new.file_name}/{new.sha256}/{new.delivery_id}"
                spec = {"delivery_id": new.delivery_id, "control": file.control_name}
                await jobs.create(tx, job_id=self._ids(), kind=LOAD, key=key, spec=spec, now=new.receive_time)
                await tx.commit()
                known = None
        if known is None:
            await asyncio.to_thread(self._landing.take, file.found.name, file.control_name, new.delivery_id)
            return self._say(new, "accepted")
        if known.state is State.QUARANTINED:
            await asyncio.to_thread(self._landing.quarantine, file.files, known.delivery_id)
        elif known.state in (State.LOADED, State.SUPERSEDED):
            await asyncio.to_thread(self._landing.archive_again, file.files, known.delivery_id, known.feed_id)
        else:  # it is being loaded, perhaps from this very place
            return False
        return self._say(known, "known")

    async def _hold(self, file: _File, measured: Measured | None, problems: Sequence[Problem]) -> bool:
        """Quarantine a file whole. The same file held for the same reasons again is no new delivery."""
        if measured is None and file.found.regular:
            try:
                measured = await asyncio.to_thread(self._landing.measure, file.found.name)
            except FileNotFoundError:
                return False
            except OSError:  # the name is all that is known of it
                problems = [*(each for each in problems if each != _NOT_READABLE), _NOT_READABLE]
        held = replace(self._delivery(file, measured), state=State.QUARANTINED, problems=tuple(problems))
        async with self._db.begin() as tx:
            await self._deliveries.lock_file(tx, held.file_name)
            known = await self._deliveries.latest_of_file(tx, held.file_name, held.sha256)
            if known is not None and known.state in (State.RECEIVED, State.LOADING):
                return False
            if known is None or (known.state is State.QUARANTINED and known.problems != held.problems):
                await self._deliveries.add(tx, held)
                await tx.commit()
                known = None
        place = (known or held).delivery_id
        await asyncio.to_thread(self._landing.quarantine, file.files, place)
        return self._say(held, "known" if known else "quarantined")

    def _delivery(self, file: _File, measured: Measured | None) -> Delivery:
        period, sequence = file.place or (None, 0)
        header = bool(file.revision and file.revision.feed.header)
        return Delivery(
            delivery_id=self._ids(),
            feed_id=file.revision.feed.feed_id if file.revision else "",
            revision=file.revision.revision if file.revision else 0,
            period=period,
            sequence=sequence,
            file_name=file.found.shown if file.revision else identity.masked(file.found.shown),
            sha256=measured.sha256 if measured else "",
            state=State.RECEIVED,
            source_rows=reconciliation.source_rows(measured, header=header) if measured else 0,
            loaded_rows=0,
            rejected_rows=0,
            problems=(),
            receive_time=self._clock(),
            load_time=None,
        )

    def _say(self, delivery: Delivery, outcome: str) -> bool:
        reasons = [problem.reason for problem in delivery.problems]
        _log.info("delivery", file=delivery.file_name, delivery=delivery.delivery_id, outcome=outcome, reasons=reasons)
        _seen(1, feed=delivery.feed_id, outcome=outcome)
        return True


def _paired(found: Sequence[Found], revisions: Sequence[Sequence[Revision]]) -> list[_File]:
    """Data files with their control files, and what is neither or alone."""
    by_name = {each.name: each for each in found}
    files: list[_File] = []
    used: set[str] = set()
    for each in found:
        for mine in revisions:
            if judged := feeds.governing(mine, each.name):
                revision, place = judged
                control = by_name.get(feeds.control_name(each.name, revision.feed.control))
                files.append(_File(each, control, revision, place))
                used |= {each.name, control.name if control else each.name}
                break
    return files + [_alone(each, revisions) for each in found if each.name not in used]


def _alone(found: Found, revisions: Sequence[Sequence[Revision]]) -> _File:
    """A control file without its data file, or a name that no feed knows."""
    for mine in revisions:
        feed = mine[0].feed
        if found.name.endswith(feed.control.suffix):
            data = f"{found.name.removesuffix(feed.control.suffix)}.{feed.file_name.rpartition('.')[2]}"
            if judged := feeds.governing(mine, data):
                return _File(found, None, *judged, is_control=True)
    return _File(found, None, None, None)


def _incomplete(file: _File) -> Problem:
    if file.revision is None:
        message = "no feed has files of this name; compare it with the file-name patterns that ListFeeds gives"
        return Problem("NAME_UNKNOWN", message)
    if file.is_control:
        return Problem(
            "DATA_FILE_MISSING", "the control file came without its data file; send both, the data file first"
        )
    suffix = file.revision.feed.control.suffix
    return Problem("CONTROL_FILE_MISSING", f"the file came without its control file ({suffix}); send both again")


def _judged_before(known: Delivery, new: Delivery) -> bool:
    """Whether the same bytes were held by the same contract for what stands in them."""
    reasons = {problem.reason for problem in known.problems}
    return known.revision == new.revision and bool(reasons & reconciliation.OF_THE_ROWS)
