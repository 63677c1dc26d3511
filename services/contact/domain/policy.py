"""What protects customers from harassment and channels from overload: caps, capacities, quiet hours, the holdout.

Limit 0, an unset limit (None) and a large limit are three different things: none, unlimited, and so many.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from services.contact.refusals import policy_invalid

CHANNELS = ("sms", "call", "app", "web", "store", "order")
"""The channels by which a customer is reached, as they are written in files and tables."""

MARKETING = "marketing"
"""The purpose of consent that a campaign needs."""

UNLIMITED = 1 << 20
"""The cap of a customer whose level has no bound: more than any plan holds for one customer."""


@dataclass(frozen=True)
class CustomerCap:
    """At most `most` contacts (None: unlimited) in any `window_days` business days; level "" is for all the others."""

    level: str
    most: int | None
    window_days: int


@dataclass(frozen=True)
class ChannelLimit:
    """What a channel carries in one plan (None: unlimited), what a contact costs (fen), and when it keeps quiet.

    `lift_bps` scales an offer's acceptance through the channel; quiet hours are [from, to) in business time.
    """

    channel: str
    capacity: int | None
    cost_fen: int
    quiet_from_hour: int
    quiet_to_hour: int
    lift_bps: int


@dataclass(frozen=True)
class Policy:
    """One version of the policy; a change makes another, and applies to the next decision."""

    customer_caps: tuple[CustomerCap, ...]
    channel_limits: tuple[ChannelLimit, ...]
    holdout_bps: int
    version: int = 0
    update_time: datetime | None = None

    def limit(self, channel: str) -> ChannelLimit | None:
        """The channel's limit; None for a channel that the policy does not use."""
        return next((limit for limit in self.channel_limits if limit.channel == channel), None)

    def caps_of(self, level: str) -> tuple[CustomerCap, ...]:
        """The caps of a level: its own, else those of level ""; none at all means that it is not contacted."""
        own = tuple(cap for cap in self.customer_caps if cap.level == level)
        return own or tuple(cap for cap in self.customer_caps if not cap.level)

    def room(self, level: str, earlier: Sequence[tuple[date, int]], on: date) -> int:
        """How many more contacts a customer may get on the business day `on`, 0 or more.

        `earlier` are (business day, contacts) pairs. Every window of `window_days` days that holds `on` is kept,
        also those that end later: contacts planned for a later day count as well.
        """
        caps = self.caps_of(level)
        rooms = [_room(cap, earlier, on) for cap in caps]
        return max(0, min(rooms)) if rooms else 0

    def widest_window(self) -> int:
        """The longest window in days: contacts further away bind nobody."""
        return max((cap.window_days for cap in self.customer_caps), default=1)


def _room(cap: CustomerCap, earlier: Iterable[tuple[date, int]], on: date) -> int:
    if cap.most is None:
        return UNLIMITED
    days: dict[int, int] = {}
    for day, contacts in earlier:
        days[(day - on).days] = days.get((day - on).days, 0) + contacts
    fullest = max(
        sum(contacts for offset, contacts in days.items() if last - cap.window_days < offset <= last)
        for last in range(cap.window_days)
    )
    return cap.most - fullest


def checked(policy: Policy) -> Policy:
    """The policy, if its parts fit each other. Raises policy_invalid."""
    seen: set[tuple[str, int]] = set()
    for index, cap in enumerate(policy.customer_caps):
        if (cap.level, cap.window_days) in seen:
            raise policy_invalid(f"customer_caps[{index}].level", "has a cap for this window already")
        seen.add((cap.level, cap.window_days))
    channels: set[str] = set()
    for index, limit in enumerate(policy.channel_limits):
        if limit.channel not in CHANNELS:
            raise policy_invalid(f"channel_limits[{index}].channel", "is not a channel")
        if limit.channel in channels:
            raise policy_invalid(f"channel_limits[{index}].channel", "has a limit already")
        channels.add(limit.channel)
    return policy


def quiet(limit: ChannelLimit, hour: int) -> bool:
    """Whether the channel keeps quiet in this hour (0–23, business time)."""
    start, end = limit.quiet_from_hour, limit.quiet_to_hour
    if start <= end:
        return start <= hour < end
    return hour >= start or hour < end


def contact_time(limit: ChannelLimit, on: date, zone: tzinfo, share: float) -> datetime:
    """The minute of the business day `on` at `share` (0 ≤ share < 1) of the hours that are not quiet, in UTC.

    Spreading contacts by a hash as `share` keeps a channel from being flooded in its first minute.
    """
    hours = [hour for hour in range(24) if not quiet(limit, hour)]
    minute = int(share * 60 * len(hours))
    local = datetime.combine(on, time(hours[minute // 60], minute % 60), tzinfo=zone)
    return local.astimezone(UTC)


def business_day(moment: datetime, zone: tzinfo) -> date:
    """The business day of a moment."""
    return moment.astimezone(zone).date()


def next_business_day(moment: datetime, zone: tzinfo) -> date:
    """The day after the business day of a moment: what is planned today is carried out tomorrow."""
    return business_day(moment, zone) + timedelta(days=1)
