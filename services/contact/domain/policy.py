"""What protects customers from harassment and channels from overload: the one evaluator of batch and online.

Caps per level × window (rolling or calendar business days) × channel × purpose, fatigue, cool-down and exclusion of
offers, blackouts, quiet hours, capacities, the holdout. Time is business days throughout, so that midnight is the
business zone's and no change of its clocks gives a window more or less.

Limit 0, an unset limit (None) and a large limit are three different things: none, unlimited, and so many.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property
from typing import NamedTuple, cast

from services.contact.refusals import policy_invalid

SMS, CALL, APP, WEB, STORE, ORDER, MALL = "sms", "call", "app", "web", "store", "order", "mall"
CHANNELS = (SMS, CALL, APP, WEB, STORE, ORDER, MALL)
"""The channels by which a customer is reached, as they are written in files and tables."""

MARKETING, SERVICE, CARE = "marketing", "service", "care"
"""Purposes of a contact. Marketing needs consent; service (an outage) and care (a birthday) may be made unless refused,
in quiet hours and blackouts too, and use up no cap but those that name their own purpose."""

PURPOSES = (MARKETING, SERVICE, CARE)

DAY, WEEK, MONTH = "day", "week", "month"
"""Calendar windows of business days; "" is a rolling one."""

UNLIMITED = 1 << 20
"""The cap of a customer whose level has no bound: more than any plan holds for one customer."""


class Touch(NamedTuple):
    """Contacts that a customer has had, or is to have, on a business day; `refused` of them he declined."""

    day: date
    contacts: int = 1
    channel: str = ""
    purpose: str = MARKETING
    product_id: str = ""
    exclusive_group: str = ""
    refused: int = 0


Earlier = Sequence[Touch] | Sequence[tuple[date, int]]
"""Contacts that count, in any order, before and after the day in question; pairs are marketing by no channel named."""


@dataclass(frozen=True)
class CustomerCap:
    """At most `most` contacts (None: unlimited) in a window; level "" is for all levels without a cap of their own.

    The window is any `window_days` business days, or with `calendar` the calendar day, week (from Monday) or month.
    `channel` "" counts and binds all channels together. Contacts of other purposes neither count nor are bound.
    """

    level: str
    most: int | None
    window_days: int
    calendar: str = ""
    channel: str = ""
    purpose: str = MARKETING

    def span(self, on: date) -> tuple[date, date]:
        """The first and the last business day whose contacts may share a window with one on the day `on`."""
        if self.calendar == DAY:
            return on, on
        if self.calendar == WEEK:
            first = on - timedelta(days=on.weekday())
            return first, first + timedelta(days=6)
        if self.calendar == MONTH:
            first = on.replace(day=1)
            return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        reach = timedelta(days=self.window_days - 1)
        return on - reach, on + reach


@dataclass(frozen=True)
class Fatigue:
    """How much a customer bears: each contact tires him by 1,000, each refusal by `refusal_milli` more.

    It halves every `half_life_days`; a marketing contact must not take it beyond `most_milli`.
    """

    half_life_days: int
    most_milli: int
    refusal_milli: int = 0

    def milli(self, earlier: Iterable[Touch], on: date) -> float:
        """How tired he is on a day, by the contacts before and on it."""
        half = self.half_life_days
        tired: float = sum(
            (1000.0 * one.contacts + self.refusal_milli * one.refused) * 0.5 ** ((on - one.day).days / half)
            for one in earlier
            if one.day <= on and one.purpose == MARKETING
        )
        return tired


@dataclass(frozen=True)
class Blackout:
    """Business days, both inclusive, on which nobody is contacted for marketing; no channels named are all of them."""

    name: str
    from_date: date
    to_date: date
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChannelLimit:
    """What a channel carries a day and an hour (None: unlimited), what a contact costs (fen), and when it keeps quiet.

    `lift_bps` scales an offer's acceptance through the channel; quiet hours are [from, to) in business time.
    """

    channel: str
    capacity: int | None
    cost_fen: int
    quiet_from_hour: int
    quiet_to_hour: int
    lift_bps: int
    hourly_capacity: int | None = None

    def passed(self, hours: float) -> float:
        """The share (0 … 1) of a day's open hours that is over so many hours (0 … 24) after midnight."""
        open_hours = [hour for hour in range(24) if not quiet(self, hour)]
        return sum(min(max(hours - hour, 0.0), 1.0) for hour in open_hours) / max(len(open_hours), 1)

    @property
    def daily_capacity(self) -> int | None:
        """What it carries in a day: its capacity, and not more than all its open hours together."""
        hours = sum(not quiet(self, hour) for hour in range(24))
        bounds = [self.capacity, None if self.hourly_capacity is None else self.hourly_capacity * hours]
        return min((bound for bound in bounds if bound is not None), default=None)


@dataclass(frozen=True)
class Policy:
    """One version of the policy; a change makes another, and applies to the next decision."""

    customer_caps: tuple[CustomerCap, ...]
    channel_limits: tuple[ChannelLimit, ...]
    holdout_bps: int
    cooldown_days: int = 0
    """For so many days after an offer, neither its product nor another of its exclusive group is offered again."""
    fatigue: Fatigue | None = None
    blackouts: tuple[Blackout, ...] = ()
    version: int = 0
    update_time: datetime | None = None

    def limit(self, channel: str) -> ChannelLimit | None:
        """The channel's limit; None for a channel that the policy does not use."""
        return self._limits.get(channel)

    @cached_property
    def _limits(self) -> Mapping[str, ChannelLimit]:
        return {limit.channel: limit for limit in reversed(self.channel_limits)}

    @cached_property
    def _caps(self) -> dict[tuple[str, str], tuple[CustomerCap, ...]]:
        return {}

    def caps_of(self, level: str, purpose: str = MARKETING) -> tuple[CustomerCap, ...]:
        """The caps of a level: its own, else those of level ""."""
        found = self._caps.get((level, purpose))
        if found is None:
            mine = [cap for cap in self.customer_caps if cap.purpose == purpose]
            own = tuple(cap for cap in mine if cap.level == level)
            found = self._caps[level, purpose] = own or tuple(cap for cap in mine if not cap.level)
        return found

    def room(self, level: str, earlier: Earlier, on: date, *, channel: str = "", purpose: str = MARKETING) -> int:
        """How many more contacts a customer may get on the business day `on`, 0 or more; "" is by any channel.

        Every window that holds `on` is kept, also those that end later: contacts planned for a later day count as
        well. Without any cap marketing may not contact the level at all; other purposes are then not bounded.
        """
        if not earlier:
            return self._fresh_room(level, channel, purpose)
        caps = self.caps_of(level, purpose)
        if not caps:
            return 0 if purpose == MARKETING else UNLIMITED
        known = _touches(earlier)
        rooms = [_room(cap, known, on) for cap in caps if cap.channel in ("", channel)]
        if self.fatigue is not None and purpose == MARKETING:
            rooms.append(int((self.fatigue.most_milli - self.fatigue.milli(known, on)) // 1000))
        return max(0, min(rooms, default=UNLIMITED))

    def _fresh_room(self, level: str, channel: str, purpose: str) -> int:
        """The room of whoever has had no contact: the same on every day, so it is worked out once for each level."""
        found = self._fresh.get((level, channel, purpose))
        if found is None:
            caps = self.caps_of(level, purpose)
            bounds = [UNLIMITED if cap.most is None else cap.most for cap in caps if cap.channel in ("", channel)]
            if purpose == MARKETING:
                bounds += [self.fatigue.most_milli // 1000] if self.fatigue is not None else []
                bounds += [] if caps else [0]
            found = self._fresh[level, channel, purpose] = max(0, min(bounds, default=UNLIMITED))
        return found

    @cached_property
    def _fresh(self) -> dict[tuple[str, str, str], int]:
        return {}

    def closed(self, on: date, channel: str) -> bool:
        """Whether marketing through a channel pauses on a business day."""
        return any(
            one.from_date <= on <= one.to_date and (not one.channels or channel in one.channels)
            for one in self.blackouts
        )

    def resting(self, earlier: Earlier, on: date, product_id: str, exclusive_group: str) -> bool:
        """Whether an offer cools down: it, or one that excludes it, was offered that day or too short a time ago."""
        return any(
            self.cools(one, on) and (one.product_id == product_id or one.exclusive_group == exclusive_group != "")
            for one in _touches(earlier)
        )

    def cools(self, one: Touch, on: date) -> bool:
        """Whether what was offered then cools down on a business day."""
        return bool(one.product_id) and abs((on - one.day).days) < max(self.cooldown_days, 1)

    def silent(self, channel: str, purpose: str, on: date, hour: int) -> bool:
        """Whether contacts of a purpose through a channel rest on a business day and hour."""
        limit = self.limit(channel)
        resting = limit is None or self.closed(on, channel) or quiet(limit, hour)
        return resting and (limit is None or purpose == MARKETING)

    def refusal(self, customer: "Asked", offer: "Wish", on: date, hour: int | None) -> str:
        """Why a contact may not be made on a business day and hour (None: at an hour that is open), or "".

        This is the rule in full, for the plan, the hand-over and the decision online alike.
        """
        limit = self.limit(offer.channel)
        if limit is None:
            return NO_CHANNEL
        if customer.unwanted:
            return DO_NOT_CONTACT
        if not customer.consenting(offer.channel, offer.purpose):
            return NO_CONSENT
        if offer.purpose == MARKETING:
            if customer.held_out:
                return HELD_OUT
            if self.closed(on, offer.channel):
                return BLACKOUT
            if hour is not None and quiet(limit, hour):
                return QUIET
            if self.resting(customer.earlier, on, offer.product_id, offer.exclusive_group):
                return COOLDOWN
        room = self.room(customer.level, customer.earlier, on, channel=offer.channel, purpose=offer.purpose)
        return "" if room > 0 else CAP

    def widest_window(self) -> int:
        """The longest reach of any rule in days: contacts further away bind nobody."""
        days = [31 if cap.calendar else cap.window_days for cap in self.customer_caps]
        tired = 10 * self.fatigue.half_life_days if self.fatigue else 0
        return max([*days, self.cooldown_days, tired, 1])


NO_CHANNEL, NO_CONSENT, DO_NOT_CONTACT, HELD_OUT = "channel not used", "no consent", "do not contact", "holdout"
BLACKOUT, QUIET, COOLDOWN, CAP = "blackout", "quiet hours", "cool-down", "cap"
"""Why a contact may not be made."""


class Asked(NamedTuple):
    """A customer as the rules see him: consents and refusals are (channel, purpose) pairs."""

    level: str
    earlier: Earlier
    consents: Collection[tuple[str, str]]
    refusals: Collection[tuple[str, str]] = ()
    unwanted: bool = False
    held_out: bool = False

    def after(self, touch: Touch) -> "Asked":
        """The same customer once more was contacted."""
        earlier = [*_touches(self.earlier), touch]
        return self._replace(earlier=earlier)

    def consenting(self, channel: str, purpose: str) -> bool:
        """Whether he may be contacted so as far as it is his to say: marketing needs consent, others no refusal."""
        way = (channel, purpose)
        return not self.unwanted and (way in self.consents or (purpose != MARKETING and way not in self.refusals))


class Wish(NamedTuple):
    """A contact that somebody would like to make."""

    channel: str
    product_id: str
    exclusive_group: str = ""
    purpose: str = MARKETING


def _room(cap: CustomerCap, earlier: Iterable[Touch], on: date) -> int:
    if cap.most is None:
        return UNLIMITED
    first, last = cap.span(on)
    days = [
        ((one.day - on).days, one.contacts)
        for one in earlier
        if first <= one.day <= last and one.purpose == cap.purpose and cap.channel in ("", one.channel)
    ]
    if cap.calendar or not days:
        return cap.most - sum(contacts for _, contacts in days)
    # The fullest of the windows that hold the day ends on it, or on a later day that has contacts.
    ends = {0, *(offset for offset, _ in days if offset > 0)}
    fullest = max(sum(contacts for offset, contacts in days if end - cap.window_days < offset <= end) for end in ends)
    return cap.most - fullest


def _touches(earlier: Earlier) -> Sequence[Touch]:
    if earlier and not isinstance(earlier[0], Touch):
        return [Touch(*one) for one in earlier]
    return cast("Sequence[Touch]", earlier)


def checked(policy: Policy) -> Policy:
    """The policy, if its parts fit each other. Raises policy_invalid."""
    seen: set[tuple[str | int, ...]] = set()
    for index, cap in enumerate(policy.customer_caps):
        window = cap.calendar or cap.window_days
        if (cap.level, window, cap.channel, cap.purpose) in seen:
            raise policy_invalid(f"customer_caps[{index}].level", "has a cap for this window already")
        seen.add((cap.level, window, cap.channel, cap.purpose))
    for index, blackout in enumerate(policy.blackouts):
        if blackout.to_date < blackout.from_date:
            raise policy_invalid(f"blackouts[{index}].to_date", "is before from_date")
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


def later(policy: Policy, channel: str, reason: str, now: datetime, zone: tzinfo) -> datetime | None:
    """When a contact that was refused may be tried again: at the next open hour, of this day for quiet hours and of
    the next one for caps and blackouts. None: what was refused so stays so."""
    if reason not in (QUIET, CAP, BLACKOUT):
        return None
    limit = policy.limit(channel)
    here = now.astimezone(zone)
    first = 1 if reason == QUIET else 24 - here.hour
    start = here.replace(minute=0, second=0, microsecond=0)
    for hours in range(first, first + 24):
        due = (start.astimezone(UTC) + timedelta(hours=hours)).astimezone(zone)
        if limit is not None and not quiet(limit, due.hour):
            return due.astimezone(UTC)
    return None


def business_day(moment: datetime, zone: tzinfo) -> date:
    """The business day of a moment."""
    return moment.astimezone(zone).date()


def next_business_day(moment: datetime, zone: tzinfo) -> date:
    """The day after the business day of a moment: what is planned today is carried out tomorrow."""
    return business_day(moment, zone) + timedelta(days=1)
