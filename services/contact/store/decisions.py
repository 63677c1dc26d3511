"""Decisions and grants, by arrays: however many are made together, each step is one statement, in one order."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta

import asyncpg
from sqlalchemy import text

from services.contact.domain.reservation import CANCELLED, EXPIRED, RESERVED, Decided, Kind
from services.contact.domain.standing import Standing, standing
from services.kit.db import Read, Write

# Whoever decides for the same customers waits for the others here, all in the same order; then one row for each, with
# small tables as texts: whoever stands alike gives the same texts, read once (migration 0010).
_STANDING = "SELECT * FROM standing_of(string_to_array($1, ',')::bigint[], $2, $3)"

_LOCK = "SELECT FROM customer WHERE customer_key = $1 FOR NO KEY UPDATE"

# What a row shares with others of its batch goes once; lists of numbers and of hexadecimal ids go as one text each,
# which the driver encodes at a tenth of the cost of an array.
_ADD = """
INSERT INTO decision (grant_id, fingerprint, customer_key, org_id, state, business_day, slot_id, channel, purpose,
    campaign_id, offer_id, product_id, exclusive_group, content, reason, bid_fen, decide_time, expire_time, shard,
    quotas)
SELECT grant_id, fingerprint, customer_key, org_id, state, $6, slot_id, channel, purpose, campaign_id, offer_id,
    product_id, exclusive_group, content, reason, bid_fen, $7, $8, $9, string_to_array(quotas, '|')
FROM unnest(string_to_array($1, ','), string_to_array($2, ','), string_to_array($3, ',')::bigint[],
    string_to_array($4, ',')::float8[], string_to_array($5, ',')::bigint[])
    AS one (grant_id, fingerprint, customer_key, bid_fen, kind)
JOIN unnest($10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
    $18::text[], $19::text[], $20::text[], $21::text[]) WITH ORDINALITY
    AS shared (org_id, state, slot_id, channel, purpose, campaign_id, offer_id, product_id, exclusive_group, content,
        reason, quotas, kind) USING (kind)
ON CONFLICT DO NOTHING
"""

_LEASE = """
WITH asked AS (SELECT * FROM unnest($1::text[], $2::bigint[]) AS one (name, capacity)),
known AS (
    INSERT INTO quota AS kept (name, capacity, leased) SELECT name, capacity, 0 FROM asked ORDER BY name
    ON CONFLICT (name) DO UPDATE SET capacity = excluded.capacity RETURNING name
)
SELECT count(*) FROM known
"""

_TAKE = """
WITH held AS (
    SELECT name, leased, least(asked.units, greatest(capacity - leased, 0)) AS units
    FROM quota JOIN unnest($1::text[], $2::bigint[]) AS asked (name, units) USING (name) ORDER BY name
    FOR UPDATE OF quota
),
given AS (
    UPDATE quota SET leased = quota.leased + held.units FROM held WHERE quota.name = held.name
    RETURNING quota.name, held.units
)
INSERT INTO quota_lease AS kept (name, shard, units) SELECT name, $3, units FROM given
ON CONFLICT (name, shard) DO UPDATE SET units = kept.units + excluded.units
RETURNING name, (SELECT units FROM given WHERE given.name = kept.name) AS units
"""

# A unit that was given back is the lease's no more, and the quota's again; `name*units` is several of them.
_RETURN = """
WITH back AS (
    SELECT split_part(one.told, '*', 1) AS name, shard,
        sum(coalesce(nullif(split_part(one.told, '*', 2), ''), '1')::bigint) AS units
    FROM (SELECT unnest(string_to_array(told.quotas, '|')) AS told, told.shard
          FROM unnest($1::text[], $2::bigint[]) AS told (quotas, shard)) AS one
    GROUP BY 1, 2 ORDER BY 1, 2
),
lease AS (
    UPDATE quota_lease SET units = quota_lease.units - back.units FROM back
    WHERE quota_lease.name = back.name AND quota_lease.shard = back.shard
)
UPDATE quota SET leased = quota.leased - total.units
FROM (SELECT name, sum(units) AS units FROM back GROUP BY name ORDER BY name) AS total WHERE quota.name = total.name
"""

_FENCE_OFF = """
UPDATE shard SET expire_time = '-infinity' WHERE shard IN (
    SELECT shard FROM shard WHERE expire_time < $1 AND expire_time > '-infinity' ORDER BY shard FOR UPDATE SKIP LOCKED)
RETURNING shard
"""

# Used units of a process that is gone stay with the quota; the rest goes back, and the lease ends.
_RECLAIM = """
WITH ended AS (DELETE FROM quota_lease WHERE shard = ANY($1::bigint[]) RETURNING name, shard, units),
unused AS (
    SELECT ended.name, ended.units - coalesce((
        SELECT sum(coalesce(nullif(split_part(one.told, '*', 2), ''), '1')::bigint)
        FROM decision, unnest(decision.quotas) AS one (told)
        WHERE decision.shard = ended.shard AND decision.state IN ('RESERVED', 'CONFIRMED')
            AND split_part(one.told, '*', 1) = ended.name), 0) AS units
    FROM ended
)
UPDATE quota SET leased = quota.leased - back.units
FROM (SELECT name, sum(units) AS units FROM unused GROUP BY name ORDER BY name) AS back WHERE quota.name = back.name
"""


class LeaseLost(Exception):
    """The process was fenced: its number is no more in force."""


class Decisions:
    """The tables `decision` and `do_not_contact`."""

    async def lock(self, tx: Write, customers: Collection[int], since: date, now: datetime) -> dict[int, Standing]:
        """The customers that are known, held until the transaction ends, with all that counts from `since` on."""
        keys = ",".join(map(str, sorted(customers)))
        return {row[0]: standing(*row[1:]) for row in await tx.driver.fetch(_STANDING, keys, since, now)}

    async def add(self, tx: Write, decided: Sequence[Decided]) -> bool:
        """Keep decisions of one batch, made at one time; whether none of them was there before."""
        if not decided:
            return True
        first = decided[0]
        kinds: dict[Kind, int] = {}
        numbers: dict[int, int] = {}  # by identity, since kinds are shared and dear to compare
        kind = []
        for one in decided:
            number = numbers.get(id(one.kind))
            if number is None:
                number = numbers[id(one.kind)] = kinds.setdefault(one.kind, len(kinds) + 1)
            kind.append(number)
        done = await tx.driver.execute(
            _ADD,
            ",".join([one.grant_id for one in decided]),
            ",".join([one.fingerprint for one in decided]),
            ",".join([str(one.customer_key) for one in decided]),
            ",".join([repr(one.bid_fen) for one in decided]),
            ",".join(map(str, kind)),
            first.business_day,
            first.decide_time,
            first.expire_time,
            first.shard,
            *map(list, zip(*[(*one[:-1], "|".join(one.quotas)) for one in kinds], strict=True)),
        )
        return int(str(done).rpartition(" ")[2]) == len(decided)

    async def of_ids(self, tx: Write, grant_ids: Collection[str]) -> dict[str, Decided]:
        """Decisions that were made before, by id."""
        rows = await tx.driver.fetch("SELECT * FROM decision WHERE grant_id = ANY($1::text[])", list(grant_ids))
        return {row["grant_id"]: _decided(row) for row in rows}

    async def for_update(self, tx: Write, grant_id: str) -> Decided | None:
        """One decision, held until the transaction ends, after its customer."""
        await tx.driver.fetch(
            "SELECT FROM customer JOIN decision USING (customer_key) WHERE grant_id = $1 FOR NO KEY UPDATE OF customer",
            grant_id,
        )
        row = await tx.driver.fetchrow("SELECT * FROM decision WHERE grant_id = $1 FOR UPDATE", grant_id)
        return None if row is None else _decided(row)

    async def move(self, tx: Write, grant_id: str, state: str) -> None:
        """Keep a grant's new state."""
        await tx.driver.execute("UPDATE decision SET state = $2 WHERE grant_id = $1", grant_id, state)

    async def confirm(self, tx: Write, grant_ids: Sequence[str]) -> None:
        """These contacts are made now; their customers are held."""
        if grant_ids:
            stmt = "UPDATE decision SET state = 'CONFIRMED' WHERE grant_id = ANY($1::text[]) AND state = 'RESERVED'"
            await tx.driver.execute(stmt, list(grant_ids))

    async def cancel(self, tx: Write, grant_ids: Sequence[str]) -> None:
        """These contacts were not made after all."""
        if grant_ids:
            rows = await tx.driver.fetch(
                "UPDATE decision SET state = 'CANCELLED' WHERE grant_id = ANY($1::text[]) "
                "AND state IN ('RESERVED', 'CONFIRMED') RETURNING quotas, shard",
                list(grant_ids),
            )
            await self.give_back(tx, [(tuple(quotas), shard) for quotas, shard in rows])

    async def expire(self, tx: Write, now: datetime, most: int) -> int:
        """End reservations whose time is over, and give back what they held; gives how many."""
        rows = await tx.driver.fetch(
            "UPDATE decision SET state = $1 WHERE grant_id IN (SELECT grant_id FROM decision WHERE state = $2 "
            "AND expire_time <= $3 ORDER BY expire_time LIMIT $4 FOR UPDATE SKIP LOCKED) RETURNING quotas, shard",
            EXPIRED,
            RESERVED,
            now,
            most,
        )
        await self.give_back(tx, [(tuple(quotas), shard) for quotas, shard in rows])
        return len(rows)

    async def withdraw(self, tx: Write, customer_key: int, way: tuple[str, str] | None, now: datetime) -> int:
        """The customer takes a consent back (None: every one); gives how many reservations fell with it."""
        await tx.driver.fetch(_LOCK, customer_key)
        org_id = await tx.driver.fetchval("SELECT org_id FROM customer WHERE customer_key = $1", customer_key) or ""
        if way is None:
            await tx.driver.execute(
                "INSERT INTO do_not_contact VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", customer_key, org_id, now
            )
        else:
            await tx.driver.execute(
                "INSERT INTO consent AS kept (customer_key, channel, purpose, org_id, granted, change_time) "
                "VALUES ($1, $2, $3, $4, false, $5) ON CONFLICT (customer_key, channel, purpose) DO UPDATE "
                "SET granted = false, change_time = greatest(kept.change_time, excluded.change_time)",
                customer_key,
                *way,
                org_id,
                now,
            )
        rows = await tx.driver.fetch(
            "UPDATE decision SET state = $2 WHERE customer_key = $1 AND state = $3 "
            "AND ($4::text IS NULL OR (channel, purpose) = ($4, $5)) RETURNING quotas, shard",
            customer_key,
            CANCELLED,
            RESERVED,
            *(way or (None, None)),
        )
        await self.give_back(tx, [(tuple(quotas), shard) for quotas, shard in rows])
        return len(rows)

    async def give_back(self, tx: Write, units: Sequence[tuple[tuple[str, ...], int]]) -> None:
        """Units of quotas, each of them leased by a shard, were not used after all."""
        held = [(quotas, shard) for quotas, shard in units if quotas]
        if held:
            await tx.driver.execute(_RETURN, ["|".join(quotas) for quotas, _ in held], [shard for _, shard in held])

    async def used_on(self, tx: Write, on: date, budgets: Collection[str]) -> Mapping[str, int]:
        """Quota → what plans have used of it on the day, which the quota does not hold; of these campaigns' budgets
        what they have spent, ever."""
        rows = await tx.driver.fetch(
            "SELECT 'channel ' || channel || ' ' || $1::date AS name, count(*) FROM contact "
            "WHERE plan_date = $1 AND state = 'HANDED_OVER' GROUP BY 1 UNION ALL "
            "SELECT 'campaign ' || campaign_id || ' ' || $1::date, count(*) FROM contact "
            "WHERE plan_date = $1 AND state = 'HANDED_OVER' GROUP BY 1 UNION ALL "
            "SELECT 'budget ' || campaign_id, sum(cost_fen)::bigint FROM contact "
            "WHERE campaign_id = ANY($2::text[]) AND state = 'HANDED_OVER' GROUP BY 1",
            on,
            list(budgets),
        )
        return {row["name"]: int(row["count"]) for row in rows}

    async def made_on(self, read: Read, on: date) -> Mapping[str, int]:
        """Campaign name → contacts and live grants of a day."""
        stmt = text(
            "SELECT campaign.name, count(*) AS made FROM ("
            "SELECT campaign_id FROM contact WHERE plan_date = :on AND state = 'HANDED_OVER' UNION ALL "
            "SELECT campaign_id FROM decision WHERE business_day = :on AND state IN ('RESERVED', 'CONFIRMED')"
            ") AS one JOIN campaign USING (campaign_id) GROUP BY 1"
        )
        return {row.name: int(row.made) for row in await read.rows(stmt, {"on": on})}

    async def quotas(self, read: Read, names: Collection[str]) -> Mapping[str, tuple[int, int]]:
        """Quota → its capacity, and what is leased or used of it."""
        rows = await read.rows(
            text("SELECT name, capacity, leased FROM quota WHERE name = ANY(:names)"), {"names": list(names)}
        )
        return {row.name: (row.capacity, row.leased) for row in rows}

    async def spent(self, read: Read, budgets: Collection[str]) -> Mapping[str, int]:
        """Campaign → what its contacts and its grants have cost so far, in fen."""
        stmt = text(
            "SELECT campaign_id, sum(fen)::bigint AS fen FROM ("
            "SELECT campaign_id, sum(cost_fen) AS fen FROM contact WHERE campaign_id = ANY(:ids) "
            "AND state = 'HANDED_OVER' GROUP BY 1 UNION ALL "
            "SELECT substr(split_part(name, '*', 1), 8), leased FROM quota WHERE name = ANY(:names)"
            ") AS told GROUP BY 1"
        )
        told = {"ids": list(budgets), "names": [f"budget {one}" for one in budgets]}
        return {row.campaign_id: int(row.fen) for row in await read.rows(stmt, told)}


class Shards:
    """The tables `shard`, `quota` and `quota_lease`."""

    async def begin(self, tx: Write, until: datetime) -> int:
        """A number that no process had before, in force until then."""
        return int(
            await tx.driver.fetchval("INSERT INTO shard VALUES (nextval('shard_number'), $1) RETURNING shard", until)
        )

    async def prolong(self, tx: Write, shard: int, now: datetime, until: datetime) -> bool:
        """Stay in force; False when it is too late."""
        done = await tx.driver.execute(
            "UPDATE shard SET expire_time = $3 WHERE shard = $1 AND expire_time > $2", shard, now, until
        )
        return str(done) == "UPDATE 1"

    async def fence(self, tx: Write, shard: int, now: datetime) -> None:
        """Until the transaction ends nobody reclaims what this process leased. Raises LeaseLost."""
        row = await tx.driver.fetchrow(
            "SELECT 1 FROM shard WHERE shard = $1 AND expire_time > $2 FOR KEY SHARE", shard, now
        )
        if row is None:
            raise LeaseLost

    async def lease(
        self, tx: Write, shard: int, capacity: Mapping[str, int], units: Mapping[str, int]
    ) -> dict[str, int]:
        """Lease at most so many units of each quota, whose capacities are these; gives what was to be had."""
        names = sorted(capacity)
        await tx.driver.execute(_LEASE, names, [max(capacity[name], 0) for name in names])
        sizes = [units[name] for name in names]
        return {name: int(got) for name, got in await tx.driver.fetch(_TAKE, names, sizes, shard)}

    async def reclaim(self, tx: Write, now: datetime) -> int:
        """Take back what processes that are gone had leased and not used; gives how many are gone."""
        rows = await tx.driver.fetch(_FENCE_OFF, now - timedelta(seconds=1))
        gone = [row["shard"] for row in rows]
        # They can decide no more; a statement of its own sees all that they did.
        if gone:
            await tx.driver.execute(_RECLAIM, gone)
        return len(gone)


def _decided(row: "asyncpg.Record") -> Decided:
    values = dict(row)
    values["quotas"] = tuple(values["quotas"])
    kind = Kind(**{name: values[name] for name in Kind._fields})
    return Decided(**{name: values[name] for name in Decided._fields if name != "kind"}, kind=kind)
