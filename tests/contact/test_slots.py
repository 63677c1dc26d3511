"""Slots through the service: from the registry to what they are worth."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import pytest

from lifecircle.contact import v1 as proto
from services.contact.store import Store
from services.contact.usecases import Registry, Slots
from services.kit.ids import system_ids
from tests.contact.conftest import Quiet
from tests.contact.town import stamp
from tests.fixtures.serving import refused

NOW = datetime(2026, 10, 1, 2, tzinfo=UTC)
numbers = itertools.count()
Verb, PushVerb, Event = proto.MoveContentRequest, proto.MovePushRequest, proto.SlotEvent


def rid() -> str:
    return f"s{next(numbers)}"


class Screen:
    """li writes, wang approves, the web hall shows."""

    def __init__(self, quiet: Quiet) -> None:
        self.quiet, self.li, self.wang = quiet, quiet.stub("li"), quiet.stub("wang")

    async def slot(self, slot_id: str = "top", **changes: Any) -> proto.Slot:
        told: dict[str, Any] = {"name": "首页", "channel": proto.CHANNEL_WEB, "form": proto.Slot.FORM_DATA}
        told |= {"choice": proto.Slot.CHOICE_ROTATE, "default_content": "欢迎"}
        made = proto.Slot(slot_id=slot_id, **(told | changes))
        return (await self.li.CreateSlot(proto.CreateSlotRequest(slot=made, request_id=rid()))).slot

    async def content(self, name: str, slot_id: str = "top", *, approve: bool = True, **changes: Any) -> proto.Content:
        made = proto.Content(slot_id=slot_id, name=name, pitch=f"{name}半价", **changes)
        kept = (await self.li.CreateContent(proto.CreateContentRequest(content=made, request_id=rid()))).content
        return await self.move(self.wang, kept.content_id, Verb.VERB_APPROVE) if approve else kept

    async def move(
        self, stub: proto.ContactServiceStub, content_id: str, verb: "proto.MoveContentRequest.Verb.ValueType"
    ) -> proto.Content:
        request = Verb(content_id=content_id, verb=verb, request_id=rid())
        return (await stub.MoveContent(request)).content

    async def schedule(self, content_id: str, hours: tuple[int, int] = (0, 24), **changes: Any) -> Any:
        start, end = (stamp(NOW + timedelta(hours=one)) for one in hours)
        made = proto.Schedule(content_id=content_id, start_time=start, end_time=end, **({"weight": 1} | changes))
        return await self.li.CreateSchedule(proto.CreateScheduleRequest(schedule=made, request_id=rid()))

    async def shows(self, *slot_ids: str, moment: str = "") -> list[proto.Showing]:
        asked = proto.GetShowingsRequest(slot_ids=slot_ids or ("top",), moment=moment)
        return list((await self.li.GetShowings(asked)).showings)


@pytest.fixture
def screen(quiet: Quiet) -> Screen:
    return Screen(quiet)


async def test_slots_are_listed_the_latest_first_page_by_page(screen: Screen) -> None:
    """R003-060: descending creation time, with pages."""
    for name in ("a", "b", "c"):
        await screen.slot(name)
        screen.quiet.clock.advance(minutes=1)
    first = await screen.li.ListSlots(proto.ListSlotsRequest(page_size=2))
    rest = await screen.li.ListSlots(proto.ListSlotsRequest(page_size=2, page_token=first.next_page_token))
    assert [one.slot_id for one in (*first.slots, *rest.slots)] == ["c", "b", "a"]
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await screen.slot("a")
    assert refused(taken.value)[:2] == ("INVALID_ARGUMENT", "SLOT_INVALID")


async def test_a_content_is_previewed_approved_by_another_scheduled_and_shown(screen: Screen) -> None:
    """R003-052, R003-062: versions with preview and approval; the channel fetches by one call."""
    await screen.slot(width_px=640, height_px=120, form=proto.Slot.FORM_PAGE)
    picture = proto.Picture(code="AD1", width_px=640, height_px=120, sha256="0" * 64)
    await screen.li.CreatePicture(proto.CreatePictureRequest(picture=picture, request_id=rid()))
    with pytest.raises(grpc.aio.AioRpcError) as without:
        await screen.content("夜间包")
    assert refused(without.value)[1] == "SLOT_INVALID"
    draft = await screen.content("夜间包", picture_code="AD1", approve=False)
    assert (draft.version, draft.state) == (1, proto.Content.STATE_DRAFT)
    assert "夜间包半价" in draft.preview
    with pytest.raises(grpc.aio.AioRpcError) as early:
        await screen.schedule(draft.content_id)
    assert refused(early.value)[1] == "SLOT_STATE"
    with pytest.raises(grpc.aio.AioRpcError) as own:
        await screen.move(screen.li, draft.content_id, Verb.VERB_APPROVE)
    assert refused(own.value)[1] == "NOT_FOUR_EYES"
    await screen.move(screen.wang, draft.content_id, Verb.VERB_APPROVE)
    await screen.schedule(draft.content_id)
    (showing,) = await screen.shows()
    assert (showing.content_id, showing.html, showing.reason) == (draft.content_id, draft.preview, "")
    assert (await screen.content("夜间包", picture_code="AD1", approve=False)).version == 2
    listed = (await screen.li.ListContents(proto.ListContentsRequest(slot_id="top"))).contents
    assert [one.version for one in listed] == [1, 2]


async def test_a_disabled_channel_slot_or_withdrawn_content_shows_the_default_at_once(screen: Screen) -> None:
    """R003-063, R003-071: a switch is seen by the very next call, and the reason is told."""
    await screen.slot()
    content = await screen.content("夜间包")
    await screen.schedule(content.content_id)
    assert (await screen.shows())[0].content_id == content.content_id

    async def channel(valid: bool) -> None:
        told = proto.ChannelRegistration(channel=proto.CHANNEL_WEB, valid=valid)
        await screen.li.UpdateChannel(proto.UpdateChannelRequest(channel=told, request_id=rid()))

    async def state(value: proto.Slot.State.ValueType) -> None:
        await screen.li.UpdateSlotState(proto.UpdateSlotStateRequest(slot_id="top", state=value, request_id=rid()))

    await channel(False)
    (off,) = await screen.shows()
    assert (off.content_id, off.pitch, off.reason) == ("", "欢迎", "channel disabled")
    await channel(True)
    await state(proto.Slot.STATE_DISABLED)
    assert (await screen.shows())[0].reason == "slot disabled"
    await state(proto.Slot.STATE_VALID)
    assert (await screen.shows())[0].reason == ""
    await screen.move(screen.li, content.content_id, Verb.VERB_WITHDRAW)
    assert (await screen.shows("top", "nowhere"))[0].reason == "nothing due"
    assert (await screen.shows("nowhere"))[0].reason == "slot unknown"


async def test_a_change_made_by_another_replica_is_shown_within_a_second(screen: Screen) -> None:
    """R003-071: a switch is effective in less than 5 s everywhere."""
    await screen.slot()
    content = await screen.content("夜间包")
    await screen.schedule(content.content_id)
    other = Registry(screen.quiet.db, Store(), screen.quiet.clock)
    assert (await other.board()).due("top", NOW)
    await screen.move(screen.li, content.content_id, Verb.VERB_WITHDRAW)
    screen.quiet.clock.advance(seconds=1)
    assert not (await other.board()).due("top", NOW)


async def test_overlaps_are_told_or_refused(screen: Screen) -> None:
    """R003-061: what overlaps is told in a slot that rotates, refused where one of one priority may be shown."""
    await screen.slot()
    await screen.slot("first", choice=proto.Slot.CHOICE_PRIORITY)
    one, two = await screen.content("甲"), await screen.content("乙")
    first = await screen.schedule(one.content_id)
    second = await screen.schedule(two.content_id, (12, 36))
    assert [overlap.schedule_id for overlap in second.overlaps] == [first.schedule.schedule_id]
    with pytest.raises(grpc.aio.AioRpcError) as alone:
        await screen.schedule(two.content_id, (20, 22), exclusive=True)
    assert refused(alone.value)[:2] == ("FAILED_PRECONDITION", "SCHEDULE_OVERLAPS")
    high = await screen.content("丙", "first")
    kept = await screen.schedule(high.content_id, priority=5)
    with pytest.raises(grpc.aio.AioRpcError) as same:
        await screen.schedule(high.content_id, (1, 2), priority=5)
    assert refused(same.value)[2]["schedules"] == kept.schedule.schedule_id
    cancelled = proto.CancelScheduleRequest(schedule_id=kept.schedule.schedule_id, request_id=rid())
    assert (await screen.li.CancelSchedule(cancelled)).schedule.cancelled
    await screen.schedule(high.content_id, (1, 2), priority=5)
    listed = (await screen.li.ListSchedules(proto.ListSchedulesRequest(slot_id="first"))).schedules
    assert [one.cancelled for one in listed] == [True, False]


async def test_a_push_is_acknowledged_withdrawn_and_ends_by_itself_and_a_page_is_not_pushed(screen: Screen) -> None:
    """R003-053, R003-066, R003-067: TTL, withdrawal, acknowledged once; page push refused."""
    await screen.slot()
    await screen.slot("page", form=proto.Slot.FORM_PAGE)
    content = await screen.content("夜间包")
    await screen.schedule(content.content_id)
    asked = proto.CreatePushRequest(slot_id="top", ttl_seconds=3_600, request_id="once")
    push, again = (await screen.li.CreatePush(asked)).push, (await screen.li.CreatePush(asked)).push
    assert push.push_id == again.push_id
    assert [one.content_id for one in push.contents] == [content.content_id]
    with pytest.raises(grpc.aio.AioRpcError) as page:
        await screen.li.CreatePush(proto.CreatePushRequest(slot_id="page", ttl_seconds=60, request_id=rid()))
    assert refused(page.value)[:2] == ("FAILED_PRECONDITION", "PAGE_NOT_PUSHED")

    async def move(verb: "proto.MovePushRequest.Verb.ValueType", push_id: str = push.push_id) -> proto.Push:
        return (await screen.li.MovePush(PushVerb(push_id=push_id, verb=verb, request_id=rid()))).push

    for _ in range(2):
        assert (await move(PushVerb.VERB_ACKNOWLEDGE)).state == proto.Push.STATE_ACKNOWLEDGED
    assert (await move(PushVerb.VERB_WITHDRAW)).state == proto.Push.STATE_WITHDRAWN
    assert not (await screen.li.ListPushes(proto.ListPushesRequest(live=True))).pushes
    late = (await screen.li.CreatePush(proto.CreatePushRequest(slot_id="top", ttl_seconds=60, request_id=rid()))).push
    assert len((await screen.li.ListPushes(proto.ListPushesRequest(live=True))).pushes) == 1
    screen.quiet.clock.advance(minutes=2)
    listed = (await screen.li.ListPushes(proto.ListPushesRequest())).pushes
    assert [one.state for one in listed] == [proto.Push.STATE_WITHDRAWN, proto.Push.STATE_EXPIRED] or [
        one.state for one in listed
    ] == [proto.Push.STATE_EXPIRED, proto.Push.STATE_WITHDRAWN]
    with pytest.raises(grpc.aio.AioRpcError) as over:
        await move(PushVerb.VERB_ACKNOWLEDGE, late.push_id)
    assert refused(over.value)[2]["state"] == "EXPIRED"


async def test_a_channel_that_shows_something_else_is_an_alarm(screen: Screen) -> None:
    """R003-072: sync status per channel, and a mismatch is told."""
    await screen.slot()
    await screen.slot("empty")
    content = await screen.content("夜间包")
    await screen.schedule(content.content_id)
    (never,) = (await screen.li.ListSyncStatus(proto.ListSyncStatusRequest(mismatch=True))).statuses
    assert (never.slot_id, never.reported_sha256, never.mismatch) == ("top", "", True)

    async def report(sha256: str) -> proto.SyncStatus:
        asked = proto.ReportSyncRequest(slot_id="top", sha256=sha256, request_id=rid())
        return (await screen.li.ReportSync(asked)).status

    assert (await report("0" * 64)).mismatch
    assert not (await report(never.wanted_sha256)).mismatch
    assert not (await screen.li.ListSyncStatus(proto.ListSyncStatusRequest(mismatch=True))).statuses
    assert len((await screen.li.ListSyncStatus(proto.ListSyncStatusRequest())).statuses) == 2
    await screen.move(screen.li, content.content_id, Verb.VERB_WITHDRAW)
    assert (await screen.li.ListSyncStatus(proto.ListSyncStatusRequest(mismatch=True))).statuses


async def test_the_value_of_slots_is_the_raw_counts_and_clicks_become_a_logged_suggestion(screen: Screen) -> None:
    """R003-059, R003-068, R003-069, R003-082: five kinds of events, each once; the report equals them.

    R002-087: the report of a slot, and what would be better in it.
    """
    await screen.slot()
    good, bad = await screen.content("甲"), await screen.content("乙")
    kinds = {Event.KIND_EXPOSURE: (600, 600), Event.KIND_CLICK: (60, 6), Event.KIND_LOGIN: (20, 2)}
    kinds |= {Event.KIND_HANDLING: (9, 1), Event.KIND_ACTIVATION: (6, 0), Event.KIND_VISIT: (3, 3)}
    events = [
        Event(
            event_id=f"{kind}-{content.name}-{number}",
            kind=kind,
            slot_id="top",
            content_id=content.content_id,
            event_time=stamp(NOW),
            worth_fen=3_000 if kind == Event.KIND_ACTIVATION else 0,
        )
        for kind, counts in kinds.items()
        for content, count in zip((good, bad), counts, strict=True)
        for number in range(count)
    ]
    told = await screen.li.RecordSlotEvents(proto.RecordSlotEventsRequest(events=events, request_id=rid()))
    again = await screen.li.RecordSlotEvents(proto.RecordSlotEventsRequest(events=events[:10], request_id=rid()))
    assert (told.recorded, told.duplicates, again.recorded, again.duplicates) == (len(events), 0, 0, 10)
    (whole,) = (await screen.li.ListSlotValues(proto.ListSlotValuesRequest())).values
    assert (whole.exposures, whole.clicks, whole.logins, whole.handlings) == (1_200, 66, 22, 10)
    assert (whole.activations, whole.visits, whole.income_fen) == (6, 6, 18_000)
    split = (await screen.li.ListSlotValues(proto.ListSlotValuesRequest(by_content=True))).values
    best = next(one for one in split if one.content_id == good.content_id)
    assert (best.click_rate, best.conversion_rate) == (0.1, 0.1)
    registry = Registry(screen.quiet.db, Store(), screen.quiet.clock)
    slots = Slots(screen.quiet.db, Store(), screen.quiet.clock, system_ids, registry)
    assert [await slots.suggest(), await slots.suggest()] == [1, 0]
    (found,) = (await screen.li.ListSuggestions(proto.ListSuggestionsRequest())).suggestions
    assert (found.content_id, found.better_content_id) == (bad.content_id, good.content_id)


async def test_what_a_customer_sees_again_and_again_is_a_rate(screen: Screen) -> None:
    """R003-005: the rate of repeated exposures is told: of the same content to the same customer within a week."""
    seen = [
        ("甲", 1, 0),
        ("甲", 1, 1),
        ("甲", 1, 12),
        ("乙", 1, 1),
        ("甲", 2, 2),
        ("甲", 0, 3),
        ("甲", 0, 4),
        ("甲", 2, 9),
    ]
    events = [
        Event(
            event_id=str(number),
            kind=Event.KIND_EXPOSURE,
            slot_id="top",
            content_id=content,
            customer_key=customer,
            event_time=stamp(NOW + timedelta(days=days)),
        )
        for number, (content, customer, days) in enumerate(seen)
    ]
    await screen.slot()
    await screen.li.RecordSlotEvents(proto.RecordSlotEventsRequest(events=events, request_id=rid()))
    (rate,) = (await screen.li.ListKpiValues(proto.ListKpiValuesRequest(name="repeated_exposure"))).values
    assert (rate.numerator, rate.denominator, rate.value) == (2, 6, pytest.approx(1 / 3))
