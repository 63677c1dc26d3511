"""Data (数据接入): which files came, what was refused of them, and what is wrong now."""

from __future__ import annotations

from collections.abc import Sequence

from console import words
from console.page import Asked, Block, Field, Page, Section, table
from lifecircle.ingest import v1

GROUP = "数据接入"


async def feeds(asked: Asked) -> Sequence[Block]:
    """How each feed does."""
    told = (await asked.platform.ingest.ListFeedHealth(v1.ListFeedHealthRequest(page_size=1000))).feeds
    columns = (
        "feed 数据源 id, latest 最新一期, load 装载时间, due 下次应到, deliveries 文件 integer, "
        "quarantined 隔离 integer, complete 完整率 share, stable 稳定性 share"
    )
    rows = [
        (
            each.feed_id,
            words.day(each.latest_period),
            words.moment(each.last_load_time),
            words.moment(each.next_due_time),
            each.deliveries,
            each.quarantined,
            each.completeness,
            each.stability,
        )
        for each in told
    ]
    return [table("", columns, rows, links={"feed": "/deliveries?feed={}"})]


async def deliveries(asked: Asked) -> Sequence[Block]:
    """Files, the latest first."""
    request = v1.ListDeliveriesRequest(feed_id=asked["feed"], page_size=50, page_token=asked["page"])
    told = await asked.platform.ingest.ListDeliveries(request)
    columns = (
        "feed 数据源 id, file 文件 id, period 账期, state 状态, source 来源行数 integer, "
        "loaded 装载 integer, rejected 拒收 integer, time 接收时间, id 拒收明细 id"
    )
    rows = [
        (
            each.feed_id,
            each.file_name,
            words.day(each.period),
            words.said(each, "state"),
            each.source_rows,
            each.loaded_rows,
            each.rejected_rows,
            words.moment(each.receive_time),
            each.delivery_id,
        )
        for each in told.deliveries
    ]
    links = {"id": "/deliveries/rejects?delivery={}"}
    return [table("", columns, rows, links=links, next_page=told.next_page_token)]


async def rejects(asked: Asked) -> Sequence[Block]:
    """The lines of a file that were refused, and why."""
    request = v1.ListRejectsRequest(delivery_id=asked["delivery"], page_size=100, page_token=asked["page"])
    told = await asked.platform.ingest.ListRejects(request)
    columns = "line 行 integer, column 字段 id, reason 原因 id, message 说明 id"
    rows = [(each.line, each.column, each.reason, each.message) for each in told.rejects]
    return [table("", columns, rows, next_page=told.next_page_token)]


async def alarms(asked: Asked) -> Sequence[Block]:
    """What is or was wrong."""
    told = await asked.platform.ingest.ListAlarms(v1.ListAlarmsRequest(page_size=50, page_token=asked["page"]))
    columns = "raised 发生, feed 数据源 id, kind 告警, period 账期, message 说明 id, cleared 清除"
    rows = [
        (
            words.moment(each.raise_time),
            each.feed_id,
            words.said(each, "kind"),
            words.day(each.period),
            each.message,
            words.moment(each.clear_time) or "未清除",
        )
        for each in told.alarms
    ]
    return [table("", columns, rows, next_page=told.next_page_token)]


PAGES = (
    Page("/feeds", "数据源", GROUP, (Section("运行情况", "ingest", feeds),)),
    Page(
        "/deliveries",
        "文件交付",
        GROUP,
        (Section("文件", "ingest", deliveries),),
        form=(Field("feed", "数据源", "不填则全部"),),
    ),
    Page(
        "/deliveries/rejects",
        "拒收明细",
        GROUP,
        (Section("被拒收的行", "ingest", rejects, ("delivery",)),),
        form=(Field("delivery", "文件编号"),),
        listed=False,
    ),
    Page("/alarms", "数据告警", GROUP, (Section("全部告警", "ingest", alarms),)),
)
