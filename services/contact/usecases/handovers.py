"""The hand-over to OCRM: consent and caps once more, clear numbers straight into the file, the file exactly once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, tzinfo

import structlog

from services.contact.domain.handover import file_name, row
from services.contact.domain.plan import (
    CAMPAIGN_STOPPED,
    CAP_REACHED,
    CONSENT_WITHDRAWN,
    CONTROL,
    CONTROL_WITHHELD,
    HANDED_OVER,
    PLANNED,
    SENT,
    UNREACHABLE,
    Contact,
    File,
    Plan,
)
from services.contact.domain.policy import DO_NOT_CONTACT, NO_CONSENT, Asked, Policy, Touch, Wish
from services.contact.lake import Folder, Writing, Written
from services.contact.refusals import plan_not_found, plan_not_ready
from services.contact.store import Store
from services.contact.usecases.work import HANDOVER, asked_again
from services.kit import idempotency, jobs, outbox, telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.kit.jobs import Job, Running

Reveal = Callable[[Sequence[int], str], AsyncIterator[Sequence[tuple[int, str]]]]
"""(customer keys, purpose) → (customer key, clear number) in parts; who is not known is left out."""

Tagged = Callable[[Sequence[int]], Awaitable[Mapping[int, Sequence[tuple[str, str]]]]]
"""Customer keys → the tags (code, value or "") of those that bear any; raises OSError when nobody says."""

_STEPS = 2

_log = structlog.get_logger(__name__)

_told = telemetry.counter("lifecircle.contact.handover.contacts", "{contact}", "Contacts of plans, by what became.")

_VERDICTS = {"": SENT, NO_CONSENT: CONSENT_WITHDRAWN, DO_NOT_CONTACT: CONSENT_WITHDRAWN}
"""The rule's refusal → the contact's state; all other refusals come of what was sent or changed meanwhile."""


class Handovers:
    """Hands plans over."""

    def __init__(
        self,
        db: Database,
        store: Store,
        clock: Clock,
        ids: Ids,
        zone: tzinfo,
        reveal: Reveal,
        tagged: Tagged,
        folder: Folder,
    ) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._ids = ids
        self._zone = zone
        self._reveal = reveal
        self._tagged = tagged
        self._folder = folder

    async def begin(self, key: RequestKey, plan_id: str) -> Job:
        """Ask for a plan's hand-over; a plan is handed over once. Raises plan_not_found."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            if await self._store.plans.get(tx, plan_id) is None:
                raise plan_not_found(plan_id)
            spec: dict[str, object] = {"plan_id": plan_id}
            job = await asked_again(tx, kind=HANDOVER, key=plan_id, spec=spec, ids=self._ids, clock=self._clock)
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def hand_over(self, running: Running) -> None:
        """Decide who is still contacted, write the file, and mark the plan.

        A worker that dies in between leaves no half file. Until the control file lies there, whoever resumes decides
        anew, so that a consent withdrawn meanwhile counts; afterwards the file stands as it is, and is only recorded.
        """
        async with self._db.read() as read:
            plan = await self._store.plans.get(read, running.job.spec["plan_id"])
        if plan is None or plan.state == HANDED_OVER:
            raise plan_not_ready(running.job.spec["plan_id"], plan.state if plan else "missing")
        name = file_name(plan.plan_date, plan.sequence)
        written = await asyncio.to_thread(self._folder.published, name)
        if written is None:
            try:
                written = await self._decide_and_write(running, plan, name)
            except jobs.Lost:
                raise  # another worker has the plan
            except Exception:
                await self._undecide(running, plan)
                raise
        await self._record(running, plan, written)  # without asking whether to stop: the file is out

    async def _decide_and_write(self, running: Running, plan: Plan, name: str) -> Written:
        await running.progress(0, _STEPS, message="checks consents and caps")
        await self._decide(running, plan)
        await running.progress(1, _STEPS, message=f"writes {name}")
        with self._folder.begin(name, running.job.attempt) as writing:
            await self._withhold(running, await self._write(plan, writing))
            await running.progress(1, _STEPS, message=f"publishes {name}")  # only who still holds the job
            return await asyncio.to_thread(writing.publish)

    async def _undecide(self, running: Running, plan: Plan) -> None:
        """Nothing was handed over, so nothing counts as sent: not for caps either, should nobody try again."""
        async with self._db.begin() as tx:
            await self._store.plans.lock_handovers(tx)
            async for part in self._store.plans.all_contacts(tx, plan.plan_id):
                await self._store.plans.move(tx, {one.contact_id: CONTROL if one.control else PLANNED for one in part})
            with contextlib.suppress(jobs.Cancelled):  # why we are here, perhaps
                await _fence(running, tx)
            await tx.commit()

    async def _decide(self, running: Running, plan: Plan) -> None:
        """Mark each planned contact as sent, or with the reason why it is withheld; those of the control likewise."""
        async with self._db.begin() as tx:
            await self._store.plans.lock_handovers(tx)
            policy = await self._store.policies.latest(tx)
            assert policy is not None, "there is no plan without a policy"
            await self._store.plans.move(tx, await self._verdicts(tx, plan, policy))
            await _fence(running, tx)
            await tx.commit()

    async def _withhold(self, running: Running, unknown: Sequence[str]) -> None:
        """Mark contacts of the control without a number, before the file is out: it tells nothing of them."""
        async with self._db.begin() as tx:
            await self._store.plans.move(tx, dict.fromkeys(unknown, CONTROL_WITHHELD))
            await _fence(running, tx)
            await tx.commit()

    async def _verdicts(self, tx: Write, plan: Plan, policy: Policy) -> dict[str, str]:
        """Contact → state, by the consents, levels and caps of this moment; the best contacts keep their place.

        The control takes up room as in the plan, so that nobody's verdict depends on the side he was drawn to.
        """
        window = policy.widest_window()
        earlier = await self._store.customers.earlier(tx, plan.plan_date, window, but_plan=plan.plan_id)
        unwanted = await self._store.customers.unwanted(tx)
        stopped = await self._store.campaigns.stopped(tx, plan.plan_id)
        verdicts: dict[str, str] = {}
        async for part in self._store.plans.all_contacts(tx, plan.plan_id):
            keys = {contact.customer_key for contact in part}
            said = await self._store.customers.said(tx, keys)
            levels = await self._store.customers.levels(tx, keys)
            for contact in sorted(part, key=lambda one: (-one.value_fen, one.contact_id)):
                if contact.campaign_id in stopped:
                    verdict = CAMPAIGN_STOPPED
                else:
                    key, wish = contact.customer_key, Wish(contact.channel, contact.product_id, "", contact.purpose)
                    consents, refusals = said[key]
                    before = earlier.setdefault(key, [])
                    gone = key in unwanted or key not in levels
                    asked = Asked(levels.get(key, ""), before, consents, refusals, unwanted=gone)
                    verdict = _VERDICTS.get(policy.refusal(asked, wish, plan.plan_date, None), CAP_REACHED)
                    if verdict == SENT:
                        before.append(Touch(plan.plan_date, 1, wish.channel, wish.purpose, wish.product_id))
                if contact.control:
                    verdict = CONTROL if verdict == SENT else CONTROL_WITHHELD
                verdicts[contact.contact_id] = verdict
        for verdict, number in Counter(verdicts.values()).items():
            _told(number, verdict=verdict)
        return verdicts

    async def _write(self, plan: Plan, writing: Writing) -> list[str]:
        """The rows, contact by contact; a customer without a known number is left out.

        Gives the contacts of the control for which no number is known: their numbers are asked for as well, since
        otherwise only the control would hold customers who cannot be reached. They are written nowhere. Whoever knows
        the tags may be away: the rest of the file goes out without them.
        """
        unknown: set[str] = set()
        tagged: Tagged | None = self._tagged
        async with self._db.read() as read:
            contents = await self._store.campaigns.contents(read, plan.plan_id)
        after: tuple[int, str] | None = None
        while part := await self._chosen(plan, after):
            unknown |= {contact.contact_id for contact in part if contact.control}
            tags: Mapping[int, Sequence[tuple[str, str]]] = {}
            if tagged is not None:
                try:
                    tags = await tagged([contact.customer_key for contact in part if not contact.control])
                except OSError as error:
                    _log.warning("tags_not_told", plan_id=plan.plan_id, error=str(error))
                    tagged = None
            async for contact, number in self._numbers(plan, part):
                if contact.control:
                    unknown.discard(contact.contact_id)
                else:
                    told = tags.get(contact.customer_key, ())
                    line = row(contact, number, contents[contact.offer_id], told, self._zone)
                    writing.write(contact.contact_id, line)
            after = (part[-1].customer_key, part[-1].offer_id)
        return sorted(unknown)

    async def _chosen(self, plan: Plan, after: tuple[int, str] | None) -> list[Contact]:
        async with self._db.read() as read:
            return await self._store.plans.contacts(read, plan.plan_id, after, 5_000, states=(SENT, CONTROL))

    async def _numbers(self, plan: Plan, part: list[Contact]) -> AsyncIterator[tuple[Contact, str]]:
        """The contacts with their clear numbers, in order; the numbers live no longer than the loop over them."""
        keys = list(dict.fromkeys(contact.customer_key for contact in part))
        waiting = iter(part)
        contact = next(waiting, None)
        async for identities in self._reveal(keys, f"OCRM hand-over of plan {plan.plan_id}"):
            for key, number in identities:
                while contact is not None and contact.customer_key < key:
                    contact = next(waiting, None)
                while contact is not None and contact.customer_key == key:
                    yield contact, number
                    contact = next(waiting, None)

    async def _record(self, running: Running, plan: Plan, written: Written) -> None:
        """The file, the plan's state, the fact and the job's end in one transaction."""
        async with self._db.begin() as tx:
            async for part in self._store.plans.all_contacts(tx, plan.plan_id):
                await self._store.plans.move(tx, _as_written(part, written))
            file = File(written.file_name, written.rows, written.md5, written.tagged)
            now: datetime = self._clock()
            withheld = await self._store.plans.hand_over(tx, plan.plan_id, file, now)
            fact = {"plan_id": plan.plan_id, "file_name": file.file_name, "rows": file.rows, "md5": file.md5}
            await outbox.put(tx, "plan.handed_over", plan.plan_id, fact)
            await running.succeed(tx, message=file.file_name, rows=file.rows, tagged=file.tagged, withheld=withheld)
            await tx.commit()


async def _fence(running: Running, tx: Write) -> None:
    """Last in a transaction: it counts only while the job is ours. Raises Cancelled, Lost."""
    await running.save(running.job.checkpoint, tx=tx)


def _as_written(contacts: Sequence[Contact], written: Written) -> dict[str, str]:
    """Contact → state as the file has it: who was to be sent and is not in it has no known number."""
    return {
        contact.contact_id: SENT if contact.contact_id in written.contact_ids else UNREACHABLE
        for contact in contacts
        if contact.contact_id in written.contact_ids or contact.state in (PLANNED, SENT)
    }
