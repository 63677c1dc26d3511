"""When in the day a contact is made: at the customer's best hours, as far as quiet hours and an hour's capacity let."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, tzinfo
from typing import NamedTuple

from services.contact.domain.plan import Contact
from services.contact.domain.policy import ChannelLimit, Policy, quiet

WORKDAY, WEEKEND = "workday", "weekend"


class Hours(NamedTuple):
    """Hours [from, to) of a kind of day in which a customer is well spoken to, and how well (0 … 1)."""

    day_type: str
    from_hour: int
    to_hour: int
    score: float


def day_type(on: date) -> str:
    """The kind of a day."""
    return WEEKEND if on.weekday() >= 5 else WORKDAY


def timed(
    contacts: Sequence[Contact], hours: Mapping[int, Sequence[Hours]], policy: Policy, on: date, zone: tzinfo
) -> list[Contact]:
    """The contacts, in their order, each moved to the best of its customer's hours that has room.

    Whoever gains most chooses first, and of equals the one whose contact was earlier. An hour has room as long as
    it holds fewer contacts of its channel than its hourly capacity, or, when that is not set, twice an even share, so
    that nobody's best hour floods a channel. The minute stays as it was; who has no known hours stays at his time.
    """
    limits = {one.channel: one for one in policy.channel_limits}
    open_hours = {name: [hour for hour in range(24) if not quiet(one, hour)] for name, one in limits.items()}
    total = Counter(one.channel for one in contacts)
    rooms = {name: _room(one, total[name], len(open_hours[name])) for name, one in limits.items()}
    most = {name: len(contacts) if one.hourly_capacity is None else one.hourly_capacity for name, one in limits.items()}
    kind = day_type(on)
    mine = {key: [one for one in told if one.day_type == kind] for key, told in hours.items()}

    def gain(contact: Contact) -> float:
        return max((one.score for one in mine.get(contact.customer_key, ())), default=0.0)

    order = sorted(range(len(contacts)), key=lambda at: (-gain(contacts[at]), contacts[at].contact_time, at))
    used: Counter[tuple[str, int]] = Counter()
    placed = list(contacts)
    for at in order:
        contact = contacts[at]
        here = contact.contact_time.astimezone(zone)
        name = contact.channel
        best = _within(mine.get(contact.customer_key, ()), here.hour, open_hours[name])
        free = [hour for hour in best if used[name, hour] < min(rooms[name], most[name])]
        others = sorted(open_hours[name], key=lambda hour: ((hour - here.hour) % 24, hour))
        free += [hour for hour in others if used[name, hour] < most[name]]
        hour = free[0] if free else here.hour
        used[contact.channel, hour] += 1
        moment = datetime.combine(on, time(hour, here.minute), zone)
        placed[at] = replace(contact, contact_time=moment.astimezone(UTC))
    return placed


def _room(limit: ChannelLimit, contacts: int, hours: int) -> int:
    even = -(-2 * contacts // max(hours, 1))
    return even if limit.hourly_capacity is None else limit.hourly_capacity


def _within(told: Sequence[Hours], now: int, open_hours: Sequence[int]) -> list[int]:
    """The open hours of a customer's windows, the best window first, within one those near where the contact was."""
    found: list[int] = []
    for one in sorted(told, key=lambda one: -one.score):
        inside = [hour for hour in open_hours if one.from_hour <= hour < one.to_hour]
        found += sorted(inside, key=lambda hour: (abs(hour - now), hour))
    return list(dict.fromkeys(found))
