"""Decisions and grants, by arrays: however many are made together, each step is one statement, in one order."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import asyncpg

from services.contact.domain.policy import Touch
from services.contact.domain.reservation import CANCELLED, EXPIRED, RESERVED, Decided
from services.kit.db import Write

# Whoever decides for the same customers waits here, and all in the same order, so that nobody waits in a circle.
_LOCK = """
SELECT customer_key, org_id, level, status FROM customer
WHERE customer_key = ANY(string_to_array($1, ',')::bigint[]) ORDER BY customer_key FOR NO KEY UPDATE
"""

_KNOWN = """
SELECT contact.customer_key, 'touch' AS kind, contact.plan_date AS day, contact.channel, 'marketing' AS purpose,
    contact.product_id AS what, offer.exclusive_group AS more, coalesce(outcome.result = 'REFUSED', false) AS flag
FROM contact JOIN offer USING (offer_id) LEFT JOIN outcome USING (contact_id)
WHERE contact.customer_key = ANY(string_to_array($1, ',')::bigint[]) AND contact.plan_date >= $2
    AND contact.state = 'HANDED_OVER'
UNION ALL
SELECT customer_key, 'touch', business_day, channel, purpose, product_id, exclusive_group, false FROM decision
WHERE customer_key = ANY(string_to_array($1, ',')::bigint[]) AND business_day >= $2
    AND (state = 'CONFIRMED' OR state = 'RESERVED' AND expire_time > $3)
UNION ALL
SELECT customer_key, 'consent', NULL, channel, purpose, '', '', granted FROM consent
WHERE customer_key = ANY(string_to_array($1, ',')::bigint[])
UNION ALL
SELECT customer_key, 'unwanted', NULL, '', '', '', '', true FROM do_not_contact
WHERE customer_key = ANY(string_to_array($1, ',')::bigint[])
"""

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
ON CONFLICT DO NOTHING RETURNING grant_id
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
WITH held AS (SELECT name, leased, capacity FROM quota WHERE name = ANY($1::text[]) ORDER BY name FOR UPDATE),
given AS (
    UPDATE quota SET leased = quota.leased + least($2, greatest(held.capacity - held.leased, 0))
    FROM held WHERE quota.name = held.name
    RETURNING quota.name, least($2, greatest(held.capacity - held.leased, 0)) AS units
)
INSERT INTO quota_lease AS kept (name, shard, units) SELECT name, $3, units FROM given
ON CONFLICT (name, shard) DO UPDATE SET units = kept.units + excluded.units
RETURNING name, (SELECT units FROM given WHERE given.name = kept.name) AS units
"""

# A unit that was given back is the lease's no more, and the quota's again.
_RETURN = """
WITH back AS (
    SELECT name, shard, count(*) AS units
    FROM (SELECT unnest(string_to_array(told.quotas, '|')) AS name, told.shard
          FROM unnest($1::text[], $2::bigint[]) AS told (quotas, shard)) AS one
    GROUP BY name, shard ORDER BY name, shard
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
    SELECT ended.name, ended.units - (
        SELECT count(*) FROM decision
        WHERE decision.shard = ended.shard AND decision.state IN ('RESERVED', 'CONFIRMED')
            AND decision.quotas @> ARRAY[ended.name]) AS units
    FROM ended
)
UPDATE quota SET leased = quota.leased - back.units
FROM (SELECT name, sum(units) AS units FROM unused GROUP BY name ORDER BY name) AS back WHERE quota.name = back.name
"""


class LeaseLost(Exception):
    """The process was fenced: its number is no more in force."""


@dataclass
class Known:
    """What the rules need to know of a customer."""

    org_id: str
    level: str
    status: str
    touches: list[Touch] = field(default_factory=list)
    consents: set[tuple[str, str]] = field(default_factory=set)
    refusals: set[tuple[str, str]] = field(default_factory=set)
    unwanted: bool = False


class Decisions:
    """The tables `decision` and `do_not_contact`."""

    async def lock(self, tx: Write, customers: Collection[int], since: date, now: datetime) -> dict[int, Known]:
        """The customers that are known, held until the transaction ends, with all that counts from `since` on."""
        keys = ",".join(map(str, sorted(customers)))
        rows = await tx.driver.fetch(_LOCK, keys)
        found = {key: Known(org_id, level, status) for key, org_id, level, status in rows}
        # After the locks, in a statement of its own, so that it sees what those who held them have committed.
        for key, kind, day, channel, purpose, what, more, flag in await tx.driver.fetch(_KNOWN, keys, since, now):
            one = found.get(key)
            if one is None:
                continue
            if kind == "touch":
                one.touches.append(Touch(day, 1, channel, purpose, what, more, int(flag)))
            elif kind == "consent":
                (one.consents if flag else one.refusals).add((channel, purpose))
            else:
                one.unwanted = True
        return found

    async def add(self, tx: Write, decided: Sequence[Decided]) -> set[str]:
        """Keep decisions of one batch, made at one time; gives the ids that were not there before."""
        if not decided:
            return set()
        first = decided[0]
        kinds: dict[tuple[str, ...], int] = {}
        kind = [
            kinds.setdefault(
                (one.org_id, one.state, one.slot_id, one.channel, one.purpose, one.campaign_id, one.offer_id,
                 one.product_id, one.exclusive_group, one.content, one.reason, "|".join(one.quotas)), len(kinds) + 1
            )
            for one in decided
        ]  # fmt: skip
        rows = await tx.driver.fetch(
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
            *map(list, zip(*kinds, strict=True)),
        )
        return {row[0] for row in rows}

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
        locked = await tx.driver.fetch(_LOCK, str(customer_key))
        org_id = locked[0]["org_id"] if locked else ""
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

    async def used_on(self, tx: Write, on: date) -> Mapping[str, int]:
        """Quota → contacts that plans have sent on the day, which the quota does not hold."""
        rows = await tx.driver.fetch(
            "SELECT 'channel ' || channel || ' ' || $1::date AS name, count(*) FROM contact "
            "WHERE plan_date = $1 AND state = 'HANDED_OVER' GROUP BY 1 UNION ALL "
            "SELECT 'campaign ' || campaign_id || ' ' || $1::date, count(*) FROM contact "
            "WHERE plan_date = $1 AND state = 'HANDED_OVER' GROUP BY 1",
            on,
        )
        return {row["name"]: int(row["count"]) for row in rows}


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

    async def lease(self, tx: Write, shard: int, capacity: Mapping[str, int], units: int) -> dict[str, int]:
        """Lease at most so many units of each quota, whose capacities are these; gives what was to be had."""
        names = sorted(capacity)
        await tx.driver.execute(_LEASE, names, [max(capacity[name], 0) for name in names])
        return {name: int(got) for name, got in await tx.driver.fetch(_TAKE, names, units, shard)}

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
    return Decided(**values)
