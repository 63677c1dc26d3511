"""What is learned of a contact, as facts for those who learn from it: portrait, recommend's training, points."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

OUTCOME, FEEDBACK, OPENING = "OUTCOME", "FEEDBACK", "OPENING"

ORDER_CHANNEL = "order"
"""The channel of a marketing order in a fact."""


@dataclass(frozen=True)
class Known:
    """What is known of a contact beforehand; customer_key 0 when no contact matches."""

    contact_id: str
    customer_key: int = 0
    campaign_id: str = ""
    offer_id: str = ""
    product_id: str = ""
    channel: str = ""
    contact_time: datetime | None = None
    order_id: str = ""
    staff_id: str = ""


@dataclass(frozen=True)
class OutcomeFact:
    """One thing learned of a contact; times are aware, `intent` and `reason` are those of an account manager."""

    kind: str
    known: Known
    result: str = ""
    reason: str = ""
    intent: str = ""
    corrections: Mapping[str, str] = field(default_factory=dict)
    opened: bool = False
    open_time: datetime | None = None

    @property
    def fact_id(self) -> str:
        """128 bits of SHA-256, hex, over what was learned: the same fact has the same id, told however often."""
        told = {"kind": self.kind, "contact": self.known.contact_id, "order": self.known.order_id}
        told |= {"result": self.result, "reason": self.reason, "intent": self.intent, "opened": str(self.opened)}
        told |= {"open": _text(self.open_time), "corrections": json.dumps(dict(self.corrections), sort_keys=True)}
        told |= {"at": _text(self.known.contact_time)}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def to_json(fact: OutcomeFact) -> dict[str, Any]:
    """The fact as JSON values, times in ISO 8601."""
    told = dataclasses.asdict(fact)
    told["open_time"] = _text(fact.open_time)
    told["known"]["contact_time"] = _text(fact.known.contact_time)
    return told


def from_json(told: Mapping[str, Any]) -> OutcomeFact:
    """The fact that to_json() wrote."""
    known = Known(**{**told["known"], "contact_time": _time(told["known"]["contact_time"])})
    return OutcomeFact(**{**told, "known": known, "open_time": _time(told["open_time"])})


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
