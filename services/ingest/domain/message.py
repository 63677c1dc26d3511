"""An event as an external broker carries it: one JSON object a message, with the names of the API's Event.

    {"source": "boss", "source_event_id": "E1", "type": "business.NEW", "customer_key": 7,
     "occur_time": "2026-09-01T04:00:00Z", "attributes": {"amount_fen": "3900"}}

What the platform sends has `event_id` and `receive_time` too; what it takes in may have them, they are not looked at.
"""

import json
import math
from datetime import UTC, datetime
from typing import Any

from services.ingest.domain.event import Event, Told, Unfit, problems_of, unfit


def read(data: bytes) -> Told | Unfit:
    """The event of a message, or why it is none."""
    try:
        body = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return unfit("", "", [("message", "is not one JSON object")])
    if not isinstance(body, dict):
        return unfit("", "", [("message", "is not one JSON object")])
    source, source_event_id = str(body.get("source", "")), str(body.get("source_event_id", ""))
    problems = [
        (f"event.{name}", "is missing or of another type") for name, kind in _KINDS if not _is(body, name, kind)
    ]
    try:
        told_time = datetime.fromisoformat(str(body.get("occur_time", "")))
        moment = told_time.astimezone(UTC) if told_time.tzinfo else None
    except (ValueError, OverflowError):
        moment = None
    if problems or moment is None:
        return unfit(source, source_event_id, problems or [("event.occur_time", "is not a time with its zone")])
    attributes = body.get("attributes", {})
    told = Told(source, source_event_id, body["type"], body.get("customer_key", 0), moment, attributes)
    problems = problems_of(told)
    return unfit(source, source_event_id, problems) if problems else told


def written(event: Event) -> bytes:
    """The message of an event."""
    body = {
        "event_id": event.event_id,
        "source": event.source,
        "source_event_id": event.source_event_id,
        "type": event.type,
        "customer_key": event.customer_key,
        "occur_time": event.occur_time.isoformat(),
        "receive_time": event.receive_time.isoformat(),
        "attributes": dict(event.attributes),
    }
    return json.dumps(body, ensure_ascii=False).encode()


_KINDS: tuple[tuple[str, type], ...] = (("source", str), ("source_event_id", str), ("type", str))


def _is(body: dict[str, Any], name: str, kind: type) -> bool:
    key, attributes = body.get("customer_key", 0), body.get("attributes", {})
    whole = isinstance(key, int) and not isinstance(key, bool) and key < 1 << 63
    return isinstance(body.get(name), kind) and whole and isinstance(attributes, dict)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number, {math.nan} neither")
