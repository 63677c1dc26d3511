"""From clear numbers to customer keys, also while the vault goes from one version of its keys to the next."""

import asyncio
import secrets
from collections.abc import Sequence

from services.ingest import store
from services.ingest.domain.identity import VaultKeys
from services.kit.db import Database, Read


async def known(read: Read, identities: store.Identities, keys: VaultKeys, numbers: Sequence[str]) -> dict[str, int]:
    """Customer keys of the numbers that are known, whichever version their tokens are of."""
    found = await _under(read, identities, keys, numbers)
    if keys.earlier and len(found) < len(numbers):
        waiting = set(await identities.versions(read)) - {keys.version}
        for version in sorted(waiting, reverse=True):
            left = [number for number in numbers if number not in found]
            found |= await _under(read, identities, keys.of(version), left)
    return found


async def assigned(
    db: Database, identities: store.Identities, keys: VaultKeys, numbers: Sequence[str]
) -> dict[str, int]:
    """Customer keys of all numbers; new ones get theirs in the order given, in a transaction of its own, for ever."""
    async with db.read() as read:
        found = await known(read, identities, keys, numbers)
    fresh = [number for number in numbers if number not in found]
    if fresh:
        sealed = await asyncio.to_thread(keys.seal_numbers, fresh, secrets.token_bytes)
        async with db.begin() as tx:
            made = await identities.assign(tx, sealed, keys.version)
            await tx.commit()
        found |= zip(fresh, (made[token] for token in sealed), strict=True)
    return found


async def _under(read: Read, identities: store.Identities, keys: VaultKeys, numbers: Sequence[str]) -> dict[str, int]:
    tokens = await asyncio.to_thread(keys.tokens, numbers)
    found = await identities.keys(read, tokens)
    return {number: found[token] for number, token in zip(numbers, tokens, strict=True) if token in found}
