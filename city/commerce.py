"""What the customers' dealings leave in the operator's files: bills, orders, consent, business events."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from city.accounts import BRANDS, Accounts, device_names, plan_names
from city.dice import Dice, Flags, Ints
from city.organisation import NOBODY, Organisation, grid_ids, staff_ids
from city.people import SILENT, STATUS, People
from city.products import PRODUCTS, Holdings
from city.tables import Days, numbers

CHANNELS, PURPOSES = ("sms", "call", "app"), ("marketing", "care", "profiling")
SLICE = 50_000  # customers whose rows are held in memory at once
_GRANTED = np.array([[0.90, 0.97, 0.94], [0.75, 0.96, 0.94], [0.85, 0.97, 0.93]])
REFUSES_ALL, CHANGES_MIND = 0.03, 0.01
_SALES_CHANNELS = ("store", "call", "app", "online")


def stamps(base: date, seconds: Ints) -> pl.Series:
    """Local times YYYYMMDDHHMMSS of seconds since midnight of a date."""
    instants = np.datetime64(base, "ms") + (seconds * 1000).astype("timedelta64[ms]")
    return pl.Series(instants).dt.strftime("%Y%m%d%H%M%S")


def slices(count: int) -> Iterator[Ints]:
    """Consecutive customers, SLICE at a time."""
    for low in range(0, count, SLICE):
        yield np.arange(low, min(low + SLICE, count))


def customers_frame(people: People, accounts: Accounts, organisation: Organisation, who: Ints) -> pl.DataFrame:
    """Customer rows."""
    return pl.DataFrame(
        {
            "msisdn": people.msisdn[who],
            "org_id": grid_ids(organisation, organisation.grid[who]),
            "sex": pl.Series(["M", "F"]).gather(people.female[who].astype(np.int64)),
            "birth_year": people.birth_year[who],
            "brand": pl.Series(BRANDS).gather(accounts.brand[who]),
            "plan": plan_names(accounts.plan[who]),
            "join_date": pl.Series(accounts.joined[who]).dt.strftime("%Y%m%d"),
            "device": device_names(accounts.device[who]),
            "level": pl.Series(["C", "B", "A"]).gather(accounts.level[who]),
            "status": pl.Series(STATUS).gather(people.status[who]),
        }
    )


def bills_frame(people: People, accounts: Accounts, days: Days, month: int, who: Ints) -> pl.DataFrame:
    """Bill rows of one of the six months."""
    billed = who[accounts.fee_fen[who, month] >= 0]
    return pl.DataFrame(
        {
            "msisdn": people.msisdn[billed],
            "month": [f"{days.bill_months()[month]:%Y%m}"] * len(billed),
            "fee_fen": accounts.fee_fen[billed, month],
            "voice_minutes": accounts.voice_minutes[billed, month],
            "sms_count": accounts.sms_count[billed, month],
            "data_mb": accounts.data_mb[billed, month],
        }
    )


@dataclass(frozen=True)
class Consents:
    """Arrays of shape (people, channels, purposes): granted at first, and whether it was turned round in the month."""

    first: Flags
    turned: Flags

    @property
    def granted(self) -> Flags:
        """As it stands on the last generated day."""
        return np.asarray(self.first ^ self.turned)

    @property
    def opted_out(self) -> Flags:
        """Who refuses marketing on every channel."""
        return np.asarray(~self.granted[:, :, 0].any(axis=1))


def consents(people: People, dice: Dice) -> Consents:
    """Draws consent per channel and purpose; some refuse all marketing."""
    who = np.arange(len(people))[:, None, None]
    channel, purpose = np.arange(3)[:, None], np.arange(3)
    first = dice.uniform("consent", who, channel, purpose) < _GRANTED
    first[:, :, 0] &= (dice.uniform("optout", who[:, 0, 0]) >= REFUSES_ALL)[:, None]
    turned = dice.uniform("consent.turn", who, channel, purpose) < CHANGES_MIND
    return Consents(first, turned & (purpose == 0))


def consent_frame(people: People, consent: Consents, dice: Dice, days: Days, who: Ints) -> pl.DataFrame:
    """Consent rows: one per channel and purpose from the past, one more for each change of mind in the month."""
    shape = (len(who), 3, 3)
    grid = np.meshgrid(who, np.arange(3), np.arange(3), indexing="ij")
    index = [np.broadcast_to(part, shape).ravel() for part in grid]
    past = -86_400 * 30 - (700 * 86_400 * dice.uniform("consent.time", *index)).astype(np.int64)
    now = (days.count * 86_400 * dice.uniform("consent.turned", *index)).astype(np.int64)
    first, turned = consent.first[who].ravel(), consent.turned[who].ravel()
    again = np.flatnonzero(turned)

    def part(rows: Ints, granted: Flags, seconds: Ints) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "msisdn": people.msisdn[index[0][rows]],
                "channel": pl.Series(CHANNELS).gather(index[1][rows]),
                "purpose": pl.Series(PURPOSES).gather(index[2][rows]),
                "granted": pl.Series(["N", "Y"]).gather(granted[rows].astype(np.int64)),
                "time": stamps(days.start, seconds[rows]),
            }
        )

    return pl.concat([part(np.arange(len(first)), first, past), part(again, ~first, now)])


def order_history_frame(
    people: People, accounts: Accounts, holdings: Holdings, dice: Dice, days: Days, who: Ints
) -> pl.DataFrame:
    """Orders before the start: how what is held was opened, and some that came and went."""
    product = np.arange(len(PRODUCTS))
    held = holdings.at_start[who]
    gone = ~held & (dice.uniform("order.gone", who[:, None], product) < 0.03)
    tenure = (np.datetime64(days.start) - accounts.joined[who]).astype(np.int64)
    row, item = np.nonzero(held | gone)
    opened = (dice.uniform("order.time", who[row], item) * (tenure[row] * 86_400 - 7200)).astype(np.int64)
    closed = opened + 3600 + (0.9 * (tenure[row] * 86_400 - 7200 - opened)).astype(np.int64)
    was = gone[row, item]

    def part(mask: Flags, action: str, seconds: Ints) -> pl.DataFrame:
        since = seconds[mask] - tenure[row[mask]] * 86_400
        code = "O" if action == "open" else "C"
        return pl.DataFrame(
            {
                "order_id": [
                    f"{code}H{w:08d}{p:02d}" for w, p in zip(who[row[mask]].tolist(), item[mask].tolist(), strict=True)
                ],
                "msisdn": people.msisdn[who[row[mask]]],
                "product_id": pl.Series(PRODUCTS).gather(item[mask]),
                "action": [action] * int(mask.sum()),
                "time": stamps(days.start, since),
            }
        )

    return pl.concat([part(np.ones(len(row), dtype=bool), "open", opened), part(was, "cancel", closed)])


@dataclass(frozen=True)
class Month:
    """The business events of the generated days, by time; `origin` is the row of the event that one corrects, or -1."""

    type: list[str]
    who: Ints
    product: Ints
    second: Ints
    amount_fen: Ints
    origin: Ints


def month_of(people: People, holdings: Holdings, dice: Dice, days: Days) -> Month:
    """Draws the business events of all kinds; some openings and renewals are refunded later."""
    who, product = np.arange(len(people))[:, None], np.arange(len(PRODUCTS))
    kept = holdings.at_start & ~holdings.cancelled
    silent = (people.status == SILENT)[:, None]
    draws: list[tuple[str, Flags, float]] = [
        ("NEW", holdings.opened, 1.0),
        ("CHURN", holdings.at_start & holdings.cancelled, 1.0),
        ("RENEW", kept & ~silent, 0.03),
        ("UPGRADE", kept & ~silent, 0.008),
        ("RETAIN", kept & ~silent, 0.006),
        ("ACTIVATE", kept & silent, 0.30),
    ]
    last = days.count * 86_400
    types: list[str] = []
    parts: list[tuple[Ints, Ints, Ints, Ints, Ints]] = []
    fees = numbers("products", "fee_fen").astype(np.int64)
    offset = 0
    for name, possible, share in draws:
        row, item = np.nonzero(possible & (dice.uniform("event." + name, who, product) < share))
        refunded = holdings.cancelled[row, item] if name == "NEW" else dice.uniform("refund." + name, row, item) < 0.02
        refunded &= name in ("NEW", "RENEW")
        until = np.where(refunded, 0.6, 1.0)
        day = np.floor(dice.uniform("event.day." + name, row, item) * until * days.count).astype(np.int64)
        clock = (32_400 + 39_600 * dice.uniform("event.clock." + name, row, item)).astype(np.int64)
        second = day * 86_400 + clock
        own = np.arange(len(row))
        parts.append((row, item, second, fees[item], np.full(len(row), -1)))
        types += [name] * len(row)
        back = np.flatnonzero(refunded)
        wait = 0.9 * dice.uniform("refund.time", row[back], item[back]) * (last - 7200 - second[back])
        later = second[back] + 3600 + wait.astype(np.int64)
        whole = dice.uniform("refund.whole", row[back], item[back]) < 0.6
        parts.append(
            (row[back], item[back], later, np.where(whole, fees[item[back]], fees[item[back]] // 2), own[back] + offset)
        )
        types += ["REFUND"] * len(back)
        offset += len(row) + len(back)
    people_of, item, second, amount, origin = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((item, people_of, second))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    origin = np.where(origin[order] >= 0, place[origin[order]], -1)
    names = [types[number] for number in order.tolist()]
    return Month(names, people_of[order], item[order], second[order], amount[order], origin)


def events_frame(people: People, organisation: Organisation, month: Month, dice: Dice, days: Days) -> pl.DataFrame:
    """Business event rows; sales in the app or online mostly have no member of staff."""
    ids = np.array([f"E{days.last:%Y%m%d}{number:07d}" for number in range(1, len(month.type) + 1)] or [""])
    channel = dice.choice([0.45, 0.25, 0.2, 0.1], "event.channel", month.who, month.product)
    owner = organisation.owner[month.who]
    staff = np.where(owner != NOBODY, owner, organisation.serving[month.who])
    alone = (channel >= 2) & (dice.uniform("event.alone", month.who, month.product) < 0.7)
    origins = [str(ids[origin]) if origin >= 0 else "" for origin in month.origin.tolist()]
    return pl.DataFrame(
        {
            "event_id": ids[: len(month.type)].tolist(),
            "time": stamps(days.start, month.second),
            "type": month.type,
            "msisdn": people.msisdn[month.who],
            "product_id": pl.Series(PRODUCTS).gather(month.product),
            "staff_id": staff_ids(np.where(alone, NOBODY, staff)),
            "channel": pl.Series(_SALES_CHANNELS).gather(channel),
            "amount_fen": month.amount_fen,
            "origin_event_id": pl.Series(origins, dtype=pl.String),
        }
    )


def month_orders_frame(people: People, month: Month, days: Days) -> pl.DataFrame:
    """Orders of the generated days: an opening for each NEW, a cancellation for each CHURN and refunded NEW."""
    opens = np.array([name == "NEW" for name in month.type], dtype=bool)
    cancels = np.array(
        [
            name == "CHURN" or (name == "REFUND" and month.type[origin] == "NEW")
            for name, origin in zip(month.type, month.origin.tolist(), strict=True)
        ],
        dtype=bool,
    )
    rows = np.flatnonzero(opens | cancels)
    ids = [f"OM{days.last:%Y%m%d}{number:07d}" for number in range(1, len(rows) + 1)]
    return pl.DataFrame(
        {
            "order_id": pl.Series(ids, dtype=pl.String),
            "msisdn": people.msisdn[month.who[rows]],
            "product_id": pl.Series(PRODUCTS).gather(month.product[rows]),
            "action": pl.Series(["cancel", "open"]).gather(opens[rows].astype(np.int64)),
            "time": stamps(days.start, month.second[rows]),
        }
    )
