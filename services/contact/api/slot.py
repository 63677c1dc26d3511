"""Slots and what is in them, as messages and as values."""

import dataclasses
import hashlib
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.contact import v1 as proto
from services.contact.api import incoming, outgoing
from services.contact.domain.slot import (
    PAGE,
    Content,
    Picture,
    Push,
    Schedule,
    Showing,
    Slot,
    SlotEvent,
    Suggestion,
    Value,
    preview,
)
from services.contact.usecases.slots import Status
from services.kit.errors import bad_page_token, invalid_field


def slot_in(message: proto.Slot) -> Slot:
    """A slot to register."""
    return Slot(
        slot_id=message.slot_id,
        name=message.name,
        channel=incoming.channel(message.channel),
        width_px=message.width_px,
        height_px=message.height_px,
        form=proto.Slot.Form.Name(message.form).removeprefix("FORM_"),
        choice=proto.Slot.Choice.Name(message.choice).removeprefix("CHOICE_"),
        default_content=message.default_content,
    )


def slot(value: Slot) -> proto.Slot:
    """A slot."""
    return proto.Slot(
        slot_id=value.slot_id,
        name=value.name,
        channel=outgoing.channel(value.channel),
        width_px=value.width_px,
        height_px=value.height_px,
        form=proto.Slot.Form.Value(f"FORM_{value.form}"),
        choice=proto.Slot.Choice.Value(f"CHOICE_{value.choice}"),
        state=proto.Slot.State.Value(f"STATE_{value.state}"),
        default_content=value.default_content,
        create_time=outgoing.moment(value.create_time),
    )


def channel(name: str, valid: bool, since: datetime | None) -> proto.ChannelRegistration:
    """A channel's switch."""
    return proto.ChannelRegistration(channel=outgoing.channel(name), valid=valid, update_time=outgoing.moment(since))


def picture(message: proto.Picture) -> Picture:
    """A picture to register."""
    return Picture(message.code, message.width_px, message.height_px, message.sha256)


def content_in(message: proto.Content) -> Content:
    """A content to write."""
    return Content(
        content_id="",
        slot_id=message.slot_id,
        name=message.name,
        version=0,
        pitch=message.pitch,
        picture_code=message.picture_code,
        campaign_id=message.campaign_id,
        product_id=message.product_id,
        author="",
    )


def content(value: Content, of: Slot | None) -> proto.Content:
    """A content with its preview."""
    told = dataclasses.asdict(value)
    state = proto.Content.State.Value(f"STATE_{told.pop('state')}")
    return proto.Content(**told, state=state, preview=preview(value, of))


def schedule_in(message: proto.Schedule) -> Schedule:
    """A schedule to make."""
    return Schedule(
        schedule_id="",
        slot_id="",
        content_id=message.content_id,
        start_time=_moment(message.start_time, "schedule.start_time"),
        end_time=_moment(message.end_time, "schedule.end_time"),
        priority=message.priority,
        weight=message.weight,
        exclusive=message.exclusive,
        moment=message.moment,
    )


def schedule(value: Schedule) -> proto.Schedule:
    """A schedule."""
    told = dataclasses.asdict(value)
    start_time, end_time = outgoing.moment(told.pop("start_time")), outgoing.moment(told.pop("end_time"))
    return proto.Schedule(**told, start_time=start_time, end_time=end_time)


def showing(value: Showing) -> proto.Showing:
    """What a slot shows."""
    shown, of = value.content, value.slot
    token = hashlib.sha256(f"slot|{value.slot_id}|{shown.content_id if shown else ''}".encode()).hexdigest()[:24]
    if shown is None:
        pitch = of.default_content if of else ""
        return proto.Showing(slot_id=value.slot_id, pitch=pitch, reason=value.reason, attribution_token=token)
    return proto.Showing(
        slot_id=value.slot_id,
        content_id=shown.content_id,
        pitch=shown.pitch,
        picture_code=shown.picture_code,
        html=preview(shown, of) if of and of.form == PAGE else "",
        campaign_id=shown.campaign_id,
        product_id=shown.product_id,
        attribution_token=token,
    )


def push(value: Push, contents: list[Content]) -> proto.Push:
    """A push with its contents."""
    return proto.Push(
        push_id=value.push_id,
        slot_id=value.slot_id,
        channel=outgoing.channel(value.channel),
        state=proto.Push.State.Value(f"STATE_{value.state}"),
        contents=[content(one, None) for one in contents],
        sha256=value.sha256,
        create_time=outgoing.moment(value.create_time),
        expire_time=outgoing.moment(value.expire_time),
    )


def status(value: Status) -> proto.SyncStatus:
    """What a channel should show against what it shows."""
    return proto.SyncStatus(
        slot_id=value.slot.slot_id,
        channel=outgoing.channel(value.slot.channel),
        wanted_sha256=value.wanted,
        reported_sha256=value.reported,
        report_time=outgoing.moment(value.report_time),
        mismatch=value.mismatch,
    )


def event(message: proto.SlotEvent, at: int) -> SlotEvent:
    """What a customer did; `at` is its place in the request."""
    return SlotEvent(
        event_id=message.event_id,
        kind=proto.SlotEvent.Kind.Name(message.kind).removeprefix("KIND_"),
        slot_id=message.slot_id,
        content_id=message.content_id,
        customer_key=message.customer_key,
        event_time=_moment(message.event_time, f"events[{at}].event_time"),
        worth_fen=message.worth_fen,
        page=message.page,
        grant_id=message.grant_id,
    )


def span(request: proto.ListSlotValuesRequest) -> tuple[datetime | None, datetime | None]:
    """The span of a report; None where it is open."""
    begin = _moment(request.from_time, "from_time") if request.HasField("from_time") else None
    return begin, _moment(request.to_time, "to_time") if request.HasField("to_time") else None


def value(found: Value) -> proto.SlotValue:
    """What a slot or a content brought."""
    told = dataclasses.asdict(found)
    return proto.SlotValue(**told, click_rate=found.click_rate, conversion_rate=found.conversion_rate)


def suggestion(suggestion_id: str, created: datetime, found: Suggestion) -> proto.Suggestion:
    """A change that clicks speak for."""
    stamp = outgoing.moment(created)
    return proto.Suggestion(suggestion_id=suggestion_id, create_time=stamp, **dataclasses.asdict(found))


def iso(text: str) -> datetime:
    """The aware time of a page token. Raises bad_page_token."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_page_token() from error
    if moment.tzinfo is None:
        raise bad_page_token()
    return moment


def _moment(stamp: Timestamp, field: str) -> datetime:
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid_field([(field, "is not a time")]) from error
