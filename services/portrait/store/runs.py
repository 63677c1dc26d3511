"""Published runs: what they are, their files, who bears which tag; and how one is published and an old one dropped."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.portrait.domain.pack import Encoded
from services.portrait.domain.run import LakeFile, Run
from services.portrait.tables import current_run, dwell_audit, portrait, run, run_file, tag_count

RUN_COLUMNS = (
    run.c.run_id,
    run.c.from_date,
    run.c.to_date,
    run.c.customers,
    run.c.signalling_rows,
    run.c.visits,
    run.c.sha256,
    run.c.held,
    run.c.catalogue_version,
)
_MOVE = text(
    "INSERT INTO current_run (run_no) VALUES (:run_no) ON CONFLICT (one) DO UPDATE SET run_no = EXCLUDED.run_no WHERE "
    "(SELECT r.to_date FROM run r WHERE r.run_no = EXCLUDED.run_no) >= "
    "(SELECT r.to_date FROM run r WHERE r.run_no = current_run.run_no)"
)

_MOST_PAST = 24


@dataclass(frozen=True)
class Published:
    """A run with what only the table knows of it."""

    run: Run
    job_id: str
    catalogue_version: str
    catalogue_digest: str
    percentiles: Mapping[str, float]


class Runs:
    """Runs by id; rows of customers stand under the run's number."""

    async def current(self, read: Read) -> tuple[int, Run] | None:
        """The run that readers see, with its number."""
        stmt = select(run.c.run_no, *RUN_COLUMNS).join(current_run, current_run.c.run_no == run.c.run_no)
        row = await read.row(stmt)
        return (row.run_no, run_of(row)) if row is not None else None

    async def by_id(self, read: Read, run_id: str) -> tuple[int, Run] | None:
        """A run by its id, with its number."""
        row = await read.row(select(run.c.run_no, *RUN_COLUMNS).where(run.c.run_id == run_id))
        return (row.run_no, run_of(row)) if row is not None else None

    async def before(self, read: Read, to_date: date) -> tuple[int, Run] | None:
        """The published run whose data end last before `to_date`, with its number: the run that this one follows."""
        stmt = select(run.c.run_no, *RUN_COLUMNS).where(run.c.to_date < to_date, run.c.held == [])
        row = await read.row(stmt.order_by(run.c.to_date.desc(), run.c.run_no.desc()).limit(1))
        return (row.run_no, run_of(row)) if row is not None else None

    async def page(self, read: Read, before_no: int | None, size: int) -> list[tuple[int, Run]]:
        """Runs with their numbers, the latest first, below a number."""
        stmt = select(run.c.run_no, *RUN_COLUMNS).order_by(run.c.run_no.desc()).limit(size)
        rows = await read.rows(stmt.where(run.c.run_no < before_no) if before_no is not None else stmt)
        return [(row.run_no, run_of(row)) for row in rows]

    async def as_of(self, read: Read, day: date | None) -> list[tuple[int, Run]]:
        """The runs of which history is told: the last one whose data end on `day` or before; all without a day."""
        stmt = (
            select(run.c.run_no, *RUN_COLUMNS)
            .where(run.c.held == [])
            .order_by(run.c.to_date.desc(), run.c.run_no.desc())
        )
        rows = await read.rows(stmt.where(run.c.to_date <= day).limit(1) if day is not None else stmt.limit(_MOST_PAST))
        return [(row.run_no, run_of(row)) for row in rows]

    async def release(self, tx: Write, run_no: int) -> None:
        """A held run is held no more."""
        await tx.execute(update(run).where(run.c.run_no == run_no).values(held=[]))

    async def files(self, read: Read, run_no: int, kind: str) -> list[LakeFile]:
        """The files of one table of a run by bucket."""
        columns = (run_file.c.uri, run_file.c.rows, run_file.c.sha256, run_file.c.bucket)
        stmt = select(*columns).where(run_file.c.run_no == run_no, run_file.c.kind == kind).order_by(run_file.c.bucket)
        return [LakeFile(row.uri, row.rows, row.sha256, row.bucket) for row in await read.rows(stmt)]

    async def tag_counts(self, read: Read, run_no: int) -> dict[str, int]:
        """How many customers bear each tag or value."""
        stmt = select(tag_count.c.tag, tag_count.c.customers).where(tag_count.c.run_no == run_no)
        return {row.tag: row.customers for row in await read.rows(stmt)}

    async def org_of(self, read: Read, run_no: int, customer_key: int) -> str | None:
        """The organisation of a customer in a run, None for an unknown one."""
        stmt = select(portrait.c.org_id).where(portrait.c.run_no == run_no, portrait.c.customer_key == customer_key)
        found: str | None = await read.value(stmt)
        return found

    async def orgs_of(self, read: Read, run_no: int, customer_keys: Sequence[int]) -> dict[int, str]:
        """The organisations of the known ones among customers, in a run."""
        chosen = (portrait.c.run_no == run_no) & portrait.c.customer_key.in_(customer_keys)
        rows = await read.rows(select(portrait.c.customer_key, portrait.c.org_id).where(chosen))
        return {row.customer_key: row.org_id for row in rows}

    async def put(self, tx: Write, published: Published, now: datetime) -> int | None:
        """Keep a run; gives its number, or None when it is there already."""
        stmt = insert(run).values(
            run_id=published.run.run_id,
            job_id=published.job_id,
            from_date=published.run.from_date,
            to_date=published.run.to_date,
            customers=published.run.customers,
            signalling_rows=published.run.signalling_rows,
            visits=published.run.visits,
            sha256=published.run.sha256,
            catalogue_version=published.catalogue_version,
            catalogue_digest=published.catalogue_digest,
            percentiles=dict(published.percentiles),
            held=list(published.run.held),
            publish_time=now,
        )
        made: int | None = await tx.value(stmt.on_conflict_do_nothing().returning(run.c.run_no))
        return made

    async def replace_files(self, tx: Write, run_no: int, kind: str, files: Sequence[LakeFile]) -> None:
        """Let a table of a run be these files from the commit on."""
        await tx.execute(delete(run_file).where(run_file.c.run_no == run_no, run_file.c.kind == kind))
        await self.put_files(tx, run_no, {kind: files})

    async def put_files(self, tx: Write, run_no: int, files: Mapping[str, Sequence[LakeFile]]) -> None:
        """Keep a run's manifest."""
        rows = [
            {
                "run_no": run_no,
                "kind": kind,
                "bucket": file.bucket,
                "uri": file.uri,
                "rows": file.rows,
                "sha256": file.sha256,
            }
            for kind, each in files.items()
            for file in each
        ]
        await tx.execute(insert(run_file), rows)

    async def copy_portraits(self, tx: Write, run_no: int, rows: Iterable[tuple[int, str, Encoded]]) -> int:
        """Add portraits: (customer_key, org_id, portrait) by key."""
        records = ((run_no, key, org_id, *portrait) for key, org_id, portrait in rows)
        return await tx.copy("portrait", ("run_no", "customer_key", "org_id", "body", "clear", "masked"), records)

    async def put_counts(self, tx: Write, run_no: int, counts: Mapping[str, int]) -> None:
        """Keep how many customers bear each tag (CODE) or value (CODE=value)."""
        rows = [{"run_no": run_no, "tag": tag, "customers": customers} for tag, customers in counts.items()]
        if rows:
            await tx.execute(insert(tag_count), rows)

    async def make_current(self, tx: Write, run_no: int) -> bool:
        """Let readers see this run from the commit on; False when they see one whose data end later: a month that is
        computed late is history, and takes nobody back in time."""
        return await tx.execute(_MOVE, {"run_no": run_no}) > 0

    async def drop_rows_of_old(self, tx: Write, keep: int, most: int) -> int:
        """Delete at most `most` customers' rows of runs that are neither current nor one of the `keep` latest; gives
        how many went. What runs and files are stays."""
        latest = select(run.c.run_no).order_by(run.c.run_no.desc()).limit(keep)
        seen = select(current_run.c.run_no)
        old = (
            select(portrait.c.run_no, portrait.c.customer_key)
            .where(portrait.c.run_no.not_in(latest), portrait.c.run_no.not_in(seen))
            .limit(most)
            .cte("old")
        )
        matches = (portrait.c.run_no == old.c.run_no) & (portrait.c.customer_key == old.c.customer_key)
        return max(0, await tx.execute(delete(portrait).where(matches)))

    async def put_audit(
        self, tx: Write, *, now: datetime, caller: str, customer_key: int, org_id: str, purpose: str
    ) -> None:
        """Keep that somebody looked at a customer's dwell."""
        row = {"time": now, "caller": caller, "customer_key": customer_key, "org_id": org_id, "purpose": purpose}
        await tx.execute(insert(dwell_audit).values(row))


def run_of(row: Row[Any]) -> Run:
    """The run of a row with RUN_COLUMNS."""
    told = {column.name: getattr(row, column.name) for column in RUN_COLUMNS}
    return Run(**(told | {"held": tuple(row.held)}))
