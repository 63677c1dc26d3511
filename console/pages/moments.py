"""Event identification (事件识别): rules over events, what matched, and why something did not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from console import words
from console.page import Asked, Block, Branch, Code, Facts, Field, Page, Section, Unreadable, table
from lifecircle.portrait import v1

GROUP = "事件识别"


async def rules(asked: Asked) -> Sequence[Block]:
    """Every rule in words."""
    told = await asked.platform.portrait.ListMomentRules(
        v1.ListMomentRulesRequest(page_size=100, page_token=asked["page"])
    )
    columns = "id 规则 id, title 名称, version 版本 integer, state 状态, text 条件 id, time 发布时间"
    rows = [
        (each.rule_id, each.title, each.version, words.said(each, "state"), each.text, words.moment(each.publish_time))
        for each in told.rules
    ]
    return [table("", columns, rows, links={"id": "/moments?rule={}"}, next_page=told.next_page_token)]


async def moments(asked: Asked) -> Sequence[Block]:
    """What was recognised, the latest first."""
    request = v1.ListMomentsRequest(
        rule_id=asked["rule"], customer_key=asked.number("customer"), page_size=50, page_token=asked["page"]
    )
    told = await asked.platform.portrait.ListMoments(request)
    columns = "time 发生时间, title 时机, rule 规则 id, customer 客户编号 id, detected 识别时间"
    rows = [
        (
            words.moment(each.match_time),
            each.title,
            each.pattern_id,
            str(each.customer_key),
            words.moment(each.detect_time),
        )
        for each in told.moments
    ]
    links = {"customer": "/customers?customer={}"}
    return [table("", columns, rows, links=links, next_page=told.next_page_token)]


async def why(asked: Asked) -> Sequence[Block]:
    """Whether a rule held for a customer at a moment, part by part."""
    request = v1.ExplainMomentRequest(
        rule_id=asked["rule"], customer_key=asked.number("customer"), time=_time(asked["time"])
    )
    told = await asked.platform.portrait.ExplainMoment(request)
    return [
        Facts([("结论", "已触发" if told.matched else "未触发"), ("原因", Code(told.because))]),
        _tree(told.findings),
    ]


def _tree(findings: Sequence[v1.MomentFinding]) -> Branch:
    """The findings, which come parents first with their depth, as a tree."""

    def below(depth: int, rest: list[v1.MomentFinding]) -> list[Branch]:
        made = []
        while rest and rest[0].depth >= depth:
            one = rest.pop(0)
            note = "成立" if one.holds else "不成立"
            text = Code(f"{one.text} {one.because}".strip())
            made.append(Branch(text, note, below=below(one.depth + 1, rest)))
        return made

    return Branch("规则", below=below(0, list(findings)))


def _time(told: str) -> Timestamp:
    """A field of the kind datetime-local, in China's time. Raises Unreadable."""
    made = Timestamp()
    try:
        made.FromDatetime(datetime.fromisoformat(told).replace(tzinfo=words.CHINA))
    except ValueError:
        raise Unreadable("时间请写成 2026-03-01T08:00 的样子。") from None
    return made


PAGES = (
    Page("/moments/rules", "时机规则", GROUP, (Section("全部规则", "portrait", rules),)),
    Page(
        "/moments",
        "识别结果",
        GROUP,
        (Section("最近的时机", "portrait", moments),),
        form=(Field("rule", "规则编号", "不填则全部"), Field("customer", "客户编号", "不填则全部")),
    ),
    Page(
        "/moments/why",
        "触发解释",
        GROUP,
        (Section("逐条检查", "portrait", why, ("rule", "customer", "time")),),
        form=(Field("rule", "规则编号"), Field("customer", "客户编号"), Field("time", "时间", kind="datetime-local")),
    ),
)
