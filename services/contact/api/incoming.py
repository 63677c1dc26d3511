"""Proto in: what callers say, as plain values."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime

from google.protobuf.message import Message
from google.type.date_pb2 import Date

from lifecircle.contact import v1 as proto
from services.contact.domain.outcome import UNRESOLVED, Outcome
from services.contact.domain.policy import DAY, MONTH, WEEK, Blackout, ChannelLimit, CustomerCap, Fatigue, Policy
from services.kit.errors import invalid_field

_CALENDARS = {
    proto.Policy.CALENDAR_UNSPECIFIED: "",
    proto.Policy.CALENDAR_DAY: DAY,
    proto.Policy.CALENDAR_WEEK: WEEK,
    proto.Policy.CALENDAR_MONTH: MONTH,
}

RPC = "rpc"
"""The source of outcomes told by RPC."""


def check(request: Message) -> None:
    """Refuse text that Postgres cannot hold, with the field named; the contract's own rules were checked before."""
    bad = [path for path, text in _texts(request, "") if "\0" in text]
    if bad:
        raise invalid_field([(path, "must not hold NUL") for path in bad])


def _texts(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        for at, one in enumerate(value) if field.is_repeated else ((-1, value),):
            path = f"{prefix}{field.name}" if at < 0 else f"{prefix}{field.name}[{at}]"
            if isinstance(one, str):
                yield path, one
            elif isinstance(one, Message):
                yield from _texts(one, f"{path}.")


def channel(value: proto.Channel.ValueType) -> str:
    """The channel as it is written in files and tables."""
    return proto.Channel.Name(value).removeprefix("CHANNEL_").lower()


def engine(value: proto.Engine.ValueType) -> str:
    """An engine's name; that of dual prices when none is asked for."""
    return proto.Engine.Name(value or proto.ENGINE_DUAL_PRICES).removeprefix("ENGINE_")


def purpose(value: proto.Purpose.ValueType) -> str:
    """The purpose of a contact; marketing when nothing is said."""
    return proto.Purpose.Name(value or proto.PURPOSE_MARKETING).removeprefix("PURPOSE_").lower()


def day(value: Date, field: str) -> date:
    """A whole date. Raises invalid_field when it is not one."""
    try:
        return date(value.year, value.month, value.day)
    except (ValueError, OverflowError) as error:
        raise invalid_field([(field, "must be a whole date of the calendar")]) from error


def policy(message: proto.Policy) -> Policy:
    """A policy; what is output only is left out."""
    return Policy(
        customer_caps=tuple(
            CustomerCap(
                level=cap.level,
                most=cap.most if cap.HasField("most") else None,
                window_days=cap.window_days,
                calendar=_CALENDARS[cap.calendar],
                channel=channel(cap.channel) if cap.channel else "",
                purpose=purpose(cap.purpose),
            )
            for cap in message.customer_caps
        ),
        channel_limits=tuple(
            ChannelLimit(
                channel=channel(limit.channel),
                capacity=limit.capacity if limit.HasField("capacity") else None,
                cost_fen=limit.cost_fen,
                quiet_from_hour=limit.quiet_from_hour,
                quiet_to_hour=limit.quiet_to_hour,
                lift_bps=limit.lift_bps,
                hourly_capacity=limit.hourly_capacity if limit.HasField("hourly_capacity") else None,
            )
            for limit in message.channel_limits
        ),
        holdout_bps=message.holdout_bps,
        cooldown_days=message.cooldown_days,
        fatigue=Fatigue(message.fatigue.half_life_days, message.fatigue.most_milli, message.fatigue.refusal_milli)
        if message.HasField("fatigue")
        else None,
        blackouts=tuple(
            Blackout(
                name=one.name,
                from_date=day(one.from_date, f"policy.blackouts[{at}].from_date"),
                to_date=day(one.to_date, f"policy.blackouts[{at}].to_date"),
                channels=tuple(channel(value) for value in one.channels),
            )
            for at, one in enumerate(message.blackouts)
        ),
    )


def outcomes(messages: Sequence[proto.Outcome]) -> list[Outcome]:
    """Outcomes told by RPC."""
    return [
        Outcome(
            contact_id=message.contact_id or _named(message.attribution_token, at),
            result=proto.Outcome.Result.Name(message.result).removeprefix("RESULT_"),
            opened=message.opened,
            open_time=_moment(message, "open_time", at),
            contact_time=_moment(message, "contact_time", at),
            source=RPC,
        )
        for at, message in enumerate(messages)
    ]


def _named(attribution_token: str, at: int) -> str:
    if not attribution_token:
        raise invalid_field([(f"outcomes[{at}].contact_id", "or attribution_token must be given")])
    return UNRESOLVED + attribution_token


def _moment(message: proto.Outcome, field: str, at: int) -> datetime | None:
    if not message.HasField(field):  # type: ignore[arg-type]
        return None
    try:
        moment: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid_field([(f"outcomes[{at}].{field}", "is not a time")]) from error
    return moment
