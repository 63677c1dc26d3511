"""A customer's journey (客户足迹) and the projections behind it: what contact and recommend tell."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.portrait.domain.run import LakeFile
from services.portrait.lake import packing
from services.portrait.store import Audiences, Moments
from services.portrait.store.projections import Contact, Projections

_MOST_OFFERS = 10
_STAGES = (
    ("contact.feedback", "FEEDBACK"),
    ("contact.", "DISPLAY"),
    ("display.", "DISPLAY"),
    ("product.", "ORDER"),
    ("business.", "ORDER"),
    ("order.", "ORDER"),
    ("behaviour.", "VISIT"),
    ("internet.", "VISIT"),
    ("location.", "VISIT"),
    ("channel.", "VISIT"),
)

EncodeOffers = Callable[[str, Iterable[tuple[str, float, int]]], bytes]


@dataclass(frozen=True)
class Step:
    """One step of a journey; `stage` is VISIT, MOMENT, DISPLAY, FEEDBACK, ORDER or UNSPECIFIED."""

    stage: str
    time: int
    type: str
    event_id: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Matrix:
    """A published matrix."""

    matrix_id: str


class Journeys:
    """Journeys read, contacts and offers taken in."""

    def __init__(
        self,
        db: Database,
        moments: Moments,
        projections: Projections,
        audiences: Audiences,
        encode_offers: EncodeOffers,
        lake_url: str,
        clock: Clock,
    ) -> None:
        self._db = db
        self._moments = moments
        self._projections = projections
        self._audiences = audiences
        self._encode = encode_offers
        self._lake_url = lake_url
        self._clock = clock

    async def page(
        self,
        customer_key: int,
        purpose: str,
        caller: str,
        before: tuple[int, str] | None,
        size: int,
        stages: Sequence[str],
    ) -> list[Step]:
        """The steps behind (time in milliseconds, event id; None: all), the latest first; the look is audited first."""
        end = before[0] + 1 if before is not None else 1 << 52
        heads = [head for head, stage in _STAGES if stage in stages] if "UNSPECIFIED" not in stages else []
        async with self._db.begin() as tx:
            await self._audiences.audit(
                tx, now=self._clock(), caller=caller, what=f"journey {customer_key}", customers=1, purpose=purpose
            )
            events = await self._moments.of_customer(tx, customer_key, before=end, most=10 * size, heads=heads)
            found = await self._moments.found(tx, customer_key=customer_key, size=10 * size)
            until = datetime.fromtimestamp(min(end, 1 << 47) / 1000, UTC)
            contacts = await self._projections.of_customer(tx, customer_key, until, 10 * size)
            await tx.commit()
        steps = [_step(one.event.type, one.event.time, one.event.event_id, one.event.fields) for one in events]
        steps += [
            Step("MOMENT", one.match.time, "moment", one.match.match_id, {"rule_id": one.match.rule_id})
            for one in found
            if one.match.time < end
        ]
        steps += [_contacted(one) for one in contacts]
        wanted = [step for step in steps if not stages or step.stage in stages]
        if before is not None:
            wanted = [step for step in wanted if (step.time, step.event_id) < before]
        return sorted(wanted, key=lambda step: (step.time, step.event_id), reverse=True)[:size]

    async def take_contacts(self, tx: Write, contacts: Sequence[Contact]) -> None:
        """Take what contact tells; the caller commits, with its cursor."""
        await self._projections.put_contacts(tx, contacts)

    async def take_matrix(self, tx: Write, matrix: Matrix, files: Callable[[str], Awaitable[list[LakeFile]]]) -> None:
        """Pack the best offers of a matrix; the caller commits, with its cursor."""
        known = await self._projections.offers(tx)
        if known is None or known[0] != matrix.matrix_id:
            manifest = await files(matrix.matrix_id)
            pack = await asyncio.to_thread(self._packed, matrix.matrix_id, manifest)
            await self._projections.put_offers(tx, matrix.matrix_id, pack)

    def _packed(self, matrix_id: str, files: Sequence[LakeFile]) -> LakeFile:
        def values() -> Iterator[tuple[int, bytes]]:
            for file in files:
                for key, offers in packing.best_offers(file, _MOST_OFFERS).items():
                    yield key, self._encode(matrix_id, offers)

        return packing.write_pack(self._lake_url, f"portrait/offers/matrix={matrix_id}/offers.pack", values())


def _step(kind: str, time: int, event_id: str, fields: Mapping[str, object]) -> Step:
    stage = next((stage for head, stage in _STAGES if kind.startswith(head)), "UNSPECIFIED")
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return Step(stage, time, kind, event_id, told)


def _contacted(known: Contact) -> Step:
    attributes = {"result": known.result, "channel": known.channel, "campaign_id": known.campaign_id}
    time = int(known.time.timestamp() * 1000)
    return Step("FEEDBACK", time, "contact.outcome", known.contact_id, attributes)
