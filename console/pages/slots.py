"""Online operation (在线运营): slots of the channels, what fills them, what they brought, whether channels show it."""

from __future__ import annotations

from collections.abc import Sequence

from console import words
from console.page import Asked, Block, Page, Section, table
from lifecircle.contact import v1

GROUP = "在线运营"


async def slots(asked: Asked) -> Sequence[Block]:
    """Every slot."""
    told = await asked.platform.contact.ListSlots(v1.ListSlotsRequest(page_size=100, page_token=asked["page"]))
    columns = "name 运营位, channel 渠道, size 尺寸, choice 选择方式, state 状态, id 编号 id"
    rows = [
        (
            each.name,
            words.said(each, "channel"),
            f"{each.width_px} × {each.height_px}",
            words.said(each, "choice"),
            words.said(each, "state"),
            each.slot_id,
        )
        for each in told.slots
    ]
    return [table("", columns, rows, next_page=told.next_page_token)]


async def fill(asked: Asked) -> Sequence[Block]:
    """What each slot shows at this moment."""
    found = (await asked.platform.contact.ListSlots(v1.ListSlotsRequest(page_size=100))).slots
    valid = {each.slot_id: each.name for each in found if each.state == v1.Slot.STATE_VALID}
    showings = []
    if valid:
        request = v1.GetShowingsRequest(slot_ids=list(valid)[:50])
        showings = list((await asked.platform.contact.GetShowings(request)).showings)
    columns = "slot 运营位, content 内容 id, pitch 话术, reason 选中原因 id"
    rows = [(valid.get(each.slot_id, each.slot_id), each.content_id, each.pitch, each.reason) for each in showings]
    return [table("", columns, rows)]


async def schedules(asked: Asked) -> Sequence[Block]:
    """What is to be shown when."""
    told = (await asked.platform.contact.ListSchedules(v1.ListSchedulesRequest(page_size=100))).schedules
    columns = (
        "slot 运营位 id, content 内容 id, start 开始, end 结束, priority 优先级 integer, "
        "weight 权重 integer, state 状态"
    )
    rows = [
        (
            each.slot_id,
            each.content_id,
            words.moment(each.start_time),
            words.moment(each.end_time),
            each.priority,
            each.weight,
            "已取消" if each.cancelled else "有效",
        )
        for each in told
    ]
    return [table("", columns, rows)]


async def values(asked: Asked) -> Sequence[Block]:
    """What each slot brought."""
    told = (await asked.platform.contact.ListSlotValues(v1.ListSlotValuesRequest(page_size=200))).values
    columns = (
        "slot 运营位 id, shown 展示 integer, clicks 点击 integer, handled 办理 integer, "
        "click_rate 点击率 share, conversion 转化率 share, income 收入（元） decimal"
    )
    rows = [
        (
            each.slot_id,
            each.exposures,
            each.clicks,
            each.handlings,
            each.click_rate,
            each.conversion_rate,
            words.yuan(each.income_fen),
        )
        for each in told
    ]
    return [table("", columns, rows, charts=[("bar", "点击率与转化率", "slot", ["click_rate", "conversion"], "")])]


async def synced(asked: Asked) -> Sequence[Block]:
    """Whether the channels show what they should."""
    told = (await asked.platform.contact.ListSyncStatus(v1.ListSyncStatusRequest(page_size=200))).statuses
    columns = "slot 运营位 id, channel 渠道, state 状态, time 上报时间"
    rows = [
        (
            each.slot_id,
            words.said(each, "channel"),
            "不一致" if each.mismatch else "一致",
            words.moment(each.report_time),
        )
        for each in told
    ]
    return [table("", columns, rows)]


async def suggestions(asked: Asked) -> Sequence[Block]:
    """Which content does better in the same slot."""
    told = (await asked.platform.contact.ListSuggestions(v1.ListSuggestionsRequest(page_size=100))).suggestions
    columns = "slot 运营位 id, now 现在 id, better 更好 id, low 至少好 share, text 说明"
    rows = [(each.slot_id, each.content_id, each.better_content_id, each.difference_low, each.text) for each in told]
    return [table("", columns, rows)]


PAGES = (
    Page("/slots", "运营位", GROUP, (Section("此刻展示", "contact", fill), Section("全部运营位", "contact", slots))),
    Page("/slots/schedules", "排期", GROUP, (Section("全部排期", "contact", schedules),)),
    Page(
        "/slots/values",
        "展示效果",
        GROUP,
        (Section("各运营位", "contact", values), Section("改进建议", "contact", suggestions)),
    ),
    Page("/slots/sync", "渠道同步", GROUP, (Section("渠道与平台是否一致", "contact", synced),)),
)
