"""Outcomes of contacts, and what they and the openings add up to."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from sqlalchemy import column, select, table, text, true, tuple_, union_all

from services.contact import tables
from services.contact.domain import answering
from services.contact.domain.outcome import ATTRIBUTION, Kept, Outcome, Tally, merged
from services.contact.domain.plan import SENT
from services.contact.domain.reservation import CONFIRMED
from services.kit.db import Read, Write

_outcome, _contact, _campaign = tables.outcome, tables.contact, tables.campaign
_decision = table("decision", column("grant_id"), column("state"))

_UPSERT = text(
    """
    INSERT INTO outcome (contact_id, result, opened, open_time, contact_time, source, receive_time, org_id)
    SELECT told.*, :now, coalesce(contact.org_id, '')
    FROM unnest(CAST(:ids AS text[]), CAST(:results AS text[]), CAST(:opened AS boolean[]),
                CAST(:open_times AS timestamptz[]), CAST(:contact_times AS timestamptz[]), CAST(:sources AS text[]))
        AS told (contact_id, result, opened, open_time, contact_time, source)
    LEFT JOIN contact USING (contact_id)
    ORDER BY told.contact_id
    ON CONFLICT (contact_id) DO UPDATE
        SET result = excluded.result, opened = excluded.opened, open_time = excluded.open_time,
            contact_time = excluded.contact_time, source = excluded.source
    """
)

# A trial is one customer with one offer, however many contacts he got for it; his openings count from the first on.
_TALLIES = text(
    """
    WITH trial AS (
        SELECT contact.campaign_id, contact.offer_id, contact.product_id, contact.worth_fen, contact.customer_key,
            contact.state, min(contact.contact_time) AS first_time, sum(contact.cost_fen) AS cost_fen,
            coalesce(bool_or(outcome.result = 'RESPONDED'), false) AS responded, count(outcome.contact_id) AS told
        FROM contact
        JOIN plan ON plan.plan_id = contact.plan_id AND plan.state = 'HANDED_OVER'
        LEFT JOIN outcome ON outcome.contact_id = contact.contact_id
        WHERE contact.campaign_id = ANY(CAST(:campaigns AS text[]))
        GROUP BY contact.campaign_id, contact.offer_id, contact.product_id, contact.worth_fen, contact.customer_key,
            contact.state
    )
    SELECT trial.campaign_id, trial.offer_id, trial.worth_fen,
        count(*) FILTER (WHERE trial.state = 'HANDED_OVER') AS sent,
        count(*) FILTER (WHERE trial.state = 'HANDED_OVER' AND trial.responded) AS responded,
        count(*) FILTER (WHERE trial.state = 'HANDED_OVER' AND opened.seen) AS opened,
        count(*) FILTER (WHERE trial.state = 'CONTROL') AS controls,
        count(*) FILTER (WHERE trial.state = 'CONTROL' AND opened.seen) AS control_opened,
        coalesce(sum(trial.cost_fen) FILTER (WHERE trial.state = 'HANDED_OVER'), 0) AS cost_fen,
        coalesce(sum(trial.told) FILTER (WHERE trial.state <> 'HANDED_OVER'), 0) AS unmatched
    FROM trial
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM opening
            WHERE opening.customer_key = trial.customer_key AND opening.product_id = trial.product_id
                AND opening.open_time >= trial.first_time
                AND opening.open_time < trial.first_time + CAST(:attribution AS interval)
        ) AS seen
    ) AS opened
    GROUP BY trial.campaign_id, trial.offer_id, trial.worth_fen
    ORDER BY trial.campaign_id, trial.offer_id, trial.worth_fen
    """
)


# What went out by plan or grant, long enough ago to have been answered.
_ANSWERS = """
    SELECT contact.customer_key, {cell} AS cell, count(*) AS sent,
        count(*) FILTER (WHERE outcome.result = 'RESPONDED' OR attribution.contact_id IS NOT NULL) AS answered
    FROM (
        SELECT contact_id, customer_key, channel, contact_time, plan_date AS day
        FROM contact WHERE state = 'HANDED_OVER'
        UNION ALL
        SELECT grant_id, customer_key, channel, decide_time, business_day FROM decision WHERE state = 'CONFIRMED'
    ) AS contact
    LEFT JOIN outcome ON outcome.contact_id = contact.contact_id
    LEFT JOIN attribution ON attribution.contact_id = contact.contact_id
    WHERE day > :first AND day <= :last
        AND (CAST(:keys AS bigint[]) IS NULL OR contact.customer_key = ANY(CAST(:keys AS bigint[])))
    GROUP BY 1, 2 ORDER BY 1, 2
"""
_BY_CHANNEL = text(_ANSWERS.format(cell="contact.channel"))
_BY_HOUR = text(_ANSWERS.format(cell="extract(hour FROM contact.contact_time AT TIME ZONE :zone)::int"))


@dataclass(frozen=True)
class Tallied:
    """What a campaign's contacts came to, by offer."""

    campaign_id: str
    name: str
    tallies: tuple[Tally, ...]
    unmatched: int


class Outcomes:
    """The table `outcome`."""

    async def put(self, tx: Write, outcomes: Sequence[Outcome], now: datetime) -> tuple[int, list[Outcome]]:
        """Merge outcomes into what is known; gives how many contacts had none before, and what was new or better."""
        told: dict[str, Outcome] = {}
        for outcome in outcomes:
            earlier = told.get(outcome.contact_id)
            told[outcome.contact_id] = merged(earlier, outcome) if earlier else outcome
        # Two at a time would both read before either writes: whoever reports the same contacts waits.
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('contact.outcome', 0))"))
        known = await self._of(tx, list(told))
        changed = []
        for contact_id, outcome in told.items():
            final = merged(known[contact_id], outcome) if contact_id in known else outcome
            if known.get(contact_id) != final:
                changed.append(final)
        params = {
            "ids": [outcome.contact_id for outcome in changed],
            "results": [outcome.result for outcome in changed],
            "opened": [outcome.opened for outcome in changed],
            "open_times": [outcome.open_time for outcome in changed],
            "contact_times": [outcome.contact_time for outcome in changed],
            "sources": [outcome.source for outcome in changed],
            "now": now,
        }
        if changed:
            await tx.execute(_UPSERT, params)
        return len(told.keys() - known.keys()), changed

    async def unmatched(self, read: Read, contact_ids: Collection[str]) -> list[str]:
        """Which of these ids name no contact that was handed over, in order."""
        stmt = text(
            "SELECT told.contact_id FROM unnest(CAST(:ids AS text[])) AS told (contact_id) WHERE NOT EXISTS "
            "(SELECT FROM contact WHERE contact.contact_id = told.contact_id AND contact.state = 'HANDED_OVER') "
            "AND NOT EXISTS (SELECT FROM decision WHERE grant_id = told.contact_id AND state = 'CONFIRMED') "
            "ORDER BY told.contact_id"
        )
        return [row.contact_id for row in await read.rows(stmt, {"ids": sorted(set(contact_ids))})]

    async def page(
        self, read: Read, *, contact_id: str = "", unmatched: bool = False, after: str = "", size: int
    ) -> list[Kept]:
        """Outcomes by contact, those after the contact `after`; of one contact, or only the unmatched."""
        named = _outcome.c.contact_id
        sent = union_all(
            select(true()).where(_contact.c.contact_id == named, _contact.c.state == SENT).correlate(_outcome),
            select(true()).where(_decision.c.grant_id == named, _decision.c.state == CONFIRMED).correlate(_outcome),
        )
        stmt = select(_outcome, sent.exists().label("matched")).where(_outcome.c.contact_id > after)
        if contact_id:
            stmt = stmt.where(_outcome.c.contact_id == contact_id)
        if unmatched:
            stmt = stmt.where(~sent.exists())
        kept = []
        for row in await read.rows(stmt.order_by(_outcome.c.contact_id).limit(size)):
            values = row._asdict()
            values.pop("org_id")
            kept.append(
                Kept(matched=values.pop("matched"), receive_time=values.pop("receive_time"), outcome=Outcome(**values))
            )
        return kept

    async def known_contact(self, read: Read, contact_id: str) -> bool:
        """Whether a contact has this id, or what was granted online."""
        planned = select(_contact).where(_contact.c.contact_id == contact_id).exists()
        granted = select(_decision).where(_decision.c.grant_id == contact_id).exists()
        return bool(await read.value(select(planned | granted)))

    async def tallies(
        self, read: Read, *, campaign_id: str = "", after: tuple[str, str] | None = None, size: int
    ) -> list[Tallied]:
        """What campaigns came to, by name, those after (name, campaign_id); of one campaign, or of all."""
        stmt = select(_campaign.c.campaign_id, _campaign.c.name).order_by(_campaign.c.name, _campaign.c.campaign_id)
        if campaign_id:
            stmt = stmt.where(_campaign.c.campaign_id == campaign_id)
        if after is not None:
            stmt = stmt.where(tuple_(_campaign.c.name, _campaign.c.campaign_id) > tuple_(*after))
        campaigns = await read.rows(stmt.limit(size))
        params = {"campaigns": [row.campaign_id for row in campaigns], "attribution": ATTRIBUTION}
        found: dict[str, list[Tally]] = {row.campaign_id: [] for row in campaigns}
        unmatched = dict.fromkeys(found, 0)
        for row in await read.rows(_TALLIES, params):
            values = row._asdict()
            values.pop("offer_id")
            campaign = values.pop("campaign_id")
            unmatched[campaign] += int(values.pop("unmatched"))
            found[campaign].append(Tally(**{name: int(value) for name, value in values.items()}))
        return [
            Tallied(row.campaign_id, row.name, tuple(found[row.campaign_id]), unmatched[row.campaign_id])
            for row in campaigns
        ]

    async def channel_leanings(
        self, read: Read, on: date, keys: Sequence[int] | None = None
    ) -> dict[str, answering.Leaning]:
        """Channel → who answers more or less through it, as known for contacts of the day `on`."""
        rows = await read.rows(_BY_CHANNEL, _remembered(on, keys))
        channels = sorted({row.cell for row in rows})
        told = _answers([(row.customer_key, channels.index(row.cell), row.sent, row.answered) for row in rows])
        return dict(zip(channels, answering.leanings(told, len(channels)), strict=True))

    async def band_leanings(self, read: Read, on: date, keys: Sequence[int], zone: str) -> list[answering.Leaning]:
        """For each band of hours who of these customers answers more or less in it."""
        rows = await read.rows(_BY_HOUR, {**_remembered(on, keys), "zone": zone})
        told = _answers([(row.customer_key, answering.band(row.cell), row.sent, row.answered) for row in rows])
        return answering.leanings(told, len(answering.BANDS))

    async def _of(self, read: Read, contact_ids: list[str]) -> dict[str, Outcome]:
        stmt = text("SELECT * FROM outcome WHERE contact_id = ANY(CAST(:ids AS text[]))")
        found = {}
        for row in await read.rows(stmt, {"ids": contact_ids}):
            values = row._asdict()
            del values["receive_time"], values["org_id"]
            found[row.contact_id] = Outcome(**values)
        return found


def _remembered(on: date, keys: Sequence[int] | None) -> dict[str, object]:
    told = None if keys is None else list(keys)
    return {"first": on - answering.MEMORY, "last": on - answering.SETTLED, "keys": told}


def _answers(rows: Sequence[tuple[int, int, int, int]]) -> answering.Answers:
    return answering.Answers(*np.array(rows, np.int64).reshape(-1, 4).T)
