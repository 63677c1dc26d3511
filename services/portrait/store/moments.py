"""Moment rules, the journal of events, and what was found."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring as _quoted
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from services.kit import telemetry
from services.kit.db import Read, Write
from services.portrait.domain.moment import Event, Match, Rule
from services.portrait.domain.moment.codec import pattern_of, to_json
from services.portrait.tables import moment, moment_event, moment_rule

FOUND = "moment.found"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_JOURNALLED = tuple(
    moment_event.c[name] for name in ("seq", "receive_ms", "event_id", "type", "customer_key", "occur_ms", "fields")
)

# The highest place is the one before the statement, which does not see what it inserts itself.
_JOURNAL = """
    WITH page AS (
        INSERT INTO moment_event (customer_key, org_id, occur_ms, receive_ms, event_id, type, fields)
        SELECT e.customer_key, COALESCE(p.org_id, ''), e.occur_ms, e.receive_ms, e.event_id, e.type, e.fields
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[])
             WITH ORDINALITY AS e (customer_key, occur_ms, receive_ms, event_id, type, fields, n)
        LEFT JOIN current_run c ON c.one LEFT JOIN portrait p ON p.run_no = c.run_no AND p.customer_key = e.customer_key
        ORDER BY e.n
        RETURNING seq
    )
    SELECT (SELECT COALESCE(max(seq), 0) FROM moment_event) AS before, array_agg(seq ORDER BY seq) AS seqs FROM page
"""
# A match that is there already was delivered already: only what is new goes to the outbox, in the same statement.
_FOUND = """
    WITH fresh AS (
        INSERT INTO moment
            (moment_id, rule_id, version, customer_key, org_id, match_ms, start_ms, start_event_id, found_ms)
        SELECT m.moment_id, m.rule_id, m.version, m.customer_key, COALESCE(p.org_id, ''), m.match_ms, m.start_ms,
               m.start_event_id, m.found_ms
        FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[],
                    $8::bigint[])
             AS m (moment_id, rule_id, version, customer_key, match_ms, start_ms, start_event_id, found_ms)
        LEFT JOIN current_run c ON c.one LEFT JOIN portrait p ON p.run_no = c.run_no AND p.customer_key = m.customer_key
        ON CONFLICT (moment_id) DO NOTHING
        RETURNING *
    )
    INSERT INTO outbox (kind, key, payload, traceparent)
    SELECT 'moment.found', fresh.moment_id, to_jsonb(fresh) || jsonb_build_object('title', r.title), $9
    FROM fresh JOIN moment_rule r USING (rule_id, version)
    ORDER BY fresh.match_ms, fresh.moment_id
"""
_FORGET = text(
    "DELETE FROM moment_event WHERE seq IN (SELECT seq FROM moment_event WHERE receive_ms < :before "
    "AND seq <= (SELECT COALESCE(min(seq), 0) FROM moment_partition) ORDER BY seq LIMIT :most)"
)

_OLDEST = text("SELECT receive_ms FROM moment_event ORDER BY seq LIMIT 1")
_STAMP = text(
    "SELECT concat_ws(' ', count(*), max(publish_ms), count(retire_ms), max(retire_ms)) FROM moment_rule "
    "WHERE state <> 'DRAFT'"
)
_ENDED = text(
    "SELECT rule_id, version, retire_ms FROM moment_rule WHERE (rule_id, version) IN "
    "(SELECT * FROM unnest(CAST(:rule_ids AS text[]), CAST(:versions AS int[]))) ORDER BY rule_id, version FOR SHARE"
).bindparams(*(bindparam(name) for name in ("rule_ids", "versions")))


@dataclass(frozen=True)
class StoredRule:
    """A rule with what the table knows of it."""

    rule: Rule
    state: str
    audience: Any
    owner: str


class Journalled(NamedTuple):
    """An event of the journal: its place, and when it became known."""

    seq: int
    received: int
    event: Event


@dataclass(frozen=True)
class FoundMoment:
    """A moment as it is kept."""

    match: Match
    org_id: str
    title: str


class Moments:
    """Rules by id and version, events by seq, moments by id."""

    async def put_rule(self, tx: Write, rule: Rule, audience: Any, owner: str, now: datetime) -> StoredRule:
        """Keep a draft as the next version."""
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": f"moment_rule {rule.rule_id}"})
        last = select(func.coalesce(func.max(moment_rule.c.version), 0)).where(moment_rule.c.rule_id == rule.rule_id)
        stmt = insert(moment_rule).values(
            rule_id=rule.rule_id,
            version=await tx.value(last) + 1,
            state="DRAFT",
            title=rule.title,
            pattern=to_json(rule.pattern),
            audience=audience,
            cool_down_ms=rule.cool_down,
            lateness_ms=rule.lateness,
            stale_after_ms=rule.stale_after,
            owner=owner,
            create_time=now,
        )
        row = await tx.row(stmt.returning(moment_rule))
        assert row is not None, "an insert returns its row"
        return _rule(row)

    async def rule(self, read: Read, rule_id: str, version: int) -> StoredRule | None:
        """A version of a rule; 0 is the latest."""
        stmt = select(moment_rule).where(moment_rule.c.rule_id == rule_id)
        if version:
            stmt = stmt.where(moment_rule.c.version == version)
        row = await read.row(stmt.order_by(moment_rule.c.version.desc()).limit(1))
        return _rule(row) if row is not None else None

    async def rules(self, read: Read, after: str, size: int) -> list[StoredRule]:
        """The latest versions by id."""
        stmt = select(moment_rule).ext(distinct_on(moment_rule.c.rule_id)).where(moment_rule.c.rule_id > after)
        ordered = stmt.order_by(moment_rule.c.rule_id, moment_rule.c.version.desc()).limit(size)
        return [_rule(row) for row in await read.rows(ordered)]

    async def active(self, read: Read) -> list[StoredRule]:
        """What is in force now."""
        stmt = select(moment_rule).where(moment_rule.c.state == "ACTIVE").order_by(moment_rule.c.rule_id)
        return [_rule(row) for row in await read.rows(stmt)]

    async def watched(self, read: Read, now: int) -> list[StoredRule]:
        """What is in force, and what was until so short a time ago that an event of then may still become known."""
        until = moment_rule.c.retire_ms + moment_rule.c.stale_after_ms + moment_rule.c.lateness_ms
        late = (moment_rule.c.state == "RETIRED") & moment_rule.c.publish_ms.is_not(None) & (until > now)
        stmt = select(moment_rule).where((moment_rule.c.state == "ACTIVE") | late)
        rows = await read.rows(stmt.order_by(moment_rule.c.rule_id, moment_rule.c.version))
        return [_rule(row) for row in rows]

    async def stamp(self, read: Read) -> str:
        """A word that is another one after each publication and retirement."""
        return str(await read.value(_STAMP))

    async def in_turn(self, tx: Write, rule_id: str) -> None:
        """Have publications and retirements of a rule, and matches of it, wait for each other to be committed."""
        rows = select(moment_rule.c.version).where(moment_rule.c.rule_id == rule_id)
        await tx.rows(rows.order_by(moment_rule.c.version).with_for_update())

    async def outlived(self, tx: Write, found: Sequence[Match]) -> bool:
        """Whether one of these matches began when its rule was in force no more. No rule of them changes before the
        transaction ends."""
        told = sorted({(one.rule_id, one.version) for one in found})
        columns = {"rule_ids": [rule_id for rule_id, _ in told], "versions": [version for _, version in told]}
        ended = {(row.rule_id, row.version): row.retire_ms for row in await tx.rows(_ENDED, columns)}
        return any((end := ended.get((one.rule_id, one.version))) is not None and end <= one.time for one in found)

    async def retire(self, tx: Write, rule_id: str, now: int) -> None:
        """Take back the active version, if there is one."""
        chosen = (moment_rule.c.rule_id == rule_id) & (moment_rule.c.state == "ACTIVE")
        await tx.execute(update(moment_rule).where(chosen).values(state="RETIRED", retire_ms=now))

    async def activate(self, tx: Write, rule_id: str, version: int, now: int) -> None:
        """Watch for a version from now on."""
        chosen = (moment_rule.c.rule_id == rule_id) & (moment_rule.c.version == version)
        await tx.execute(update(moment_rule).where(chosen).values(state="ACTIVE", publish_ms=now))

    async def journal(self, tx: Write, events: Sequence[tuple[Event, int]]) -> tuple[int, list[int]]:
        """Append one event or more, each with the time at which it became known. Gives the highest place before them,
        and theirs, in their order."""
        columns = [
            [event.customer_key for event, _ in events],
            [event.time for event, _ in events],
            [received for _, received in events],
            [event.event_id for event, _ in events],
            [event.type for event, _ in events],
            [_written(event.fields) for event, _ in events],
        ]
        row = await tx.driver.fetchrow(_JOURNAL, *columns)
        assert row is not None, "an aggregate is a row"
        return row["before"], row["seqs"]

    async def read_on(self, read: Read, after: int, most: int) -> list[Journalled]:
        """The journal behind a place, in order."""
        stmt = select(*_JOURNALLED).where(moment_event.c.seq > after).order_by(moment_event.c.seq).limit(most)
        return _events(await read.rows(stmt))

    async def past(
        self, read: Read, types: Sequence[str], since: int, up_to: int, *, after: int = 0, most: int = 100_000
    ) -> list[Journalled]:
        """Events of some types that became known since a time, behind `after` and up to a place, in order."""
        chosen = (
            (moment_event.c.receive_ms >= since)
            & moment_event.c.type.in_(types)
            & moment_event.c.seq.between(after + 1, up_to)
        )
        rows = await read.rows(select(*_JOURNALLED).where(chosen).order_by(moment_event.c.seq).limit(most))
        return _events(rows)

    async def of_customer(
        self,
        read: Read,
        customer_key: int,
        *,
        before: int,
        since: int = 0,
        most: int = 10_000,
        heads: Sequence[str] = (),
    ) -> list[Journalled]:
        """A customer's events that occurred before a time, the latest first; of types that begin with one of `heads`,
        or of all."""
        chosen = (
            (moment_event.c.customer_key == customer_key)
            & (moment_event.c.occur_ms < before)
            & (moment_event.c.occur_ms >= since)
        )
        if heads:
            chosen &= or_(*(moment_event.c.type.startswith(head, autoescape=True) for head in heads))
        order = (moment_event.c.occur_ms.desc(), moment_event.c.seq.desc())
        rows = await read.rows(select(*_JOURNALLED).where(chosen).order_by(*order).limit(most))
        return _events(rows)

    async def known_since(self, read: Read) -> int | None:
        """When the oldest event that is still journalled became known; None when there is none."""
        found: int | None = await read.value(_OLDEST)
        return found

    async def forget(self, tx: Write, before: int, most: int) -> int:
        """Delete at most `most` events that became known before a time and that every partition has read."""
        return await tx.execute(_FORGET, {"before": before, "most": most})

    async def put(self, tx: Write, found: Sequence[Match]) -> None:
        """Keep matches and tell of those that are new, in the order in which they matched."""
        columns = [
            [one.match_id for one in found],
            [one.rule_id for one in found],
            [one.version for one in found],
            [one.customer_key for one in found],
            [one.time for one in found],
            [one.start_time for one in found],
            [one.start_event_id for one in found],
            [one.found for one in found],
        ]
        await tx.driver.execute(_FOUND, *columns, telemetry.traceparent())

    async def found(
        self, read: Read, *, rule_id: str = "", customer_key: int = 0, after: tuple[int, str] | None = None, size: int
    ) -> list[FoundMoment]:
        """Moments, the latest found first, behind (found_ms, moment_id)."""
        stmt = select(moment, moment_rule.c.title).join(
            moment_rule, (moment_rule.c.rule_id == moment.c.rule_id) & (moment_rule.c.version == moment.c.version)
        )
        if rule_id:
            stmt = stmt.where(moment.c.rule_id == rule_id)
        if customer_key:
            stmt = stmt.where(moment.c.customer_key == customer_key)
        if after is not None:
            behind = (moment.c.found_ms == after[0]) & (moment.c.moment_id < after[1])
            stmt = stmt.where((moment.c.found_ms < after[0]) | behind)
        rows = await read.rows(stmt.order_by(moment.c.found_ms.desc(), moment.c.moment_id.desc()).limit(size))
        return [FoundMoment(_match(row), row.org_id, row.title) for row in rows]

    async def found_since(
        self, read: Read, since: int, partitions: int, partition: int, rule_id: str = ""
    ) -> list[Match]:
        """What was found for a partition's customers since a time, of one rule or of all."""
        chosen = (moment.c.found_ms >= since) & (moment.c.customer_key % partitions == partition)
        if rule_id:
            chosen &= moment.c.rule_id == rule_id
        return [_match(row) for row in await read.rows(select(moment).where(chosen).order_by(moment.c.found_ms))]


def _rule(row: Row[Any]) -> StoredRule:
    rule = Rule(
        row.rule_id,
        row.version,
        pattern_of(row.pattern),
        row.cool_down_ms,
        row.lateness_ms,
        row.stale_after_ms,
        row.publish_ms or 0,
        row.retire_ms,
        row.title,
    )
    return StoredRule(rule, row.state, row.audience, row.owner)


def _written(fields: Mapping[str, object]) -> str:
    """The fields as a JSON object. Nearly all are texts, whose form is made without an encoder: this is every event."""
    try:
        return "{" + ",".join([f"{_quoted(name)}:{_quoted(value)}" for name, value in fields.items()]) + "}"  # type: ignore[arg-type]
    except TypeError:  # a number, or a truth value
        return _encode(dict(fields))


def _events(rows: Sequence[Row[Any]]) -> list[Journalled]:
    """A page of the journal; the fields of all its events are parsed in one go."""
    told = json.loads(f"[{','.join([row.fields for row in rows])}]")
    found = []
    for row, fields in zip(rows, told, strict=True):
        seq, received, event_id, kind, customer_key, occurred, _ = tuple(row)
        found.append(Journalled(seq, received, Event(event_id, kind, customer_key, occurred, fields)))
    return found


def _match(row: Row[Any]) -> Match:
    return Match(
        row.moment_id,
        row.rule_id,
        row.version,
        row.customer_key,
        row.match_ms,
        row.start_ms,
        row.start_event_id,
        row.found_ms,
    )


def events_in_order(found: Iterable[Journalled]) -> list[Journalled]:
    """As they occurred."""
    return sorted(found, key=lambda one: (one.event.time, one.event.event_id))
