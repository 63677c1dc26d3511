"""The vault: from a number's token to the dense customer key, and back to the sealed number; merges; the audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Row, bindparam, func, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from services.ingest.tables import disclosure, merge, vault
from services.kit.db import Read, Write


@dataclass(frozen=True)
class Sealed:
    """A number of the vault, sealed under the keys of a version."""

    customer_key: int
    sealed: bytes
    key_version: int


class Identities:
    """The tables `vault`, `merge` and `disclosure`."""

    async def keys(self, read: Read, tokens: Sequence[bytes]) -> dict[bytes, int]:
        """Customer keys of the tokens that are known; of a merged customer the key that stays."""
        asked = list(tokens)
        row = await read.row(_BY_TOKEN, {"tokens": asked})
        assert row is not None, "an aggregate always has a row"
        return dict(zip((asked[at - 1] for at in row.places or ()), row.found or (), strict=True))

    async def versions(self, read: Read) -> list[int]:
        """Versions of keys that numbers of the vault are under, the latest first."""
        return [row.key_version for row in await read.rows(_VERSIONS)]

    async def assign(self, tx: Write, sealed: Mapping[bytes, bytes], key_version: int) -> dict[bytes, int]:
        """Customer keys of these tokens; those that are new get the next ones, in the order given, without a gap.

        `sealed` are the sealed numbers by token. Assigning is one at a time, so commit soon.
        """
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('ingest.vault'))"))
        known = await self.keys(tx, list(sealed))  # another load may have assigned them while we waited
        last = await tx.value(select(func.coalesce(func.max(vault.c.customer_key), 0)))
        if await tx.value(select(func.coalesce(func.max(vault.c.key_version), 0))) > key_version:
            raise RuntimeError("the vault was put under newer keys; this process must be given them")
        fresh = [token for token in sealed if token not in known]
        assigned = {token: last + number for number, token in enumerate(fresh, 1)}
        records = [(key, token, sealed[token], key_version) for token, key in assigned.items()]
        await tx.copy("vault", ["customer_key", "token", "sealed", "key_version"], records)
        return known | assigned

    async def sealed(self, read: Read, customer_keys: Sequence[int]) -> dict[int, Sealed]:
        """Sealed numbers of the customers that are known and have one."""
        rows = await read.rows(_BY_KEY, {"keys": list(customer_keys)})
        return {row.customer_key: Sealed(row.customer_key, bytes(row.sealed), row.key_version) for row in rows}

    async def placed(self, read: Read, customer_keys: Sequence[int]) -> set[int]:
        """Those who have a profile; row-level security leaves only those that a limited caller may see."""
        return {row.customer_key for row in await read.rows(_PLACED, {"keys": list(customer_keys)})}

    async def page(
        self, read: Read, *, customer_keys: Sequence[int], org_id: str, after: int, size: int
    ) -> list[tuple[Sealed, str]]:
        """Customers with a profile and a number, with their organisation, by key; "" and nothing named keep all."""
        params = {"keys": list(customer_keys), "org_id": org_id, "after": after, "size": size}
        rows = await read.rows(_PAGE, params)
        return [(Sealed(row.customer_key, bytes(row.sealed), row.key_version), row.org_id) for row in rows]

    async def under(self, tx: Write, version: int, size: int) -> list[Sealed]:
        """Some numbers that are under keys before a version, locked until the end."""
        rows = await tx.rows(_UNDER, {"version": version, "size": size})
        return [Sealed(row.customer_key, bytes(row.sealed), row.key_version) for row in rows]

    async def count_under(self, read: Read, version: int) -> int:
        """How many numbers are under keys before a version."""
        stmt = select(func.count()).where(vault.c.key_version < version, vault.c.token.is_not(None))
        return int(await read.value(stmt))

    async def put_under(self, tx: Write, rows: Sequence[tuple[int, bytes, bytes]], version: int) -> None:
        """New (customer_key, token, sealed) under the keys of a version."""
        keys, tokens, sealed = (list(column) for column in zip(*rows, strict=True))
        await tx.driver.execute(_PUT_UNDER, keys, tokens, sealed, version)

    async def missing(self, read: Read, customer_keys: Sequence[int]) -> list[int]:
        """Those of the keys that name nobody: never assigned, or erased."""
        found = await read.rows(_EXISTING, {"keys": list(customer_keys)})
        return sorted(set(customer_keys) - {row.customer_key for row in found})

    async def retire(self, tx: Write, customer_keys: Sequence[int], now: datetime) -> int:
        """The numbers are theirs no more; gives how many had one. The token finds nobody, the number is forgotten."""
        return await tx.execute(_RETIRE, {"keys": list(customer_keys), "now": now})

    async def person(self, read: Read, customer_key: int) -> list[int]:
        """All keys of the person: the one that stays first, then those that were merged into it."""
        into = await read.value(select(merge.c.into_key).where(merge.c.customer_key == customer_key)) or customer_key
        rows = await read.rows(select(merge.c.customer_key).where(merge.c.into_key == into).order_by("customer_key"))
        return [into, *(row.customer_key for row in rows)]

    async def add_merges(
        self, tx: Write, into: int, customer_keys: Sequence[int], *, reason: str, caller: str, now: datetime
    ) -> list[int]:
        """Declare keys, and what was merged into them before, to be `into`; gives those that are new in the map."""
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('ingest.merge'))"))
        params = {"into": into, "keys": list(customer_keys), "reason": reason, "caller": caller, "now": now}
        rows = await tx.rows(_ADD_MERGES, params)
        await tx.execute(_REPOINT, {"into": into, "keys": list(customer_keys)})
        return sorted(row.customer_key for row in rows)

    async def merges(self, read: Read, *, after: int, size: int) -> list[Row[Any]]:
        """The map by customer key."""
        stmt = select(merge).where(merge.c.customer_key > after).order_by(merge.c.customer_key).limit(size)
        return await read.rows(stmt)

    async def recyclable(self, read: Read, before: datetime, size: int) -> list[int]:
        """Customers who left in a period before an instant and still have their number."""
        rows = await read.rows(_RECYCLABLE, {"before": before, "size": size})
        return [row.customer_key for row in rows]

    async def add_disclosure(
        self,
        tx: Write,
        *,
        disclosure_id: str,
        caller: str,
        method: str,
        purpose: str,
        asked: int,
        customer_keys: Sequence[int],
        now: datetime,
    ) -> None:
        """Who learns which customers, when and why."""
        row = {
            "disclosure_id": disclosure_id,
            "caller": caller,
            "method": method,
            "purpose": purpose,
            "asked": asked,
            "customer_keys": list(customer_keys),
            "disclose_time": now,
        }
        await tx.execute(insert(disclosure).values(row))

    async def disclosures(
        self, read: Read, *, customer_key: int, caller: str, before: tuple[datetime, str] | None, size: int
    ) -> list[Row[Any]]:
        """The audit, the latest first: those before a (time, id)."""
        where = {"key": customer_key, "caller": caller, "size": size}
        time, last = before or (datetime.max.replace(tzinfo=UTC), "")
        return await read.rows(_DISCLOSURES, {**where, "first": before is None, "time": time, "last": last})


_KEYS = bindparam("keys", type_=ARRAY(BigInteger))

# One row of two arrays: a row for every token would cost ten times as much on its way.
_BY_TOKEN = text("""
SELECT array_agg(place) AS places, array_agg(coalesce(into_key, customer_key)) AS found
FROM unnest(CAST(:tokens AS bytea[])) WITH ORDINALITY AS asked (token, place)
    JOIN vault USING (token) LEFT JOIN merge USING (customer_key)
""")

_VERSIONS = text("SELECT DISTINCT key_version FROM vault WHERE token IS NOT NULL ORDER BY key_version DESC")

_BY_KEY = text("""
SELECT customer_key, sealed, key_version FROM vault WHERE customer_key = ANY(:keys) AND token IS NOT NULL
""").bindparams(_KEYS)

_PLACED = text("SELECT customer_key FROM customer WHERE customer_key = ANY(:keys)").bindparams(_KEYS)

# By way of the profile, which row-level security shows to those only who may see the customer.
_PAGE = text("""
SELECT customer_key, sealed, key_version, org_id FROM customer JOIN vault USING (customer_key)
WHERE customer_key > :after AND token IS NOT NULL
  AND (:org_id = '' OR org_id = :org_id) AND (cardinality(:keys) = 0 OR customer_key = ANY(:keys))
ORDER BY customer_key LIMIT :size
""").bindparams(_KEYS)

_UNDER = text("""
SELECT customer_key, sealed, key_version FROM vault WHERE key_version < :version AND token IS NOT NULL
ORDER BY customer_key LIMIT :size FOR UPDATE
""")

_PUT_UNDER = """
UPDATE vault SET token = new.token, sealed = new.sealed, key_version = $4
FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS new (customer_key, token, sealed)
WHERE vault.customer_key = new.customer_key
"""

_EXISTING = text("""
SELECT customer_key FROM vault WHERE customer_key = ANY(:keys) AND erase_time IS NULL
""").bindparams(_KEYS)

_RETIRE = text("""
UPDATE vault SET token = NULL, sealed = '', retire_time = :now
WHERE customer_key = ANY(:keys) AND token IS NOT NULL
""").bindparams(_KEYS)

_ADD_MERGES = text("""
INSERT INTO merge (customer_key, into_key, reason, caller, merge_time)
SELECT key, :into, :reason, :caller, CAST(:now AS timestamptz) FROM unnest(:keys) AS key
ON CONFLICT (customer_key) DO UPDATE SET into_key = EXCLUDED.into_key WHERE merge.into_key <> EXCLUDED.into_key
RETURNING customer_key
""").bindparams(_KEYS)

_REPOINT = text("UPDATE merge SET into_key = :into WHERE into_key = ANY(:keys)").bindparams(_KEYS)

_RECYCLABLE = text("""
SELECT customer_key FROM customer JOIN vault USING (customer_key)
WHERE status = 'left' AND token IS NOT NULL AND period < CAST(:before AS timestamptz)::date
ORDER BY customer_key LIMIT :size
""")

_DISCLOSURES = text("""
SELECT disclosure_id, caller, method, purpose, asked, cardinality(customer_keys) AS told, disclose_time
FROM disclosure
WHERE (:key = 0 OR :key = ANY(customer_keys)) AND (:caller = '' OR caller = :caller)
  AND (:first OR (disclose_time, disclosure_id) < (CAST(:time AS timestamptz), :last))
ORDER BY disclose_time DESC, disclosure_id DESC LIMIT :size
""").bindparams(bindparam("key", type_=BigInteger))
