"""What touch points were used for, and the steps that a grant went through: SQL over everything that names them."""

from collections.abc import Sequence
from datetime import date, timedelta

from sqlalchemy import text

from services.contact.domain.policy import CAP, COOLDOWN
from services.contact.domain.touchpoint import Step, TouchPoint
from services.kit.db import Read

_TOUCH_POINTS = text(
    """
    WITH used AS (
        SELECT channel, '' AS slot_id, true AS filled, '' AS reason FROM contact
        WHERE plan_date BETWEEN :first AND :last AND state IN ('PLANNED', 'HANDED_OVER')
        UNION ALL
        SELECT channel, '', false, :cap FROM contact
        WHERE plan_date BETWEEN :first AND :last AND state = 'CAP_REACHED'
        UNION ALL
        SELECT channel, slot_id, state IN ('RESERVED', 'CONFIRMED'), reason FROM decision
        WHERE business_day BETWEEN :first AND :last
    ), counted AS (
        SELECT 'channel ' || channel AS name, filled, reason, count(*) AS times FROM used GROUP BY 1, 2, 3
        UNION ALL
        SELECT 'slot ' || slot_id, filled, reason, count(*) FROM used WHERE slot_id <> '' GROUP BY 1, 2, 3
    ), summed AS (
        SELECT name, coalesce(sum(times), 0) AS asked, coalesce(sum(times) FILTER (WHERE filled), 0) AS filled,
            coalesce(sum(times) FILTER (WHERE reason = :cap), 0) AS capped,
            coalesce(sum(times) FILTER (WHERE reason = :cooldown), 0) AS cooling,
            coalesce(sum(times) FILTER (WHERE reason = 'capacity'), 0) AS crowded
        FROM counted GROUP BY name
    ), point (name, slot_id, capacity) AS (
        SELECT 'channel ' || (told ->> 'channel'), '', coalesce((told ->> 'capacity')::bigint * :days, -1)
        FROM (SELECT definition FROM policy ORDER BY version DESC LIMIT 1) AS latest
        CROSS JOIN jsonb_array_elements(latest.definition -> 'channel_limits') AS told
        UNION ALL
        SELECT 'slot ' || slot_id, slot_id, NULL FROM slot
    )
    SELECT name, coalesce(capacity, asked, 0)::bigint AS asked, coalesce(filled, 0)::bigint AS filled,
        coalesce(capped, 0)::bigint AS capped, coalesce(cooling, 0)::bigint AS cooling,
        coalesce(crowded, 0)::bigint AS crowded,
        (SELECT count(*) FROM schedule AS one JOIN schedule AS other ON other.slot_id = one.slot_id
                AND other.schedule_id > one.schedule_id AND other.start_time < one.end_time
                AND one.start_time < other.end_time
            WHERE one.slot_id = point.slot_id AND NOT one.cancelled AND NOT other.cancelled
                AND greatest(one.start_time, other.start_time) < CAST(:until AS timestamp) AT TIME ZONE :zone
                AND least(one.end_time, other.end_time) > CAST(:first AS timestamp) AT TIME ZONE :zone) AS overlaps
    FROM point LEFT JOIN summed USING (name)
    WHERE name > :after ORDER BY name LIMIT :size
    """
)
_STEPS = text(
    """
    WITH made AS (SELECT * FROM decision WHERE grant_id = :grant AND offer_id <> ''),
    seen AS (SELECT * FROM slot_event WHERE grant_id = :grant)
    SELECT stage, ref, text, time FROM (
        SELECT 1 AS number, 'EVENT' AS stage, moment.moment_id AS ref, moment.pattern_id AS text,
            moment.match_time AS time
        FROM made JOIN moment USING (customer_key) JOIN campaign USING (campaign_id)
        WHERE jsonb_exists(campaign.brief -> 'moments', moment.pattern_id)
            AND moment.match_time BETWEEN made.decide_time - interval '1 hour' AND made.decide_time
        UNION ALL
        SELECT 2, 'DECISION', offer_id, concat_ws(' ', state, campaign_id, channel, NULLIF(slot_id, '')), decide_time
        FROM made
        UNION ALL
        SELECT 3, 'MESSAGE', message_id, concat_ws(' ', state, channel), due_time FROM message WHERE grant_id = :grant
        UNION ALL
        SELECT 4, 'SLOT', event_id, concat_ws(' ', kind, slot_id, NULLIF(content_id, '')), event_time FROM seen
        UNION ALL
        SELECT 5, 'OUTCOME', result, CASE WHEN opened THEN 'opened' ELSE '' END, receive_time
        FROM outcome WHERE contact_id = :grant
        UNION ALL
        SELECT 6, 'REPORT', campaign_id, 'online', NULL FROM made WHERE state = 'CONFIRMED'
        UNION ALL
        SELECT DISTINCT 7, 'CHANGE', suggestion.suggestion_id, suggestion.text, suggestion.create_time
        FROM seen JOIN suggestion ON suggestion.slot_id = seen.slot_id
            AND seen.content_id IN (suggestion.content_id, suggestion.better_content_id)
            AND suggestion.create_time >= seen.event_time
        WHERE seen.kind = 'CLICK'
    ) AS step ORDER BY number, time, ref LIMIT 1000
    """
)


_SEEN = text(
    """
    SELECT count(*) FILTER (WHERE kind = 'EXPOSURE') AS exposures, count(*) FILTER (WHERE kind = 'CLICK') AS clicks
    FROM slot_event JOIN content USING (content_id) WHERE content.campaign_id = :campaign_id
    """
)
_MEASURES = text(
    """
    SELECT text FROM (
        SELECT 1 AS number, suggestion.create_time AS time, suggestion.text FROM suggestion
        WHERE EXISTS (SELECT FROM content WHERE content.campaign_id = :campaign_id
            AND content.content_id IN (suggestion.content_id, suggestion.better_content_id))
        UNION ALL
        SELECT 2, NULL, entry -> 'lesson' ->> 'summary' FROM knowledge WHERE campaign_id = :campaign_id
    ) AS told ORDER BY number, time LIMIT 1000
    """
)


class TouchPoints:
    """Reads over channels and slots."""

    async def seen(self, read: Read, campaign_id: str) -> tuple[int, int]:
        """How often a campaign's contents were shown in slots, and clicked."""
        row = await read.row(_SEEN, {"campaign_id": campaign_id})
        assert row is not None, "a count is always there"
        return row.exposures, row.clicks

    async def measures(self, read: Read, campaign_id: str) -> list[str]:
        """What the clicks on a campaign's contents speak for, and the summary of its lesson."""
        return [row.text for row in await read.rows(_MEASURES, {"campaign_id": campaign_id})]

    async def page(
        self, read: Read, first: date, last: date, zone: str, *, after: str = "", size: int
    ) -> list[TouchPoint]:
        """Channels with a limit and all slots, by name, those after `after`; days are business days, both included."""
        days = (last - first).days + 1
        told = {"first": first, "last": last, "until": last + timedelta(days=1), "zone": zone, "days": days}
        reasons = {"cap": CAP, "cooldown": COOLDOWN}
        rows = await read.rows(_TOUCH_POINTS, {**told, **reasons, "after": after, "size": size})
        return [TouchPoint(**row._asdict()) for row in rows]

    async def steps(self, read: Read, grant: str) -> Sequence[Step]:
        """What a grant went through; nothing for one that is not known."""
        return [Step(**row._asdict()) for row in await read.rows(_STEPS, {"grant": grant})]
