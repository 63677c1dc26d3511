"""Durable jobs over Postgres: claim, heartbeat, resume, cancel; the end in the transaction of the effect.

    async def train(running: jobs.Running) -> None:
        for n, bucket in enumerate(buckets, 1):
            rows = await asyncio.to_thread(work_on, bucket)     # off the loop, so that the heartbeat goes on
            await running.progress(n, len(buckets), rows=rows)  # here the job learns that it was cancelled
        async with db.begin() as tx:
            await store.publish(tx, …)
            await running.succeed(tx, rows=total)               # fenced: only who holds the job can end it
            await tx.commit()

A worker that dies leaves a lease that runs out; the next one resumes the job (attempt + 1) with the last checkpoint. A
Refusal fails the job with its reason; any other exception is tried again, ever later, up to MOST_ATTEMPTS. Attempts are
counted since the last checkpoint that said something new: what gets on is not given up when workers die. It has an end
all the same: a job that was claimed MOST_CLAIMS times, however it got on, is given up, and the later the claim the
longer the wait before it.
"""

import asyncio
import dataclasses
import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row, Select, and_, bindparam, case, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningUpdate

from services.kit import lease, telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.errors import Refusal, job_not_found
from services.kit.ids import system_ids
from services.kit.lease import Lost
from services.kit.logs import mask
from services.kit.tables import job as table
from services.kit.waiting import backoff, pause

__all__ = [
    "MOST_ATTEMPTS",
    "MOST_CLAIMS",
    "Cancelled",
    "Job",
    "Lost",
    "Running",
    "State",
    "cancel",
    "create",
    "get",
    "page",
    "work",
]

MOST_ATTEMPTS = 5

MOST_CLAIMS = 100
"""Claims of one job in all: what saves something new and fails each time would otherwise be tried for ever."""

_log = structlog.get_logger(__name__)
_ends = telemetry.counter("lifecircle.jobs.attempts", "{attempt}", "Attempts ended, by kind and outcome.")


class State(enum.Enum):
    """Where a job stands; moved only by the kit: QUEUED → RUNNING → one of the other three, which are for ever."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Cancelled(Exception):
    """Somebody asked the job to stop; raised by Running.progress() and save()."""


@dataclass(frozen=True)
class Job:
    """A job as it stands. `done` of `total` in the handler's own units; `error` is a reason, `message` for people."""

    job_id: str
    kind: str
    key: str
    spec: Mapping[str, Any]
    state: State
    done: int
    total: int
    counts: Mapping[str, int]
    message: str
    error: str
    attempt: int
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    checkpoint: Mapping[str, Any]


_FIELDS = [field.name for field in dataclasses.fields(Job)]
_COLUMNS = [table.c[name] for name in _FIELDS]


async def create(tx: Write, *, job_id: str, kind: str, key: str, spec: Mapping[str, Any], now: datetime) -> Job:
    """Queue a job; the trace in hand is the parent of its run. (kind, key) is unique: the first one stays."""
    row = {"job_id": job_id, "kind": kind, "key": key, "spec": dict(spec), "state": State.QUEUED.value}
    stmt = insert(table).values(**row, create_time=now, traceparent=telemetry.traceparent())
    made = await tx.row(stmt.on_conflict_do_nothing(index_elements=["kind", "key"]).returning(*_COLUMNS))
    if made is None:
        made = await tx.row(_jobs().where(table.c.kind == kind, table.c.key == key))
    assert made is not None
    return _job(made)


async def get(read: Read, job_id: str) -> Job:
    """The job. Raises job_not_found."""
    row = await read.row(_jobs().where(table.c.job_id == job_id))
    if row is None:
        raise job_not_found(job_id)
    return _job(row)


async def page(read: Read, *, kind: str | None = None, after: str | None = None, size: int) -> list[Job]:
    """At most `size` jobs, the newest first, of one kind or all; those after the job with the id `after`."""
    stmt = _jobs().order_by(table.c.create_time.desc(), table.c.job_id.desc()).limit(size)
    if kind is not None:
        stmt = stmt.where(table.c.kind == kind)
    if after is not None:
        last = await get(read, after)
        stmt = stmt.where(tuple_(table.c.create_time, table.c.job_id) < (last.create_time, last.job_id))
    return [_job(row) for row in await read.rows(stmt)]


async def cancel(tx: Write, job_id: str, now: datetime) -> Job:
    """Ask the job to stop: a queued one is CANCELLED at once, a running one at its next progress() or save().

    A job that has ended stays as it is. Raises job_not_found.
    """
    queued = table.c.state == State.QUEUED.value
    stmt = (
        update(table)
        .where(table.c.job_id == job_id, table.c.state.in_([State.QUEUED.value, State.RUNNING.value]))
        .values(
            cancel_asked=True,
            state=case((queued, State.CANCELLED.value), else_=table.c.state),
            end_time=case((queued, now), else_=table.c.end_time),
        )
        .returning(*_COLUMNS)
    )
    row = await tx.row(stmt)
    return _job(row) if row is not None else await get(tx, job_id)


class Running:
    """A job in the hands of a handler. Every write is fenced: it raises Lost once another worker has the job."""

    def __init__(self, held: "_Held") -> None:
        self._held = held

    @property
    def job(self) -> Job:
        """The job as of the claim, or of the last progress() or save()."""
        return self._held.job

    async def progress(self, done: int, total: int, *, message: str | None = None, **counts: int) -> None:
        """Publish progress: `done` of `total`, and counts by name (others stay). Raises Cancelled, Lost."""
        values: dict[str, Any] = {"done": done, "total": total, "counts": {**self.job.counts, **counts}}
        if message is not None:
            values["message"] = mask(message)
        async with self._held.db.begin() as tx:
            await self._update(tx, values)
            await tx.commit()

    async def save(self, checkpoint: Mapping[str, Any], tx: Write | None = None) -> None:
        """Keep a checkpoint for the next attempt: in `tx`, with the effect it speaks of, or on its own.

        Raises Cancelled, Lost.
        """
        values: dict[str, Any] = {"checkpoint": dict(checkpoint)}
        if values["checkpoint"] != self.job.checkpoint:
            values["attempt"] = 1
        if tx is not None:
            await self._update(tx, values)
            return
        async with self._held.db.begin() as own:
            await self._update(own, values)
            await own.commit()

    async def succeed(self, tx: Write, *, message: str = "", **counts: int) -> None:
        """End the job in the transaction of its effect; the handler commits it. Raises Lost."""
        values: dict[str, Any] = {
            "state": State.SUCCEEDED.value,
            "done": table.c.total,
            "counts": {**self.job.counts, **counts},
            "message": mask(message),
            "end_time": self._held.clock(),
        }
        if not await tx.execute(update(table).where(self._held.ours).values(values)):
            raise Lost

    async def _update(self, tx: Write, values: Mapping[str, Any]) -> None:
        stmt = update(table).where(self._held.ours).values(values)
        row = await tx.row(stmt.returning(table.c.cancel_asked, *_COLUMNS))
        if row is None:
            raise Lost
        if row.cancel_asked:
            raise Cancelled
        self._held.job = _job(row)


class _Held:
    """A claimed job, and the fence around it: our epoch, and still RUNNING."""

    def __init__(self, db: Database, row: Row[Any], clock: Clock, lease_seconds: float, retry_seconds: float) -> None:
        self.db = db
        self.clock = clock
        self.lease_seconds = lease_seconds
        self.retry_seconds = retry_seconds
        self.job = _job(row)
        self.claims: int = row.epoch
        self.ours = and_(table.c.job_id == row.job_id, table.c.epoch == row.epoch, table.c.state == State.RUNNING.value)

    async def set(self, **values: Any) -> bool:
        """Write, if the job is still ours; says whether it was."""
        async with self.db.begin() as tx:
            ours = await tx.execute(update(table).where(self.ours).values(values))
            await tx.commit()
        return bool(ours)

    async def renew(self) -> bool:
        """Prolong the lease; says whether it is still ours."""
        return await self.set(lease_until=lease.until(self.lease_seconds))

    async def end(self, state: State, error: str, message: str) -> None:
        """The end without an effect."""
        ours = await self.set(state=state.value, error=error, message=mask(message), end_time=self.clock())
        _log.info("job_ended", job=self.job.job_id, kind=self.job.kind, state=state.value, error=error, ours=ours)

    async def give_back(self) -> None:
        """Back to the queue without counting the attempt: the worker stops, the job did nothing wrong."""
        await self.set(state=State.QUEUED.value, attempt=table.c.attempt - 1, owner="")

    async def try_again(self, incident: str) -> None:
        """Back to the queue for later; or, after the last attempt, the end."""
        message = f"attempt {self.job.attempt} of {MOST_ATTEMPTS} failed, incident {incident}"
        if self.claims >= MOST_CLAIMS:
            message = f"failed however often it got on: {self.claims} claims, incident {incident}"
        if self.job.attempt >= MOST_ATTEMPTS or self.claims >= MOST_CLAIMS:
            await self.end(State.FAILED, "INTERNAL", message)
            return
        failures = max(self.job.attempt, self.claims // 10)
        later = lease.until(backoff(failures, first=self.retry_seconds, most=60))
        await self.set(state=State.QUEUED.value, message=message, owner="", not_before=later)


Handler = Callable[[Running], Awaitable[None]]


async def work(
    db: Database,
    handlers: Mapping[str, Handler],
    *,
    owner: str,
    clock: Clock,
    stop: asyncio.Event,
    lease_seconds: float = 15,
    poll: float = 0.3,
    at_once: int = 1,
    retry_seconds: float = 0.5,
) -> None:
    """Claim and run jobs of the handlers' kinds until `stop`, at most `at_once` together, the oldest first.

    What failed is tried again after `retry_seconds`, then after twice as much, and so on up to a minute. At `stop` the
    handlers are cancelled and their jobs go back to the queue, with their checkpoints.
    """
    running: set[asyncio.Task[None]] = set()
    claiming = _claiming(sorted(handlers), owner, lease_seconds)
    try:
        while not stop.is_set():
            claimed = await _claim(db, claiming, clock()) if len(running) < at_once else None
            if claimed is None:
                await pause(poll, stop)
                continue
            held = _Held(db, claimed, clock, lease_seconds, retry_seconds)
            task = asyncio.create_task(_run(held, claimed, handlers[claimed.kind], stop))
            running.add(task)
            task.add_done_callback(running.discard)
    finally:
        for task in running:
            if not stop.is_set():  # we are cancelled ourselves; at `stop` each gives its job back
                task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _claiming(kinds: list[str], owner: str, seconds: float) -> ReturningUpdate[Any]:
    """To take the oldest job that waits, or whose worker has let the lease run out; SKIP LOCKED keeps workers apart.

    Made once: to build it costs more than to ask Postgres, and an idle worker asks three times a second.
    """
    now = func.clock_timestamp()
    waits = and_(table.c.state == State.QUEUED.value, table.c.not_before <= now)
    orphan = and_(table.c.state == State.RUNNING.value, table.c.lease_until < now)
    oldest = (
        select(table.c.job_id)
        .where(table.c.kind.in_(kinds), or_(waits, orphan))
        .order_by(table.c.create_time, table.c.job_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return (
        update(table)
        .where(table.c.job_id == oldest.scalar_subquery())
        .values(
            state=State.RUNNING.value,
            owner=owner,
            epoch=table.c.epoch + 1,
            attempt=table.c.attempt + 1,
            lease_until=lease.until(seconds),
            start_time=func.coalesce(table.c.start_time, bindparam("start", type_=table.c.start_time.type)),
        )
        .returning(table.c.epoch, table.c.cancel_asked, table.c.traceparent, *_COLUMNS)
    )


async def _claim(db: Database, claiming: ReturningUpdate[Any], now: datetime) -> Row[Any] | None:
    """The job that was taken, or none."""
    try:
        async with db.begin() as tx:
            row = await tx.row(claiming, {"start": now})
            await tx.commit()
    except Exception as error:
        _log.warning("job_not_claimed", error=type(error).__name__)
        return None
    return row


async def _run(held: _Held, row: Row[Any], handler: Handler, stop: asyncio.Event) -> None:
    kind, outcome = held.job.kind, "left"
    about: telemetry.Attributes = {"job.id": held.job.job_id, "job.attempt": held.job.attempt}
    with telemetry.span(f"job {kind}", parent=row.traceparent, attributes=about, kind="consumer") as span:
        try:
            outcome = await _attempt(held, row.cancel_asked, handler, stop)
        except Exception:  # Postgres went away at the end: the lease runs out and the job is resumed
            _log.exception("job_left", job=held.job.job_id, kind=kind)
        span.set("job.outcome", outcome)
    _ends(1, kind=kind, outcome=outcome)


async def _attempt(held: _Held, cancelled: bool, handler: Handler, stop: asyncio.Event) -> str:
    """One attempt, to its end in the table; gives the word for it."""
    job = held.job
    try:
        if cancelled:
            raise Cancelled
        if job.attempt > MOST_ATTEMPTS or held.claims > MOST_CLAIMS:  # its workers died under it, each time
            ended = f"{MOST_ATTEMPTS} attempts" if job.attempt > MOST_ATTEMPTS else f"{MOST_CLAIMS} claims"
            await held.end(State.FAILED, "INTERNAL", f"{ended} ended without a word")
            return "exhausted"
        working = _called(handler, Running(held))
        if not await lease.hold(working, renew=held.renew, seconds=held.lease_seconds, stop=stop):
            await held.give_back()
            return "given back"
        if await held.set(owner=table.c.owner):  # still RUNNING under our epoch
            raise RuntimeError(f"the handler of {job.kind} ended without succeed()")
        return "succeeded"
    except Lost:
        _log.warning("job_lost", job=job.job_id, kind=job.kind)
        return "lost"
    except Cancelled:
        await held.end(State.CANCELLED, "", "cancelled")
        return "cancelled"
    except Refusal as refusal:
        await held.end(State.FAILED, refusal.reason, refusal.message)
        return "refused"
    except Exception as error:
        incident = system_ids()
        _log.error("job_attempt_failed", job=job.job_id, kind=job.kind, incident=incident, exc_info=error)
        await held.try_again(incident)
        return "failed"


async def _called(handler: Handler, running: Running) -> None:
    await handler(running)


def _jobs() -> Select[Any]:
    return select(*_COLUMNS)


def _job(row: Row[Any]) -> Job:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Job(**{**values, "state": State(row.state)})
