"""The dual prices by which decisions online are made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB

from services.kit.db import Read, Write


@dataclass(frozen=True)
class PriceSet:
    """Prices in fen by the names of limits; `expected_fen` is the mean bid of the matrix that they were made from.

    They count from `since_share` (0 … 1) of the day's open hours on, when `begun` was used of the limits.
    """

    price_set_id: str
    business_day: date
    matrix_id: str
    expected_fen: float
    since_share: float
    prices: Mapping[str, float]
    create_time: datetime
    begun: Mapping[str, float] = field(default_factory=dict)


class Prices:
    """The table `price_set`."""

    async def add(self, tx: Write, one: PriceSet) -> None:
        """Keep prices; those of the same id stay as they are."""
        await tx.driver.execute(
            "INSERT INTO price_set (price_set_id, business_day, matrix_id, expected_fen, since_share, create_time, "
            "prices, begun) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            one.price_set_id,
            one.business_day,
            one.matrix_id,
            one.expected_fen,
            one.since_share,
            one.create_time,
            json.dumps(dict(one.prices)),
            json.dumps(dict(one.begun)),
        )

    async def latest(self, read: Read, on: date) -> PriceSet | None:
        """The prices of a day: those made last for it, or for the last day before it."""
        stmt = text(
            "SELECT * FROM price_set WHERE business_day <= :on ORDER BY business_day DESC, create_time DESC, "
            "price_set_id DESC LIMIT 1"
        ).columns(prices=JSONB, begun=JSONB)
        row = await read.row(stmt, {"on": on})
        return None if row is None else PriceSet(**row._asdict())
