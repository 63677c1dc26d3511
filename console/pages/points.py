"""Points (积分): who earned what, and why each entry stands."""

from __future__ import annotations

from collections.abc import Sequence

from console import words
from console.page import Asked, Block, Branch, Code, Facts, Field, Page, Section, table
from lifecircle.points import v1

GROUP = "积分"
_PERIOD = Field("period", "月份", "例如 2026-09")


async def periods(asked: Asked) -> Sequence[Block]:
    """Every period."""
    told = await asked.platform.points.ListPeriods(v1.ListPeriodsRequest(page_size=36, page_token=asked["page"]))
    columns = "period 月份, state 状态, entries 分录 integer, points 积分 decimal, late 迟到分录 integer"
    rows = [
        (each.period_id, words.said(each, "state"), each.entries, words.points(each.milli_points), each.late_entries)
        for each in told.periods
    ]
    links = {"period": "/points/leaderboard?period={}"}
    return [table("", columns, rows, links=links, next_page=told.next_page_token)]


async def leaderboard(asked: Asked) -> Sequence[Block]:
    """Who earned most in a period."""
    request = v1.ListLeaderboardRequest(period_id=asked["period"], page_size=50, page_token=asked["page"])
    told = await asked.platform.points.ListLeaderboard(request)
    columns = "rank 名次 integer, staff 员工 id, org 组织 id, points 积分 decimal, entries 分录 integer"
    rows = [
        (each.rank, each.staff_id, each.org_id, words.points(each.milli_points), each.entries) for each in told.lines
    ]
    links = {"staff": f"/points/statement?period={asked['period']}&staff={{}}"}
    return [table("", columns, rows, links=links, next_page=told.next_page_token)]


async def statement(asked: Asked) -> Sequence[Block]:
    """An employee's period, rule by rule."""
    request = v1.GetStatementRequest(staff_id=asked["staff"], period_id=asked["period"])
    told = (await asked.platform.points.GetStatement(request)).statement
    columns = "rule 规则 id, component 组成 id, kind 种类, entries 分录 integer, points 积分 decimal"
    rows = [
        (each.rule_id, each.component, words.word(each.kind), each.entries, words.points(each.milli_points))
        for each in told.lines
    ]
    facts = Facts([("员工", Code(told.staff_id)), ("合计积分", f"{words.points(told.milli_points):,.3f}")])
    return [facts, table("按规则", columns, rows, charts=[("bar", "各规则积分", "rule", ["points"], "")])]


async def entries(asked: Asked) -> Sequence[Block]:
    """The entries of an employee's period; each can be explained."""
    request = v1.ListEntriesRequest(
        staff_id=asked["staff"], period_id=asked["period"], page_size=50, page_token=asked["page"]
    )
    told = await asked.platform.points.ListEntries(request)
    columns = "time 发生时间, rule 规则 id, kind 种类, points 积分 decimal, entry 分录 id"
    rows = [
        (
            words.moment(each.occur_time),
            each.rule_id,
            words.word(each.kind),
            words.points(each.milli_points),
            each.entry_id,
        )
        for each in told.entries
    ]
    return [table("", columns, rows, links={"entry": "/points/entry?entry={}"}, next_page=told.next_page_token)]


async def explained(asked: Asked) -> Sequence[Block]:
    """Why an entry is what it is: event, rule, assignment, and every step of the reckoning."""
    request = v1.ExplainEntryRequest(entry_id=asked["entry"])
    told = (await asked.platform.points.ExplainEntry(request)).explanation
    facts = Facts(
        [
            ("员工", Code(told.entry.staff_id)),
            ("积分", f"{words.points(told.entry.milli_points):,.3f}"),
            ("事件", Code(told.event_type)),
            ("业务", Code(told.product_id)),
            ("金额（元）", f"{words.yuan(told.amount_fen):,.2f}"),
            ("规则集", Code(f"{told.rule_set_name} v{told.rule_set_version}")),
            ("归属", Code(told.assignment_text)),
            ("规则", Code(told.rule_text)),
        ]
    )
    steps = Branch(
        "计算过程", below=[Branch(Code(each.text), f"{words.points(each.milli_points):,.3f} 分") for each in told.steps]
    )
    return [facts, steps]


PAGES = (
    Page("/points/periods", "积分账期", GROUP, (Section("全部账期", "points", periods),)),
    Page(
        "/points/leaderboard",
        "积分排行",
        GROUP,
        (Section("排行榜", "points", leaderboard, ("period",)),),
        form=(_PERIOD,),
    ),
    Page(
        "/points/statement",
        "员工对账单",
        GROUP,
        (
            Section("对账单", "points", statement, ("staff", "period")),
            Section("分录", "points", entries, ("staff", "period")),
        ),
        form=(Field("staff", "员工编号"), _PERIOD),
    ),
    Page(
        "/points/entry",
        "积分解释",
        GROUP,
        (Section("这一笔怎么来的", "points", explained, ("entry",)),),
        form=(Field("entry", "分录编号"),),
    ),
)
