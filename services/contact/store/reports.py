"""What effect reports, KPIs and distributions count: SQL over contacts, outcomes, openings, orders and complaints."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import text

from services.contact.domain.effect import Assessment, Complaint, Line, Quartiles, TimeSpace
from services.contact.domain.fact import Closing, Complained
from services.contact.domain.kpi import Count
from services.contact.domain.outcome import ATTRIBUTION
from services.kit.db import Read, Write

_GROUPS = {"": "''", "channel": "contact.channel", "level": "coalesce(customer.level, '')", "org": "contact.org_id"}

# What went out online: grants that were confirmed, at the cost that their channel had then.
_ONLINE = """
    SELECT made.grant_id AS contact_id, made.campaign_id, made.org_id, made.customer_key, made.offer_id,
        made.product_id, made.channel, offer.worth_fen, 'ONLINE' AS state, made.decide_time AS contact_time,
        coalesce((SELECT (told ->> 'cost_fen')::bigint
            FROM policy CROSS JOIN jsonb_array_elements(policy.definition -> 'channel_limits') AS told
            WHERE told ->> 'channel' = made.channel AND policy.update_time <= made.decide_time
            ORDER BY policy.version DESC LIMIT 1), 0) AS cost_fen
    FROM decision AS made JOIN offer USING (offer_id) WHERE made.state = 'CONFIRMED'
"""
_PLANNED = """
    SELECT contact_id, campaign_id, org_id, customer_key, offer_id, product_id, channel, worth_fen, state, contact_time,
        cost_fen FROM contact WHERE state = 'HANDED_OVER'
"""
_WENT = f"({_PLANNED} UNION ALL {_ONLINE}) AS contact"

# A trial is one customer with one offer in one group, however many contacts he got for it, as in ListEffects. Those
# online are counted apart: nobody is held out beside them, so they stand on neither side of the comparison.
_LINES = """
    WITH made AS (
        SELECT contact.contact_id, campaign_id, org_id, customer_key, offer_id, product_id, channel, worth_fen,
            contact.state, contact_time, cost_fen
        FROM contact JOIN plan ON plan.plan_id = contact.plan_id AND plan.state = 'HANDED_OVER'
        WHERE contact.state IN ('HANDED_OVER', 'CONTROL')
        UNION ALL {online}
    ), trial AS (
        SELECT contact.campaign_id, {group} AS grouped, contact.customer_key, contact.offer_id, contact.product_id,
            contact.worth_fen, contact.state, min(contact.contact_time) AS first_time,
            max(contact.contact_time) AS last_time, sum(contact.cost_fen) AS cost_fen, count(*) AS contacts,
            coalesce(bool_or(outcome.result = 'RESPONDED'), false) AS responded,
            coalesce(bool_or(outcome.result IN ('RESPONDED', 'REFUSED')), false) AS reached,
            sum((SELECT count(*) FROM complaint WHERE complaint.contact_id = contact.contact_id)) AS complaints
        FROM made AS contact
        LEFT JOIN customer ON customer.customer_key = contact.customer_key
        LEFT JOIN outcome ON outcome.contact_id = contact.contact_id
        WHERE :campaign_id = '' OR contact.campaign_id = :campaign_id
        GROUP BY contact.campaign_id, grouped, contact.customer_key, contact.offer_id, contact.product_id,
            contact.worth_fen, contact.state
    ), spent AS (
        SELECT campaign_id, sum(cost_fen)::bigint AS cost_fen FROM assessment GROUP BY campaign_id
    )
    SELECT trial.campaign_id, campaign.name, trial.grouped AS "group",
        min(first_time) FILTER (WHERE trial.state = 'HANDED_OVER') AS first_time,
        max(last_time) FILTER (WHERE trial.state = 'HANDED_OVER') AS last_time,
        count(*) FILTER (WHERE trial.state = 'HANDED_OVER') AS sent,
        count(*) FILTER (WHERE trial.state = 'HANDED_OVER' AND reached) AS reached,
        count(*) FILTER (WHERE trial.state = 'HANDED_OVER' AND responded) AS responded,
        count(*) FILTER (WHERE trial.state = 'HANDED_OVER' AND seen) AS opened,
        count(*) FILTER (WHERE trial.state = 'CONTROL') AS controls,
        count(*) FILTER (WHERE trial.state = 'CONTROL' AND seen) AS control_opened,
        coalesce(sum(contacts) FILTER (WHERE trial.state <> 'CONTROL'), 0)::bigint AS contacts,
        coalesce(sum(trial.cost_fen) FILTER (WHERE trial.state = 'HANDED_OVER'), 0)::bigint AS cost_fen,
        CASE WHEN trial.grouped = '' THEN coalesce(max(spent.cost_fen), 0) ELSE 0 END AS other_cost_fen,
        coalesce(sum(trial.worth_fen) FILTER (WHERE trial.state = 'HANDED_OVER' AND seen), 0)::bigint AS worth_fen,
        coalesce(avg(trial.worth_fen) FILTER (WHERE trial.state = 'HANDED_OVER'), 0)::float AS mean_worth_fen,
        coalesce(sum(complaints), 0)::bigint AS complaints,
        count(*) FILTER (WHERE trial.state = 'ONLINE') AS online_sent,
        count(*) FILTER (WHERE trial.state = 'ONLINE' AND responded) AS online_responded,
        count(*) FILTER (WHERE trial.state = 'ONLINE' AND seen) AS online_opened,
        coalesce(sum(trial.cost_fen) FILTER (WHERE trial.state = 'ONLINE'), 0)::bigint AS online_cost_fen,
        coalesce(sum(trial.worth_fen) FILTER (WHERE trial.state = 'ONLINE' AND seen), 0)::bigint AS online_worth_fen
    FROM trial
    JOIN campaign ON campaign.campaign_id = trial.campaign_id
    LEFT JOIN spent ON spent.campaign_id = trial.campaign_id
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM opening
            WHERE opening.customer_key = trial.customer_key AND opening.product_id = trial.product_id
                AND opening.open_time >= trial.first_time
                AND opening.open_time < trial.first_time + CAST(:attribution AS interval)
        ) AS seen
    ) AS opened
    WHERE (trial.campaign_id, trial.grouped) > (:after_campaign, :after_group)
    GROUP BY trial.campaign_id, campaign.name, trial.grouped
    ORDER BY trial.campaign_id, trial.grouped
    LIMIT :size
"""

_QUARTILES = text(
    """
    WITH first AS (
        SELECT customer_key, CASE WHEN state = 'CONTROL' THEN 'control' ELSE 'contacted' END AS grouped,
            min(contact_time) AS at
        FROM contact WHERE campaign_id = :campaign_id AND state IN ('HANDED_OVER', 'CONTROL')
        GROUP BY customer_key, grouped
    ), counted AS (
        SELECT first.grouped, span.period, first.customer_key, count(opening.product_id) AS openings
        FROM first
        CROSS JOIN (VALUES ('before', -1, 0), ('after', 0, 1)) AS span (period, begins, ends)
        LEFT JOIN opening ON opening.customer_key = first.customer_key
            AND opening.open_time >= first.at + span.begins * CAST(:attribution AS interval)
            AND opening.open_time < first.at + span.ends * CAST(:attribution AS interval)
        GROUP BY first.grouped, span.period, first.customer_key
    )
    SELECT grouped AS "group", period, count(*) AS customers,
        percentile_cont(0.25) WITHIN GROUP (ORDER BY openings) AS first,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY openings) AS median,
        percentile_cont(0.75) WITHIN GROUP (ORDER BY openings) AS third, avg(openings)::float AS mean
    FROM counted GROUP BY grouped, period ORDER BY grouped DESC, period DESC
    """
)

_ORDERS = "marketing_order WHERE contact_time IS NOT NULL AND contact_id = order_id"

# Each gives (at, customer_key, campaign_id, n, d): a KPI is Σ n / Σ d over a month.
_FACTS = {
    "complaints_per_10000": f"""
        SELECT contact_time AS at, customer_key, campaign_id, 0 AS n, 1 AS d FROM {_WENT}
        UNION ALL SELECT complaint.open_time, complaint.customer_key,
            coalesce(contact.campaign_id, decision.campaign_id), 1, 0
        FROM complaint LEFT JOIN contact USING (contact_id) LEFT JOIN decision ON grant_id = complaint.contact_id
        WHERE complaint.contact_id <> ''""",
    "launch_lead_days": """
        SELECT went.time AS at, 0 AS customer_key, went.campaign_id,
            extract(epoch FROM went.time - made.time) / 86400 AS n, 1 AS d
        FROM campaign_move AS made
        JOIN campaign_move AS went ON went.campaign_id = made.campaign_id AND went.verb IN ('activate', 'roll_out')
        WHERE made.verb = 'create'""",
    "model_targeted_share": f"""
        SELECT contact_time AS at, customer_key, campaign_id, 1 AS n, 1 AS d FROM {_WENT}
        UNION ALL SELECT contact_time, customer_key, campaign_id, 0, 1 FROM {_ORDERS}""",
    "response_rate": f"""
        SELECT contact.contact_time AS at, customer_key, campaign_id,
            CASE WHEN outcome.result = 'RESPONDED' THEN 1 ELSE 0 END AS n, 1 AS d
        FROM {_WENT} LEFT JOIN outcome USING (contact_id)""",
    "opening_rate": f"""
        SELECT contact_time AS at, contact.customer_key, campaign_id,
            CASE WHEN attribution.contact_id IS NULL THEN 0 ELSE 1 END AS n, 1 AS d
        FROM {_WENT} LEFT JOIN attribution USING (contact_id)""",
    "cost_per_opening": f"""
        SELECT contact_time AS at, contact.customer_key, campaign_id, cost_fen AS n,
            CASE WHEN attribution.contact_id IS NULL THEN 0 ELSE 1 END AS d
        FROM {_WENT} LEFT JOIN attribution USING (contact_id)""",
    "satisfaction": """
        SELECT open_time AS at, complaint.customer_key, coalesce(contact.campaign_id, '') AS campaign_id,
            CASE WHEN satisfied = 'Y' THEN 1 ELSE 0 END AS n, 1 AS d
        FROM complaint LEFT JOIN contact ON contact.contact_id = complaint.contact_id WHERE satisfied <> ''""",
    "orders_in_time": """
        SELECT update_time AS at, customer_key, campaign_id, CASE WHEN timeouts = 0 THEN 1 ELSE 0 END AS n, 1 AS d
        FROM marketing_order WHERE state = 'CLOSED'""",
    "order_response": """
        SELECT contact_time AS at, customer_key, campaign_id,
            CASE WHEN feedback ->> 'result' = 'RESPONDED' THEN 1 ELSE 0 END AS n, 1 AS d
        FROM marketing_order WHERE feedback IS NOT NULL""",
    "repeated_exposure": """
        SELECT event_time AS at, customer_key, '' AS campaign_id, 1 AS d,
            CASE WHEN event_time - lag(event_time) OVER seen <= interval '7 days' THEN 1 ELSE 0 END AS n
        FROM slot_event WHERE kind = 'EXPOSURE' AND customer_key > 0 AND content_id <> ''
        WINDOW seen AS (PARTITION BY customer_key, content_id ORDER BY event_time, slot_id, event_id)""",
}

_SPLITS = {"": "''", "level": "coalesce(customer.level, '')", "type": "coalesce(campaign.type, '')"}

_MONTHS = """
    SELECT date_trunc('month', fact.at AT TIME ZONE :zone)::date AS month, {group} AS grouped,
        sum(fact.n)::float AS numerator, sum(fact.d)::float AS denominator
    FROM ({facts}) AS fact
    LEFT JOIN customer ON customer.customer_key = fact.customer_key
    LEFT JOIN campaign ON campaign.campaign_id = fact.campaign_id
    GROUP BY 1, 2 ORDER BY 2, 1
"""

# Simpson's diversity as a quotient: numerator Σc² subtracted from (Σc)², over (Σc)².
_DIVERSITY = """
    SELECT month, grouped, (sum(c) ^ 2 - sum(c ^ 2))::float AS numerator, (sum(c) ^ 2)::float AS denominator
    FROM (
        SELECT date_trunc('month', contact.contact_time AT TIME ZONE :zone)::date AS month, {group} AS grouped,
            contact.product_id, count(*)::float AS c
        FROM {went}
        LEFT JOIN customer ON customer.customer_key = contact.customer_key
        LEFT JOIN campaign ON campaign.campaign_id = contact.campaign_id
        GROUP BY 1, 2, 3
    ) AS counted
    GROUP BY 1, 2 ORDER BY 2, 1
"""

_TIME_SPACE = text(
    f"""
    SELECT * FROM (
        SELECT extract(isodow FROM contact.contact_time AT TIME ZONE :zone)::int AS weekday,
            extract(hour FROM contact.contact_time AT TIME ZONE :zone)::int AS hour, contact.org_id, contact.channel,
            count(*) AS sent, count(*) FILTER (WHERE outcome.result = 'RESPONDED') AS responded,
            count(attribution.contact_id) AS opened
        FROM {_WENT}
        LEFT JOIN outcome USING (contact_id)
        LEFT JOIN attribution USING (contact_id)
        WHERE :campaign_id = '' OR contact.campaign_id = :campaign_id
        GROUP BY 1, 2, 3, 4
    ) AS line ORDER BY weekday, hour, org_id, channel OFFSET :after LIMIT :size
    """
)

_COHORTS = text(
    """
    WITH first AS (
        SELECT customer_key, min(open_time) AS open_time FROM opening WHERE product_id = :product_id
        GROUP BY customer_key
    ), span AS (
        SELECT first.customer_key, first.open_time,
            (SELECT min(close_time) FROM closing WHERE closing.customer_key = first.customer_key
                AND closing.product_id = :product_id AND close_time >= first.open_time) AS close_time
        FROM first
    )
    SELECT date_trunc('month', open_time AT TIME ZONE :zone)::date AS month, open_time, close_time FROM span
    ORDER BY open_time
    """
)

_COMPLAINTS = text(
    """
    WITH told AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:keys AS bigint[]), CAST(:kinds AS text[]),
            CAST(:contacts AS text[]), CAST(:times AS timestamptz[]), CAST(:satisfied AS text[]))
            AS told (complaint_id, customer_key, kind, contact_id, open_time, satisfied)
    )
    INSERT INTO complaint AS known (complaint_id, customer_key, org_id, kind, contact_id, link, open_time, satisfied)
    SELECT told.complaint_id, told.customer_key, coalesce(customer.org_id, ''), told.kind,
        coalesce(given.contact_id, last.contact_id, ''),
        CASE WHEN given.contact_id IS NOT NULL THEN 'given' WHEN last.contact_id IS NOT NULL THEN 'last' ELSE '' END,
        told.open_time, told.satisfied
    FROM told
    LEFT JOIN customer USING (customer_key)
    LEFT JOIN LATERAL (
        SELECT contact_id FROM contact
        WHERE contact.contact_id = told.contact_id AND contact.customer_key = told.customer_key
        UNION ALL
        SELECT grant_id FROM decision
        WHERE grant_id = told.contact_id AND decision.customer_key = told.customer_key AND state = 'CONFIRMED'
    ) AS given ON true
    LEFT JOIN LATERAL (
        SELECT contact.contact_id FROM (
            SELECT contact_id, contact_time FROM contact
            WHERE contact.customer_key = told.customer_key AND state = 'HANDED_OVER'
            UNION ALL
            SELECT grant_id, decide_time FROM decision
            WHERE decision.customer_key = told.customer_key AND state = 'CONFIRMED'
        ) AS contact
        WHERE told.kind = 'marketing'
            AND contact.contact_time <= told.open_time AND contact.contact_time > told.open_time - interval '7 days'
        ORDER BY contact.contact_time DESC, contact.contact_id LIMIT 1
    ) AS last ON true
    ORDER BY told.complaint_id
    ON CONFLICT (complaint_id) DO UPDATE SET
        open_time = least(known.open_time, excluded.open_time),
        satisfied = CASE WHEN excluded.satisfied <> '' THEN excluded.satisfied ELSE known.satisfied END
    """
)


class Reports:
    """Reads for reports; writes of complaints, closings and assessments."""

    async def lines(
        self, read: Read, *, split: str, campaign_id: str = "", after: tuple[str, str] | None = None, size: int
    ) -> list[Line]:
        """Effect lines by campaign and group, those after them; `split` is "", channel, level or org."""
        params: dict[str, Any] = {"campaign_id": campaign_id, "attribution": ATTRIBUTION, "size": size}
        params |= {"after_campaign": after[0] if after else "", "after_group": after[1] if after else ""}
        rows = await read.rows(text(_LINES.format(group=_GROUPS[split], online=_ONLINE)), params)
        return [Line(**row._asdict()) for row in rows]

    async def quartiles(self, read: Read, campaign_id: str) -> list[Quartiles]:
        """Openings per customer before and after, contacted and control."""
        rows = await read.rows(_QUARTILES, {"campaign_id": campaign_id, "attribution": ATTRIBUTION})
        return [Quartiles(**row._asdict()) for row in rows]

    async def counts(self, read: Read, name: str, split: str, zone: str) -> list[Count]:
        """A KPI's counts by group and month of business time; `split` is "", level or type."""
        if name == "offer_diversity":
            stmt = _DIVERSITY.format(group=_SPLITS[split], went=_WENT)
        else:
            stmt = _MONTHS.format(group=_SPLITS[split], facts=_FACTS[name])
        rows = await read.rows(text(stmt), {"zone": zone})
        return [Count(row.month, row.grouped, row.numerator, row.denominator) for row in rows]

    async def time_space(self, read: Read, campaign_id: str, zone: str, after: int, size: int) -> list[TimeSpace]:
        """Contacts by weekday, hour, organisation and channel."""
        params = {"campaign_id": campaign_id, "zone": zone, "after": after, "size": size}
        return [TimeSpace(**row._asdict()) for row in await read.rows(_TIME_SPACE, params)]

    async def spans(self, read: Read, product_id: str, zone: str) -> list[tuple[date, datetime, datetime | None]]:
        """(month, opened, closed) of everybody who ever had a product, each once from his first opening."""
        rows = await read.rows(_COHORTS, {"product_id": product_id, "zone": zone})
        return [(row.month, row.open_time, row.close_time) for row in rows]

    async def put_complaints(self, tx: Write, told: Sequence[Complained]) -> None:
        """Take complaints, in any order and perhaps again; what is said of one merges."""
        merged: dict[str, Complained] = {}
        for one in told:
            known = merged.get(one.complaint_id)
            merged[one.complaint_id] = one if known is None else known.with_(one)
        params = {
            "ids": list(merged),
            "keys": [one.customer_key for one in merged.values()],
            "kinds": [one.kind for one in merged.values()],
            "contacts": [one.contact_id for one in merged.values()],
            "times": [one.time for one in merged.values()],
            "satisfied": [one.satisfied for one in merged.values()],
        }
        if merged:
            await tx.execute(_COMPLAINTS, params)

    async def complaints(
        self, read: Read, *, campaign_id: str, linked: bool, after: tuple[datetime, str] | None, size: int
    ) -> list[Complaint]:
        """Complaints, the latest first, those after (open_time, complaint_id)."""
        stmt = text(
            """
            SELECT complaint.complaint_id, complaint.customer_key, complaint.kind, complaint.contact_id,
                complaint.link, coalesce(contact.campaign_id, made.campaign_id, '') AS campaign_id,
                complaint.open_time, complaint.satisfied
            FROM complaint LEFT JOIN contact ON contact.contact_id = complaint.contact_id
            LEFT JOIN decision AS made ON made.grant_id = complaint.contact_id
            WHERE (:campaign_id = '' OR coalesce(contact.campaign_id, made.campaign_id) = :campaign_id)
                AND (NOT :linked OR complaint.link <> '')
                AND (CAST(:time AS timestamptz) IS NULL OR (complaint.open_time, complaint.complaint_id) < (:time, :id))
            ORDER BY complaint.open_time DESC, complaint.complaint_id DESC LIMIT :size
            """
        )
        at = {"time": after[0] if after else None, "id": after[1] if after else ""}
        rows = await read.rows(stmt, {"campaign_id": campaign_id, "linked": linked, "size": size, **at})
        return [Complaint(**row._asdict()) for row in rows]

    async def put_closings(self, tx: Write, closings: Sequence[Closing]) -> None:
        """Take closings; one that is known stays."""
        stmt = text(
            "INSERT INTO closing (customer_key, product_id, close_time, org_id) "
            "SELECT told.customer_key, told.product_id, told.close_time, coalesce(customer.org_id, '') "
            "FROM unnest(CAST(:keys AS bigint[]), CAST(:products AS text[]), CAST(:times AS timestamptz[])) "
            "AS told (customer_key, product_id, close_time) LEFT JOIN customer USING (customer_key) "
            "ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING"
        )
        params = {
            "keys": [one.customer_key for one in closings],
            "products": [one.product_id for one in closings],
            "times": [one.close_time for one in closings],
        }
        if closings:
            await tx.execute(stmt, params)

    async def assess(self, tx: Write, campaign_id: str, org_id: str, assessment: Assessment) -> None:
        """Keep what is reported of a campaign, which the transaction holds."""
        stmt = text(
            "INSERT INTO assessment (campaign_id, number, org_id, kind, text, cost_fen, report_time) "
            "SELECT :campaign_id, count(*) + 1, :org_id, :kind, :text, :cost_fen, :time "
            "FROM assessment WHERE campaign_id = :campaign_id"
        )
        told = {"kind": assessment.kind, "text": assessment.text, "cost_fen": assessment.cost_fen}
        of = {"campaign_id": campaign_id, "org_id": org_id, "time": assessment.report_time}
        await tx.execute(stmt, {**of, **told})

    async def assessments(self, read: Read, campaign_id: str, after: int, size: int) -> list[Assessment]:
        """What was reported of a campaign, in order, those after the first `after`."""
        stmt = text(
            "SELECT kind, text, cost_fen, report_time FROM assessment WHERE campaign_id = :campaign_id "
            "AND number > :after ORDER BY number LIMIT :size"
        )
        rows = await read.rows(stmt, {"campaign_id": campaign_id, "after": after, "size": size})
        return [Assessment(**row._asdict()) for row in rows]
