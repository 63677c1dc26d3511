"""The vault: from a number's token to the dense customer key, and back to the sealed number."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary, bindparam, func, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from services.ingest.tables import disclosure, vault
from services.kit.db import Read, Write

_BY_TOKEN = text("SELECT token, customer_key FROM vault WHERE token = ANY(:tokens)").bindparams(
    bindparam("tokens", type_=ARRAY(LargeBinary))
)
_BY_KEY = text("SELECT customer_key, sealed FROM vault WHERE customer_key = ANY(:keys)").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)


class Identities:
    """The tables `vault` and `disclosure`."""

    async def keys(self, read: Read, tokens: Sequence[bytes]) -> dict[bytes, int]:
        """Customer keys of the tokens that are known."""
        rows = await read.rows(_BY_TOKEN, {"tokens": list(tokens)})
        return {bytes(row.token): row.customer_key for row in rows}

    async def assign(self, tx: Write, sealed: Mapping[bytes, bytes], key_version: int) -> dict[bytes, int]:
        """Customer keys of these tokens; those that are new get the next ones, in the order given, without a gap.

        `sealed` are the sealed numbers by token. Assigning is one at a time, so commit soon.
        """
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('ingest.vault'))"))
        known = await self.keys(tx, list(sealed))  # another load may have assigned them while we waited
        last = await tx.value(select(func.coalesce(func.max(vault.c.customer_key), 0)))
        fresh = [token for token in sealed if token not in known]
        assigned = {token: last + number for number, token in enumerate(fresh, 1)}
        records = [(key, token, sealed[token], key_version) for token, key in assigned.items()]
        await tx.copy("vault", ["customer_key", "token", "sealed", "key_version"], records)
        return known | assigned

    async def sealed(self, read: Read, customer_keys: Sequence[int]) -> dict[int, bytes]:
        """Sealed numbers of the customers that are known."""
        rows = await read.rows(_BY_KEY, {"keys": list(customer_keys)})
        return {row.customer_key: bytes(row.sealed) for row in rows}

    async def exists(self, read: Read, customer_key: int) -> bool:
        """Whether a customer has this key."""
        return await read.row(select(vault.c.customer_key).where(vault.c.customer_key == customer_key)) is not None

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
