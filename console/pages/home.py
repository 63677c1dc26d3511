"""The dashboard: what the platform holds and does, described by figures of every service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from console import words
from console.page import Asked, Block, Code, Facts, Page, Section, table
from lifecircle.contact import v1 as contact
from lifecircle.ingest import v1 as ingest
from lifecircle.points import v1 as points
from lifecircle.portrait import v1 as portrait
from lifecircle.recommend import v1 as recommend


async def customers(asked: Asked) -> Sequence[Block]:
    """Customers by run, and what the latest run looked at."""
    runs = list((await asked.platform.portrait.ListRuns(portrait.ListRunsRequest(page_size=30))).runs)
    runs.sort(key=lambda run: words.day(run.to_date) or "")
    if not runs:
        return [Facts([("画像客户数", None)])]
    latest = runs[-1]
    return [
        Facts(
            [
                ("画像客户数", f"{latest.customers:,}"),
                ("数据截至", words.day(latest.to_date)),
                ("信令记录", f"{latest.signalling_rows:,}"),
                ("到访次数", f"{latest.visits:,}"),
            ]
        ),
        table(
            "各期画像客户数",
            "day 数据截至, customers 客户数 integer",
            [(words.day(run.to_date), run.customers) for run in runs],
            charts=[("line", "客户数", "day", ["customers"], "")],
        ),
    ]


async def feeds(asked: Asked) -> Sequence[Block]:
    """How fresh each feed is."""
    health = (await asked.platform.ingest.ListFeedHealth(ingest.ListFeedHealthRequest(page_size=1000))).feeds
    alarms = sum(not alarm.HasField("clear_time") for feed in health for alarm in feed.alarms)
    rows = [
        (feed.feed_id, words.day(feed.latest_period), feed.loaded_rows, feed.rejected_rows, feed.completeness)
        for feed in health
    ]
    return [
        Facts(
            [("数据源", len(health)), ("未清除告警", alarms), ("已隔离文件", sum(feed.quarantined for feed in health))]
        ),
        table(
            "数据及时性与完整性",
            (
                "feed 数据源 id, latest 最新一期, loaded 装载行数 integer, rejected 拒收行数 integer, "
                "complete 完整率 share"
            ),
            rows,
            links={"feed": "/deliveries?feed={}"},
        ),
    ]


async def campaigns(asked: Asked) -> Sequence[Block]:
    """Campaigns by state, and their effect against the control."""
    found = (await asked.platform.contact.ListCampaigns(contact.ListCampaignsRequest(page_size=1000))).campaigns
    states = Counter(words.said(each, "state") for each in found)
    effects = (await asked.platform.contact.ListEffects(contact.ListEffectsRequest(page_size=20))).effects
    return [
        Facts([("营销活动", len(found)), *states.items()]),
        table(
            "办理率与对照组",
            "name 活动, sent 接触 integer, opening 办理率 share, control 对照组办理率 share",
            [(each.name, each.opening.trials, each.opening.rate, each.control_opening.rate) for each in effects],
            charts=[("bar", "办理率与对照组", "name", ["opening", "control"], "")],
        ),
    ]


async def model(asked: Asked) -> Sequence[Block]:
    """The model that serves."""
    models = (await asked.platform.recommend.ListModels(recommend.ListModelsRequest(page_size=100))).models
    serving = [each for each in models if each.state == recommend.Model.STATE_CHAMPION]
    pairs: list[tuple[str, Any]] = [
        ("登记的模型", len(models)),
        ("现役模型", Code(serving[0].model_id) if serving else "尚无"),
    ]
    if serving:
        pairs += [("训练客户数", f"{serving[0].customers:,}"), ("训练时间", words.moment(serving[0].create_time))]
    return [Facts(pairs)]


async def earned(asked: Asked) -> Sequence[Block]:
    """Points by period."""
    found = list((await asked.platform.points.ListPeriods(points.ListPeriodsRequest(page_size=24))).periods)
    found.sort(key=lambda period: period.period_id)
    return [
        table(
            "各月积分",
            "period 月份, state 状态, entries 分录 integer, points 积分 decimal",
            [
                (each.period_id, words.said(each, "state"), each.entries, words.points(each.milli_points))
                for each in found
            ],
            charts=[("bar", "各月积分", "period", ["points"], "")],
            links={"period": "/points/leaderboard?period={}"},
        )
    ]


PAGES = (
    Page(
        "/",
        "经营概览",
        "首页",
        (
            Section("客户", "portrait", customers),
            Section("数据接入", "ingest", feeds),
            Section("营销活动", "contact", campaigns),
            Section("推荐模型", "recommend", model),
            Section("积分", "points", earned),
        ),
    ),
)
