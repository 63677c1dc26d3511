"""Customer operation (客户运营): who a customer is, what he bears, and into which groups customers fall."""

from __future__ import annotations

from collections.abc import Sequence

from console import words
from console.page import Asked, Block, Code, Facts, Field, Note, Page, Section, Table, table
from lifecircle.portrait import v1
from lifecircle.recommend import v1 as recommend

GROUP = "客户运营"
_CUSTOMER = Field("customer", "客户编号", "数字，不是手机号码", "text")


async def portrait(asked: Asked) -> Sequence[Block]:
    """A customer in all directions."""
    key = asked.number("customer")
    told = (await asked.platform.portrait.GetPortrait(v1.GetPortraitRequest(customer_key=key))).portrait
    cycle, worth, churn = told.life_cycle, told.worth, told.churn
    facts = Facts(
        [
            ("所属网格", Code(told.org_id)),
            ("价值等级", worth.tier),
            ("月均消费（元）", f"{words.yuan(worth.arpu_fen):,.2f}" if told.HasField("worth") else None),
            ("离网风险", f"{churn.probability:.1%}" if told.HasField("churn") else None),
            ("生命周期", f"{cycle.before} → {cycle.stage}" if cycle.changed else cycle.stage),
            ("兴趣", "、".join(each.name for each in told.interests)),
            ("敏感信息", "已隐去" if told.masked else "您有权查看"),
        ]
    )
    names = await _tag_names(asked)
    return [facts, _tags(told, names), _anchors(told), _contacts(told)]


async def _tag_names(asked: Asked) -> dict[str, str]:
    tags = await asked.platform.portrait.ListTags(v1.ListTagsRequest(page_size=1000))
    return {tag.code: tag.name for tag in tags.tags}


def _tags(told: v1.Portrait, names: dict[str, str]) -> Table:
    return table(
        "标签与依据",
        "code 编码 id, name 标签, value 取值, score 置信度 share, evidence 依据 id, until 有效至",
        [
            (tag.code, names.get(tag.code, "—"), tag.value, tag.score, tag.evidence, words.day(tag.expire_date))
            for tag in told.tags
        ],
    )


def _anchors(told: v1.Portrait) -> Table:
    return table(
        "居住、工作与就学",
        "role 角色, place 地点, town 镇区, days 天数 integer, confidence 把握 share",
        [
            (words.said(each, "role"), each.place_name or "（已隐去）", each.town, each.days, each.confidence)
            for each in told.anchors
        ],
    )


def _contacts(told: v1.Portrait) -> Table:
    return table(
        "最近接触",
        "time 时间, channel 渠道, result 结果, campaign 活动 id",
        [
            (words.moment(each.time), words.word(each.channel), words.word(each.result), each.campaign_id)
            for each in told.contacts
        ],
    )


async def latent(asked: Asked) -> Sequence[Block]:
    """What models say of the customer."""
    key = asked.number("customer")
    told = await asked.platform.portrait.GetLatentValues(v1.GetLatentValuesRequest(customer_key=key))
    rows = [(words.said(each, "target"), words.word(each.value), each.probability) for each in told.values]
    return [table("", "target 推断, value 结果, chance 概率 share", rows)]


async def offered(asked: Asked) -> Sequence[Block]:
    """What the matrix holds for the customer."""
    request = recommend.ListCustomerProductsRequest(customer_key=asked.number("customer"), page_size=10)
    cells = (await asked.platform.recommend.ListCustomerProducts(request)).cells
    rows = [(cell.rank, cell.product_id, cell.score) for cell in cells]
    return [table("", "rank 名次 integer, product 业务 id, score 匹配分 share", rows)]


async def tags(asked: Asked) -> Sequence[Block]:
    """The catalogue of tags."""
    told = await asked.platform.portrait.ListTags(v1.ListTagsRequest(page_size=100, page_token=asked["page"]))
    rows = [
        (tag.code, tag.name, " / ".join(filter(None, (tag.level2, tag.level3))), tag.customers, tag.version, tag.owner)
        for tag in told.tags
    ]
    columns = "code 编码 id, name 名称, level 分类, customers 客户数 integer, version 版本 integer, owner 负责 id"
    return [table("", columns, rows, next_page=told.next_page_token)]


async def segments(asked: Asked) -> Sequence[Block]:
    """The clusters of a segmentation: how large, how firm, and by what each differs from its brand."""
    wanted = asked["segmentation"]
    if not wanted:
        found = (
            await asked.platform.portrait.ListSegmentations(v1.ListSegmentationsRequest(page_size=1))
        ).segmentations
        if not found:
            return [Note("还没有分群。")]
        wanted = found[0].segmentation_id
    told = (
        await asked.platform.portrait.GetSegmentation(v1.GetSegmentationRequest(segmentation_id=wanted))
    ).segmentation
    brands = table(
        "品牌",
        (
            "brand 品牌, customers 客户数 integer, segments 群数 integer, silhouette 轮廓系数 decimal, "
            "stability 稳定性 decimal"
        ),
        [(each.brand, each.customers, each.segments, each.silhouette, each.stability) for each in told.brands],
    )
    sizes = table(
        "各群规模",
        ("name 客户群, brand 品牌, customers 客户数 integer, share 占品牌 share, kept 留存 share, segment 编号 id"),
        [(each.name, each.brand, each.customers, each.share, each.kept, each.segment_id) for each in told.segments],
        charts=[("bar", "各群客户数", "name", ["customers"], "")],
    )
    profile = table(
        "特征画像（偏离品牌均值的标准差数）",
        ("name 客户群, feature 特征 id, mean 群均值 decimal, brand 品牌均值 decimal, deviation 偏离 decimal"),
        [
            (f"{each.brand} {each.name}", one.feature, one.mean, one.brand_mean, one.deviation)
            for each in told.segments
            for one in each.profile
        ],
        charts=[("heat", "各群的特征", "feature", ["deviation"], "name")],
    )
    return [Facts([("分群编号", Code(wanted)), ("数据截至", words.day(told.to_date))]), brands, sizes, profile]


async def warnings(asked: Asked) -> Sequence[Block]:
    """Who is about to leave, and what churn and value make together."""
    told = await asked.platform.portrait.ListWarnings(v1.ListWarningsRequest(page_size=50, page_token=asked["page"]))
    columns = "customer 客户编号 id, kind 预警, score 把握 share, lead 提前天数 integer, evidence 依据 id"
    rows = [
        (str(each.customer_key), words.said(each, "kind"), each.score, each.lead_days, each.evidence)
        for each in told.warnings
    ]
    return [table("", columns, rows, links={"customer": "/customers?customer={}"}, next_page=told.next_page_token)]


async def churn_value(asked: Asked) -> Sequence[Block]:
    """Customers by risk and value; a cell of few is withheld by the platform."""
    cells = (await asked.platform.portrait.GetChurnValueMatrix(v1.GetChurnValueMatrixRequest())).cells
    columns = "churn 离网风险, value 价值, customers 客户数 integer, mean 平均概率 share, action 建议"
    rows = [
        (
            each.churn,
            each.value,
            None if each.hidden else each.customers,
            None if each.hidden else each.mean_churn,
            each.action,
        )
        for each in cells
    ]
    return [table("", columns, rows, charts=[("heat", "风险与价值", "value", ["customers"], "churn")])]


async def audiences(asked: Asked) -> Sequence[Block]:
    """The saved audiences."""
    told = await asked.platform.portrait.ListAudiences(v1.ListAudiencesRequest(page_size=50, page_token=asked["page"]))
    columns = "id 编号 id, title 名称, text 条件 id, owner 建立人 id, time 时间"
    rows = [
        (each.audience_id, each.title, each.text, each.owner, words.moment(each.create_time)) for each in told.audiences
    ]
    return [table("", columns, rows, next_page=told.next_page_token)]


PAGES = (
    Page(
        "/customers",
        "客户画像",
        GROUP,
        (
            Section("全景画像", "portrait", portrait, ("customer",)),
            Section("模型推断", "portrait", latent, ("customer",)),
            Section("适合的业务", "recommend", offered, ("customer",)),
        ),
        form=(_CUSTOMER,),
    ),
    Page("/tags", "标签目录", GROUP, (Section("全部标签", "portrait", tags),)),
    Page(
        "/segments",
        "客户分群",
        GROUP,
        (Section("聚类结果", "portrait", segments),),
        form=(Field("segmentation", "分群编号", "不填则看最近一次"),),
    ),
    Page(
        "/warnings",
        "客户预警",
        GROUP,
        (Section("风险与价值", "portrait", churn_value), Section("预警客户", "portrait", warnings)),
    ),
    Page("/audiences", "客群", GROUP, (Section("已保存的客群", "portrait", audiences),)),
)
