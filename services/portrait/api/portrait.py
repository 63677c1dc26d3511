"""The whole portrait (360°) as messages, serialised once in parts that merge by standing one after the other."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.portrait import v1
from services.kit.interceptors import Caller
from services.portrait.api import translate
from services.portrait.domain.interest import Interest
from services.portrait.domain.latent.foresight import Foresight
from services.portrait.domain.pack import Encoded
from services.portrait.domain.run import AnchorValue, Portrait
from services.portrait.domain.tag import Catalogue

_CATEGORIES = ("", "基础", "套餐", "服务偏好", "业务", "消费价值", "营销活动偏好", "终端", "渠道偏好", "互联网内容偏好")
_PREFERENCES = frozenset(name for name in _CATEGORIES if name.endswith("偏好"))
_WARNING = "预警"
_VALUE_TIER = "VA01"
_CHURN = "churn_probability"
_RESPONDED = "responded"
_HIDDEN = "＊"

Encoder = Callable[[Portrait, Sequence[Interest]], Encoded]


def encoder(catalogue: Catalogue) -> Encoder:
    """How portraits of a catalogue are serialised; the same portrait gives the same bytes.

    The only field of GetPortraitResponse has the number of BatchGetPortraitsResponse.portraits, so that whole answers
    one after the other are a BatchGetPortraitsResponse.
    """
    sensitive = {tag.code for tag in catalogue.tags if tag.sensitivity == "sensitive"}
    warnings = {tag.code for tag in catalogue.tags if _WARNING in tag.family or _WARNING in tag.name}
    preferences = {tag.code for tag in catalogue.tags if tag.category in _PREFERENCES} - sensitive
    basic = _CATEGORIES.index("基础")
    category = {
        tag.code: _CATEGORIES.index(tag.category) if tag.category in _CATEGORIES and tag.category else basic
        for tag in catalogue.tags
    }

    def encode(portrait: Portrait, interests: Sequence[Interest]) -> Encoded:
        body_tags, clear_tags, masked_tags = [], [], []
        places = {each.place_name for each in portrait.anchors if each.place_name}
        for each in portrait.tags:
            told = translate.tag_value(each)
            told.category = v1.TagCategory.ValueType(category.get(each.code, 0))
            if each.code in sensitive:
                clear_tags.append(told)
            elif any(place == told.landmark or place in told.evidence for place in places):
                clear_tags.append(told)
                masked_tags.append(_without(told, places))
            else:
                body_tags.append(told)
        features = portrait.features
        held = {each.code: each.value for each in portrait.tags}
        warned = sorted(warnings & held.keys())
        body = v1.Portrait(
            customer_key=portrait.customer_key,
            org_id=portrait.org_id,
            run_id=portrait.run_id,
            tags=body_tags,
            features=features,
        )
        if "arpu_3m_avg" in features or _VALUE_TIER in held:
            body.worth.tier = held.get(_VALUE_TIER, "")
            body.worth.arpu_fen = round(features.get("arpu_3m_avg", 0.0) * 100)
            body.worth.trend = features.get("arpu_slope_6m", 0.0) * 100
        told_so = (f"{each.code}={each.value}" if each.value else each.code for each in portrait.tags
                   if each.code in preferences)  # fmt: skip
        body.marketing.preferences.extend(sorted(told_so))
        body.marketing.contribution_fen = max(0, body.worth.arpu_fen)
        if _CHURN in features or warned:
            body.churn.probability = features.get(_CHURN, 0.0)
            body.churn.warnings.extend(warned)
        clear = v1.Portrait(
            anchors=[translate.anchor(each) for each in portrait.anchors],
            tags=clear_tags,
            interests=[v1.Interest(topic=each.topic, name=each.name, weight=each.weight) for each in interests],
        )
        masked = v1.Portrait(anchors=[_masked(each) for each in portrait.anchors], tags=masked_tags, masked=True)
        return Encoded(_whole(body), _whole(clear), _whole(masked))

    return encode


def encode_contacts(contacts: Iterable[tuple[str, datetime, str, str, str, int]]) -> bytes:
    """What is put behind a portrait for (contact_id, time, result, channel, campaign_id, cost_fen), latest first."""
    told = v1.Portrait()
    answers: dict[str, list[bool]] = {}
    for key, time, result, channel, campaign, cost_fen in contacts:
        told.contacts.add(contact_id=key, time=_time(time), result=result, channel=channel, campaign_id=campaign)
        told.marketing.cost_fen += cost_fen
        if channel:
            answers.setdefault(channel, []).append(result == _RESPONDED)
    if answers:
        # Laplace's rule: one answer of one contact is no certainty, and none of one no despair.
        share = {channel: (sum(each) + 1) / (len(each) + 2) for channel, each in answers.items()}
        told.marketing.channel = min(share, key=lambda channel: (-share[channel], channel))
        told.marketing.channel_answer = share[told.marketing.channel]
    return _whole(told)


def encode_offers(matrix_id: str, offers: Iterable[tuple[str, float, int]]) -> bytes:
    """What is put behind a portrait for (product_id, score, rank), the best first."""
    made = [
        v1.CurrentOffer(product_id=product_id, score=score, rank=rank, matrix_id=matrix_id)
        for product_id, score, rank in offers
    ]
    told = v1.Portrait(offers=made)
    if made:
        told.marketing.purchase_tendency = max(each.score for each in made)
    return _whole(told)


def encode_foresight(told: Foresight) -> bytes:
    """What is put behind a portrait of what is foreseen: danger and warnings (merged with the run's), life cycle."""
    made = v1.Portrait()
    if told.churn is not None:
        made.churn.probability = told.churn
    for each in told.warnings:
        early = made.churn.early.add(kind=each.kind, score=each.score, lead_days=each.lead_days)
        early.since_date.CopyFrom(translate.to_date(each.since))
    if told.stage or told.expected:
        made.life_cycle.stage, made.life_cycle.before = told.stage, told.before
        made.life_cycle.changed = told.before not in ("", told.stage)
        made.life_cycle.expected, made.life_cycle.probability = told.expected, told.sureness
    return _whole(made)


def merged(answer: bytes) -> bytes:
    """One GetPortraitResponse of several that stand one after the other, for where each must be one field."""
    return v1.GetPortraitResponse.FromString(answer).SerializeToString(deterministic=True)


def _masked(known: AnchorValue) -> v1.Anchor:
    """An anchor without its place: class and town."""
    told = translate.anchor(known)
    told.place_id = told.place_name = ""
    return told


def _without(told: v1.TagValue, places: Iterable[str]) -> v1.TagValue:
    """A tag that does not tell these places."""
    masked = v1.TagValue()
    masked.CopyFrom(told)
    for place in places:
        masked.landmark = "" if masked.landmark == place else masked.landmark
        masked.evidence = masked.evidence.replace(place, _HIDDEN)
    return masked


def _whole(portrait: v1.Portrait) -> bytes:
    return v1.GetPortraitResponse(portrait=portrait).SerializeToString(deterministic=True)


def _time(known: datetime) -> Timestamp:
    told = Timestamp()
    told.FromDatetime(known)
    return told


def visible(answer: bytes, who: Caller) -> bool:
    """Whether a stored answer is of a customer whom the caller may see; not looked into for the whole."""
    return who.domain is None or who.sees(v1.GetPortraitResponse.FromString(answer).portrait.org_id)
