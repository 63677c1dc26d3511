"""Slots: registry, contents, schedules, the call in real time, pushes, sync, events and what they are worth."""

from datetime import timedelta

from lifecircle.contact import v1 as proto
from services.contact.api import incoming
from services.contact.api import slot as messages
from services.contact.api.pages import READ, WRITE, Context, request_key, texts, timed, timed_token
from services.contact.usecases import Slots
from services.kit import paging
from services.kit.errors import bad_page_token
from services.kit.interceptors import Rights, caller

_CHANNEL = frozenset({"operator", "service"})

RIGHTS: Rights = {
    "CreateSlot": WRITE,
    "UpdateSlotState": WRITE,
    "ListSlots": READ,
    "UpdateChannel": WRITE,
    "ListChannels": READ,
    "CreatePicture": WRITE,
    "CreateContent": WRITE,
    "MoveContent": WRITE,
    "ListContents": READ,
    "CreateSchedule": WRITE,
    "CancelSchedule": WRITE,
    "ListSchedules": READ,
    "GetShowings": READ,
    "CreatePush": WRITE,
    "MovePush": _CHANNEL,
    "ListPushes": READ,
    "ReportSync": _CHANNEL,
    "ListSyncStatus": READ,
    "RecordSlotEvents": _CHANNEL,
    "ListSlotValues": READ,
    "ListSuggestions": READ,
}


class SlotsApi:
    """Slots."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    async def CreateSlot(self, request: proto.CreateSlotRequest, context: Context) -> proto.CreateSlotResponse:
        """Registers a slot."""
        slot = await self._slots.create_slot(request_key(request), messages.slot_in(request.slot), caller().org)
        return proto.CreateSlotResponse(slot=messages.slot(slot))

    async def UpdateSlotState(
        self, request: proto.UpdateSlotStateRequest, context: Context
    ) -> proto.UpdateSlotStateResponse:
        """Makes a slot valid or disabled."""
        state = proto.Slot.State.Name(request.state).removeprefix("STATE_")
        slot = await self._slots.put_state(request_key(request), request.slot_id, state)
        return proto.UpdateSlotStateResponse(slot=messages.slot(slot))

    async def ListSlots(self, request: proto.ListSlotsRequest, context: Context) -> proto.ListSlotsResponse:
        """Lists slots."""
        size = paging.clamp(request.page_size)
        found = await self._slots.slots(_channel(request.channel), timed(request.page_token), size)
        token = timed_token(*[(slot.create_time, slot.slot_id) for slot in found], size=size)
        return proto.ListSlotsResponse(slots=[messages.slot(slot) for slot in found], next_page_token=token)

    async def UpdateChannel(self, request: proto.UpdateChannelRequest, context: Context) -> proto.UpdateChannelResponse:
        """Switches a channel."""
        named = incoming.channel(request.channel.channel)
        done = await self._slots.put_channel(request_key(request), named, request.channel.valid)
        return proto.UpdateChannelResponse(channel=messages.channel(*done))

    async def ListChannels(self, request: proto.ListChannelsRequest, context: Context) -> proto.ListChannelsResponse:
        """Lists channels, which fit on one page."""
        return proto.ListChannelsResponse(channels=[messages.channel(*one) for one in await self._slots.channels()])

    async def CreatePicture(self, request: proto.CreatePictureRequest, context: Context) -> proto.CreatePictureResponse:
        """Registers a picture."""
        await self._slots.create_picture(request_key(request), messages.picture(request.picture))
        return proto.CreatePictureResponse(picture=request.picture)

    async def CreateContent(self, request: proto.CreateContentRequest, context: Context) -> proto.CreateContentResponse:
        """Writes a version of a content."""
        key, content = request_key(request), messages.content_in(request.content)
        return proto.CreateContentResponse(
            content=messages.content(*await self._slots.create_content(key, content, caller().org))
        )

    async def MoveContent(self, request: proto.MoveContentRequest, context: Context) -> proto.MoveContentResponse:
        """Approves or withdraws a content."""
        verb = proto.MoveContentRequest.Verb.Name(request.verb).removeprefix("VERB_")
        moved = await self._slots.move_content(request_key(request), request.content_id, verb)
        return proto.MoveContentResponse(content=messages.content(*moved))

    async def ListContents(self, request: proto.ListContentsRequest, context: Context) -> proto.ListContentsResponse:
        """Lists contents with previews."""
        size, after = paging.clamp(request.page_size), _versioned(request.page_token)
        found = await self._slots.contents(request.slot_id, after, size)
        last = found[-1][0] if len(found) == size else None
        token = {} if last is None else {"slot": last.slot_id, "name": last.name, "version": last.version}
        contents = [messages.content(*one) for one in found]
        return proto.ListContentsResponse(contents=contents, next_page_token=paging.encode(token))

    async def CreateSchedule(
        self, request: proto.CreateScheduleRequest, context: Context
    ) -> proto.CreateScheduleResponse:
        """Schedules a content."""
        key, asked = request_key(request), messages.schedule_in(request.schedule)
        made, overlaps = await self._slots.schedule(key, asked, caller().org)
        return proto.CreateScheduleResponse(
            schedule=messages.schedule(made), overlaps=[messages.schedule(one) for one in overlaps]
        )

    async def CancelSchedule(
        self, request: proto.CancelScheduleRequest, context: Context
    ) -> proto.CancelScheduleResponse:
        """Takes a schedule back."""
        schedule = await self._slots.cancel(request_key(request), request.schedule_id)
        return proto.CancelScheduleResponse(schedule=messages.schedule(schedule))

    async def ListSchedules(self, request: proto.ListSchedulesRequest, context: Context) -> proto.ListSchedulesResponse:
        """Lists schedules."""
        size, told = paging.clamp(request.page_size), texts(request.page_token, "slot", "time", "id")
        after = (told[0], messages.iso(told[1]), told[2]) if told else None
        found = await self._slots.schedules(request.slot_id, after, size)
        last = found[-1] if len(found) == size else None
        token = {"slot": last.slot_id, "time": last.start_time.isoformat(), "id": last.schedule_id} if last else {}
        schedules = [messages.schedule(one) for one in found]
        return proto.ListSchedulesResponse(schedules=schedules, next_page_token=paging.encode(token))

    async def GetShowings(self, request: proto.GetShowingsRequest, context: Context) -> proto.GetShowingsResponse:
        """Gives what slots show now."""
        found = await self._slots.showings(request.slot_ids, request.moment)
        return proto.GetShowingsResponse(showings=[messages.showing(one) for one in found])

    async def CreatePush(self, request: proto.CreatePushRequest, context: Context) -> proto.CreatePushResponse:
        """Pushes what is due."""
        ttl = timedelta(seconds=request.ttl_seconds)
        made = await self._slots.push(request_key(request), request.slot_id, ttl, caller().org)
        return proto.CreatePushResponse(push=messages.push(*made))

    async def MovePush(self, request: proto.MovePushRequest, context: Context) -> proto.MovePushResponse:
        """Acknowledges or withdraws a push."""
        verb = proto.MovePushRequest.Verb.Name(request.verb).removeprefix("VERB_")
        push = await self._slots.move_push(request_key(request), request.push_id, verb)
        return proto.MovePushResponse(push=messages.push(push, []))

    async def ListPushes(self, request: proto.ListPushesRequest, context: Context) -> proto.ListPushesResponse:
        """Lists pushes."""
        size, channel = paging.clamp(request.page_size), _channel(request.channel)
        found = await self._slots.pushes(channel, request.live, timed(request.page_token), size)
        token = timed_token(*[(push.create_time, push.push_id) for push, _ in found], size=size)
        return proto.ListPushesResponse(pushes=[messages.push(*one) for one in found], next_page_token=token)

    async def ReportSync(self, request: proto.ReportSyncRequest, context: Context) -> proto.ReportSyncResponse:
        """Reports what a channel shows."""
        status = await self._slots.report_sync(request_key(request), request.slot_id, request.sha256, caller().org)
        return proto.ReportSyncResponse(status=messages.status(status))

    async def ListSyncStatus(
        self, request: proto.ListSyncStatusRequest, context: Context
    ) -> proto.ListSyncStatusResponse:
        """Lists what channels should show against what they show."""
        size, after = paging.clamp(request.page_size), (texts(request.page_token, "slot") or [""])[0]
        found = await self._slots.statuses(request.mismatch, after, size)
        token = paging.encode({"slot": found[-1].slot.slot_id}) if len(found) == size else ""
        return proto.ListSyncStatusResponse(statuses=[messages.status(one) for one in found], next_page_token=token)

    async def RecordSlotEvents(
        self, request: proto.RecordSlotEventsRequest, context: Context
    ) -> proto.RecordSlotEventsResponse:
        """Records what customers did."""
        events = [messages.event(one, at) for at, one in enumerate(request.events)]
        new, known = await self._slots.record(request_key(request), events, caller().org)
        return proto.RecordSlotEventsResponse(recorded=new, duplicates=known)

    async def ListSlotValues(
        self, request: proto.ListSlotValuesRequest, context: Context
    ) -> proto.ListSlotValuesResponse:
        """Lists what slots brought."""
        size, told = paging.clamp(request.page_size), texts(request.page_token, "slot", "content")
        begin, ends = messages.span(request)
        after = (told[0], told[1]) if told else ("", "")
        found = await self._slots.values(begin, ends, request.by_content, after, size)
        last = {"slot": found[-1].slot_id, "content": found[-1].content_id} if len(found) == size else {}
        values = [messages.value(one) for one in found]
        return proto.ListSlotValuesResponse(values=values, next_page_token=paging.encode(last))

    async def ListSuggestions(
        self, request: proto.ListSuggestionsRequest, context: Context
    ) -> proto.ListSuggestionsResponse:
        """Lists what clicks speak for."""
        size = paging.clamp(request.page_size)
        found = await self._slots.suggestions(timed(request.page_token), size)
        token = timed_token(*[(moment, name) for name, moment, _ in found], size=size)
        return proto.ListSuggestionsResponse(
            suggestions=[messages.suggestion(*one) for one in found], next_page_token=token
        )


def _channel(value: proto.Channel.ValueType) -> str:
    return incoming.channel(value) if value else ""


def _versioned(page_token: str) -> tuple[str, str, int] | None:
    told = texts(page_token, "slot", "name")
    version = paging.decode(page_token).get("version")
    if told and not isinstance(version, int):
        raise bad_page_token()
    return (told[0], told[1], version) if told and isinstance(version, int) else None
