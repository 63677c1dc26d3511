"""Reports (报表): the platform's own, on a page, and as files from the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from console.page import Asked, Block, Code, Facts, Field, Link, Note, Page, Section, Table, table
from lifecircle.reports import fetch, names
from lifecircle.reports.values import facts

GROUP = "报表"


async def listed(asked: Asked) -> Sequence[Block]:
    """Every report there is."""
    columns = "id 编号 id, title 报表"
    return [table("", columns, await names(asked.platform), links={"id": "/reports/view?report={}"})]


async def report(asked: Asked) -> Sequence[Block]:
    """One report, as a page."""
    made = await fetch(asked.patient, asked["report"], asked["period"], bool(asked["compare"]))
    query = urlencode({name: asked[name] for name in ("report", "period", "compare") if asked[name]})
    files = [
        Link("下载网页文件", f"/reports/download.html?{query}"),
        Link("下载工作簿", f"/reports/download.xlsx?{query}"),
    ]
    told = [(name, Code(value) if value.isascii() else value) for name, value in facts(made)]
    head: list[Block] = [Note(made.purpose), Facts([("报表", made.title), *told]), *files]
    return [*head, *(Table(each, {}) for each in made.tables)]


PAGES = (
    Page("/reports", "报表", GROUP, (Section("全部报表", "portrait", listed),)),
    Page(
        "/reports/view",
        "查看报表",
        GROUP,
        (Section("报表内容", "portrait", report, ("report",)),),
        form=(
            Field("report", "报表编号"),
            Field("period", "周期", "例如 2026-09，不填则最近一期"),
            Field("compare", "与上期对比", "填“是”则对比"),
        ),
        listed=False,
    ),
)
