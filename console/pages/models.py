"""Smart marketing (智慧营销), its models: what is recommended and why, what goes with what, trees and lift."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from console import words
from console.page import Asked, Block, Branch, Code, Document, Facts, Field, Note, Page, Section, Table, table
from lifecircle.recommend import v1

GROUP = "智慧营销"
_KINDS = {
    "1": v1.Association.KIND_PRODUCT_PRODUCT,
    "2": v1.Association.KIND_BEARER_PRODUCT,
    "3": v1.Association.KIND_PERSON_PRODUCT,
    "4": v1.Association.KIND_DATA_VOICE,
}


async def recommendations(asked: Asked) -> Sequence[Block]:
    """What to offer a customer, and why."""
    request = v1.RecommendRequest(customer_key=asked.number("customer"), most=10)
    told = await asked.platform.recommend.Recommend(request)
    columns = "rank 名次 integer, name 业务, score 匹配分 share, reasons 理由"
    rows = [(each.rank, each.name, each.score, "；".join(each.reasons)) for each in told.recommendations]
    return [Facts([("模型", Code(told.model_id))]), table("", columns, rows)]


async def final_list(asked: Asked) -> Sequence[Block]:
    """The list as mixed from experts, model, circle and influence."""
    request = v1.GetFinalListRequest(customer_key=asked.number("customer"), most=10)
    entries = (await asked.platform.recommend.GetFinalList(request)).entries
    columns = (
        "rank 名次 integer, name 业务, score 合计 decimal, expert 专家 decimal, model 模型 decimal, "
        "circle 生活圈 decimal, influence 影响力 decimal"
    )
    rows = [
        (each.rank, each.name, each.score, each.expert, each.model, each.circle, each.influence) for each in entries
    ]
    return [table("", columns, rows)]


async def associations(asked: Asked) -> Sequence[Block]:
    """What goes with what, by lift."""
    request = v1.ListAssociationsRequest(
        product_id=asked["product"],
        kind=_KINDS.get(asked["kind"], v1.Association.KIND_UNSPECIFIED),
        significant_only=True,
        page_size=200,
        page_token=asked["page"],
    )
    told = await asked.platform.recommend.ListAssociations(request)
    columns = (
        "left 由, right 到, kind 类别, both 共有客户 integer, support 支持度 share, "
        "confidence 置信度 share, lift 提升度 decimal"
    )
    rows = [
        (
            each.left_name or each.left_product_id,
            each.right_name or each.right_product_id,
            words.said(each, "kind"),
            each.both,
            each.support,
            each.confidence,
            each.lift,
        )
        for each in told.associations
    ]
    note = "提升度大于1：有前者的客户更常有后者。只列出统计上显著的。"
    charts = [("heat", "提升度", "right", ["lift"], "left")]
    return [table("", columns, rows, note=note, charts=charts, next_page=told.next_page_token)]


async def models(asked: Asked) -> Sequence[Block]:
    """The registry of recommendation models."""
    told = await asked.platform.recommend.ListModels(v1.ListModelsRequest(page_size=20, page_token=asked["page"]))
    columns = (
        "id 模型 id, state 状态, algorithm 算法, customers 训练客户 integer, products 业务数 integer, time 训练时间"
    )
    rows = [
        (
            each.model_id,
            words.said(each, "state"),
            words.ALGORITHMS.get(each.algorithm, each.algorithm),
            each.customers,
            len(each.product_ids),
            words.moment(each.create_time),
        )
        for each in told.models
    ]
    return [table("", columns, rows, links={"id": "/models/card?model={}"}, next_page=told.next_page_token)]


async def acceptances(asked: Asked) -> Sequence[Block]:
    """The acceptance models that serve, one of a product."""
    told = await asked.platform.recommend.ListAcceptanceModels(v1.ListAcceptanceModelsRequest(page_size=100))
    columns = "id 模型 id, product 业务 id, algorithm 算法, contacts 接触 integer, accepted 接受 integer, serves 使用中"
    rows = [
        (
            each.acceptance_model_id,
            each.product_id,
            words.ALGORITHMS.get(each.algorithm, each.algorithm),
            each.contacts,
            each.accepted,
            "是" if each.serves else "否",
        )
        for each in told.models
    ]
    return [table("", columns, rows, links={"id": "/models/acceptance?model={}"})]


async def card(asked: Asked) -> Sequence[Block]:
    """A model's figures and its card."""
    told = (await asked.platform.recommend.GetModel(v1.GetModelRequest(model_id=asked["model"]))).model
    return [
        Facts([("状态", words.said(told, "state")), ("特征数", len(told.features)), ("字节", f"{told.bytes:,}")]),
        _metrics(told.metrics),
        Note("以下是模型说明书原文，写明用途、数据、效果和不可使用的场合。"),
        Document(told.card),
    ]


async def acceptance(asked: Asked) -> Sequence[Block]:
    """What an acceptance model learned: its tree, its drivers, its lift by decile."""
    request = v1.GetAcceptanceModelRequest(acceptance_model_id=asked["model"])
    told = (await asked.platform.recommend.GetAcceptanceModel(request)).model
    report = json.loads(told.report or "{}")
    facts = Facts(
        [
            ("业务", Code(told.product_id)),
            ("算法", words.ALGORITHMS.get(told.algorithm, told.algorithm)),
            ("接触", f"{told.contacts:,}"),
            ("接受", f"{told.accepted:,}"),
            ("训练时间", words.moment(told.create_time)),
        ]
    )
    blocks: list[Block] = [facts, _deciles(report), _drivers(report)]
    tree = report.get("tree")
    if tree:
        blocks.append(Note(f"说明树：用一棵浅树转述模型，与模型的一致程度为 {tree['fidelity']:.0%}（决定系数）。"))
        blocks.append(_branch(tree["root"], "全部客户"))
    else:
        blocks.append(Note("这个模型没有说明树。"))
    return [*blocks, _metrics(told.metrics)]


def _deciles(report: Mapping[str, Any]) -> Table:
    columns = (
        "number 十分位（1最高）, customers 客户数 integer, rate 接受率 share, lift 提升度 decimal, score 平均预测 share"
    )
    rows = [
        (f"第{each['number']}组", each["customers"], each["rate"], each["lift"], each["mean_score"])
        for each in report.get("deciles", ())
    ]
    charts = [("bar", "各十分位提升度", "number", ["lift"], "")]
    return table(
        "提升图",
        columns,
        rows,
        charts=charts,
        note="留出客户按预测从高到低分为十组；提升度为该组接受率除以平均接受率。",
    )


def _drivers(report: Mapping[str, Any]) -> Table:
    columns = "name 变量 id, effect 作用, weight 权重 decimal, iv 信息量 decimal"
    rows = [
        (each["name"], "提高接受" if each["raises"] else "降低接受", each["weight"], each["iv"])
        for each in report.get("drivers", ())
    ]
    return table("变量重要性", columns, rows, charts=[("bar", "每个标准差的权重", "name", ["weight"], "")])


def _branch(node: Mapping[str, Any], text: str) -> Branch:
    """A node of the surrogate tree: where it splits, who goes where, and how many of them would accept."""
    note = f"{node['customers']:,} 人，预测接受 {node['rate']:.1%}"
    if "feature" not in node:
        return Branch(text, note, node["rate"])
    name, at = node["feature"], node["threshold"]
    below = (_branch(node["low"], Code(f"{name} ≤ {at:.4g}")), _branch(node["high"], Code(f"{name} > {at:.4g}")))
    return Branch(text, note, node["rate"], below)


def _metrics(metrics: Mapping[str, float]) -> Table:
    rows = [(words.FIGURES.get(name, "其他指标"), name, metrics[name]) for name in sorted(metrics)]
    return table("效果指标", "name 指标, code 代码 id, value 数值 decimal", rows)


async def matrix(asked: Asked) -> Sequence[Block]:
    """Which products suit how many."""
    rows = (await asked.platform.recommend.ListPriorities(v1.ListPrioritiesRequest(page_size=200))).priorities
    columns = (
        "rank 名次 integer, name 业务, customers 首选客户 integer, chance 接受概率 share, "
        "worth 单户价值（元） decimal, gain 预期收益（元） decimal"
    )
    lines = [
        (
            each.rank,
            each.name,
            each.customers,
            each.chance,
            words.yuan(each.worth_fen),
            words.yuan(each.expected_gain_fen),
        )
        for each in rows
    ]
    return [table("", columns, lines, charts=[("bar", "预期收益", "name", ["gain"], "")])]


PAGES = (
    Page(
        "/recommendations",
        "产品推荐",
        GROUP,
        (
            Section("推荐与理由", "recommend", recommendations, ("customer",)),
            Section("综合名单", "recommend", final_list, ("customer",)),
        ),
        form=(Field("customer", "客户编号", "数字，不是手机号码"),),
    ),
    Page("/priorities", "业务优先级", GROUP, (Section("按预期收益", "recommend", matrix),)),
    Page(
        "/associations",
        "关联分析",
        GROUP,
        (Section("关联规则", "recommend", associations),),
        form=(Field("product", "业务编码", "不填则全部"), Field("kind", "类别", "1业务 2承载 3客户信息 4语音")),
    ),
    Page(
        "/models",
        "模型",
        GROUP,
        (Section("推荐模型", "recommend", models), Section("接受模型", "recommend", acceptances)),
    ),
    Page(
        "/models/card",
        "模型说明",
        GROUP,
        (Section("登记信息", "recommend", card, ("model",)),),
        form=(Field("model", "模型编号"),),
        listed=False,
    ),
    Page(
        "/models/acceptance",
        "接受模型",
        GROUP,
        (Section("学到了什么", "recommend", acceptance, ("model",)),),
        form=(Field("model", "模型编号"),),
        listed=False,
    ),
)
