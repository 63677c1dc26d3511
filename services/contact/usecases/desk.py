"""What marketing decides beforehand: the policy."""

from services.contact.domain.policy import Policy, checked
from services.contact.refusals import inputs_incomplete
from services.contact.store import Store
from services.kit import idempotency, operations
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.idempotency import RequestKey


class Desk:
    """The policy."""

    def __init__(self, db: Database, store: Store, clock: Clock) -> None:
        self._db = db
        self._store = store
        self._clock = clock

    async def update_policy(self, key: RequestKey, policy: Policy) -> Policy:
        """Set the policy; the next decision goes by it. Raises policy_invalid."""
        checked(policy)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._store.policies.version(tx, earlier["version"])
            kept = await self._store.policies.add(tx, policy, self._clock())
            await operations.record(tx, "contact.UpdatePolicy", f"policy/{kept.version}")
            await idempotency.answer(tx, key, {"version": kept.version})
            await tx.commit()
        return kept

    async def policy(self) -> Policy:
        """The policy in force. Raises inputs_incomplete when none was ever set."""
        async with self._db.read() as read:
            policy = await self._store.policies.latest(read)
        if policy is None:
            raise inputs_incomplete("policy")
        return policy
