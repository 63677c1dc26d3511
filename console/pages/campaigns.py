"""Smart marketing (智慧营销), its campaigns: what runs, what it achieved, what was planned, and why a bid lost."""

from __future__ import annotations

from collections.abc import Sequence

from console import words
from console.page import Asked, Block, Facts, Field, Page, Section, table
from lifecircle.contact import v1

GROUP = "智慧营销"


async def campaigns(asked: Asked) -> Sequence[Block]:
    """Every campaign."""
    told = await asked.platform.contact.ListCampaigns(v1.ListCampaignsRequest(page_size=50, page_token=asked["page"]))
    columns = "name 活动, state 状态, start 开始, end 结束, offers 产品数 integer, id 编号 id"
    rows = [
        (
            each.name,
            words.said(each, "state"),
            words.day(each.start_date),
            words.day(each.end_date),
            len(each.offers),
            each.campaign_id,
        )
        for each in told.campaigns
    ]
    return [table("", columns, rows, links={"id": "/campaigns/view?campaign={}"}, next_page=told.next_page_token)]


async def effects(asked: Asked) -> Sequence[Block]:
    """What campaigns achieved against their control groups; of one where it is named."""
    request = v1.ListEffectsRequest(campaign_id=asked["campaign"], page_size=200)
    told = (await asked.platform.contact.ListEffects(request)).effects
    columns = (
        "name 活动, sent 接触 integer, response 响应率 share, opening 办理率 share, "
        "control 对照组办理率 share, lift 提升倍数 decimal, low 差值下限 share, high 差值上限 share, "
        "cost 成本（元） decimal, income 收入（元） decimal"
    )
    rows = [
        (
            each.name,
            each.opening.trials,
            each.response.rate,
            each.opening.rate,
            each.control_opening.rate,
            each.lift,
            each.difference_low,
            each.difference_high,
            words.yuan(each.cost_fen),
            words.yuan(each.income_fen),
        )
        for each in told
    ]
    note = "办理率减去对照组办理率才是营销带来的；差值的上下限都大于零，才可说确有效果。"
    charts = [("bar", "办理率与对照组", "name", ["opening", "control"], "")]
    return [table("", columns, rows, note=note, charts=charts)]


async def campaign(asked: Asked) -> Sequence[Block]:
    """One campaign: its brief, its offers, and who moved it when."""
    told = (await asked.platform.contact.GetCampaign(v1.GetCampaignRequest(campaign_id=asked["campaign"]))).campaign
    facts = Facts(
        [
            ("名称", told.name),
            ("状态", words.said(told, "state")),
            ("目标", told.brief.goal),
            ("目标客户", told.brief.audience),
            ("起止", f"{words.day(told.start_date)} 至 {words.day(told.end_date)}"),
            ("对照比例", f"{told.control_bps / 10000:.1%}"),
            ("预算（元）", f"{words.yuan(told.brief.budget_fen):,.2f}"),
        ]
    )
    offers = table(
        "产品",
        "offer 产品 id, content 话术, channels 渠道, worth 价值（元） decimal",
        [
            (
                each.offer_id,
                each.content,
                "、".join(words.word(v1.Channel.Name(one)[8:]) for one in each.channels),
                words.yuan(each.worth_fen),
            )
            for each in told.offers
        ],
    )
    moves = table(
        "经过",
        "time 时间, state 到, actor 办理人 id, note 说明",
        [(words.moment(each.move_time), words.said(each, "state"), each.actor, each.note) for each in told.moves],
    )
    return [facts, offers, moves]


async def plans(asked: Asked) -> Sequence[Block]:
    """The auctions for contacts, and how far from the best possible each may be."""
    told = await asked.platform.contact.ListPlans(v1.ListPlansRequest(page_size=50, page_token=asked["page"]))
    columns = (
        "date 日期, state 状态, candidates 候选 integer, contacts 接触 integer, "
        "control 对照 integer, value 预期价值（元） decimal, gap 与上界差距 share, id 编号 id"
    )
    rows = [
        (
            words.day(each.plan_date),
            words.said(each, "state"),
            each.candidates,
            each.contacts,
            each.control_contacts,
            each.objective_fen / 100,
            each.gap,
            each.plan_id,
        )
        for each in told.plans
    ]
    return [table("", columns, rows, links={"id": "/plans/why?plan={}"}, next_page=told.next_page_token)]


async def orders(asked: Asked) -> Sequence[Block]:
    """How old the open marketing orders are."""
    lines = (await asked.platform.contact.ListOrderAgeing(v1.ListOrderAgeingRequest(page_size=200))).lines
    columns = (
        "staff 员工 id, state 状态, orders 工单 integer, overdue 超期 integer, older 三天以上 integer, oldest 最早"
    )
    rows = [
        (
            each.staff_id,
            words.said(each, "state"),
            each.orders,
            each.overdue,
            each.older,
            words.moment(each.oldest_time),
        )
        for each in lines
    ]
    return [table("", columns, rows)]


async def why(asked: Asked) -> Sequence[Block]:
    """Which offers a customer won or lost in a plan, and to whom."""
    request = v1.ExplainPlanRequest(plan_id=asked["plan"], customer_key=asked.number("customer"))
    bids = (await asked.platform.contact.ExplainPlan(request)).bids
    columns = (
        "offer 产品 id, campaign 活动 id, channel 渠道, value 出价（元） decimal, won 中选, "
        "reason 原因 id, short 还差（元） decimal"
    )
    rows = [
        (
            each.offer_id,
            each.campaign_id,
            words.said(each, "channel"),
            each.value_fen / 100,
            "是" if each.won else "否",
            each.reason,
            each.short_fen / 100,
        )
        for each in bids
    ]
    return [table("", columns, rows)]


PAGES = (
    Page(
        "/campaigns",
        "营销活动",
        GROUP,
        (Section("活动效果", "contact", effects), Section("全部活动", "contact", campaigns)),
    ),
    Page(
        "/campaigns/view",
        "活动详情",
        GROUP,
        (Section("活动", "contact", campaign, ("campaign",)), Section("效果", "contact", effects, ("campaign",))),
        form=(Field("campaign", "活动编号"),),
        listed=False,
    ),
    Page("/plans", "营销计划", GROUP, (Section("接触计划", "contact", plans), Section("在途工单", "contact", orders))),
    Page(
        "/plans/why",
        "计划解释",
        GROUP,
        (Section("出价与结果", "contact", why, ("plan", "customer")),),
        form=(Field("plan", "计划编号"), Field("customer", "客户编号", "数字，不是手机号码")),
        listed=False,
    ),
)
