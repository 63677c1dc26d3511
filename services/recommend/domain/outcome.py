"""What came of contacts, and what becomes of a customer key when a person is erased or turns out to be another."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

RESPONDED, REFUSED, UNREACHED = "RESPONDED", "REFUSED", "UNREACHED"


@dataclass(frozen=True)
class Outcome:
    """One fact of one contact: `result` is empty when the fact is an opening alone; `time` is that of the contact."""

    contact_id: str
    customer_key: int
    product_id: str
    campaign_id: str
    channel: str
    result: str
    opened: bool
    time: datetime


@dataclass(frozen=True)
class Answered:
    """A contact whose customer was reached, and whether he accepted: he said so, or opened the product."""

    contact_id: str
    customer_key: int
    product_id: str
    time: datetime
    accepted: bool


@dataclass(frozen=True)
class Gone:
    """A customer key that stands for nobody any more: merged into `into_key`, or erased (0)."""

    customer_key: int
    into_key: int


@dataclass(frozen=True)
class Live:
    """Customers reached, those who accepted, and those of them who opened the product."""

    contacted: int = 0
    accepted: int = 0
    opened: int = 0

    def plus(self, other: "Live") -> "Live":
        """Both together."""
        return Live(self.contacted + other.contacted, self.accepted + other.accepted, self.opened + other.opened)


def figures(found: Mapping[str, Live]) -> dict[str, dict[str, float]]:
    """By model: `live_contacted`, `live_accepted`, `live_opened`, `live_rate`, and `live_lift` over all contacts.

    A model without contacts has no live figures; the lift is left out while nobody accepted anything.
    """
    whole = Live()
    for each in found.values():
        whole = whole.plus(each)
    base = whole.accepted / max(whole.contacted, 1)
    told = {}
    for model_id, each in found.items():
        rate = each.accepted / max(each.contacted, 1)
        told[model_id] = {
            "live_contacted": float(each.contacted),
            "live_accepted": float(each.accepted),
            "live_opened": float(each.opened),
            "live_rate": rate,
        }
        if base > 0.0:
            told[model_id]["live_lift"] = rate / base
    return told
