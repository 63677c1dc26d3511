"""A rule in words: which places it looks at, and when, how often and how long (its place and track features)."""

from collections.abc import Mapping

from services.portrait.domain.anchor import ROLES
from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.tag.definition import Tag
from services.portrait.domain.tag.rule import (
    Anchored,
    Attended,
    Distance,
    Dwelt,
    Rule,
    SameTown,
    Stated,
    Tagged,
    leaves,
)

_SLOT = dict(zip(SLOTS, ("深夜", "清晨", "上午", "午间", "下午", "傍晚", "夜间"), strict=True))
_ROLE = dict(zip(ROLES, ("居住地", "工作地", "学习地"), strict=True))
_DAYS = {"workday": "工作日", "weekend": "休息日", "all": ""}
_METRIC = {
    "days": "天数", "weeks": "周数", "visits": "到访次数", "minutes": "停留分钟", "places": "不同场所数",
    "minutes_per_day": "日均分钟", "days_share": "天数占比", "minutes_share": "时长占比", "grade": "驻留等级",
}  # fmt: skip
_BOUND = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "eq": "="}


def places_of(tag: Tag) -> tuple[str, ...]:
    """Place features: what the catalogue states, otherwise the class selectors and anchors of the rule, once each."""
    if tag.places:
        return tag.places
    found: dict[str, None] = {}
    for leaf in _leaves(tag):
        match leaf:
            case Dwelt(places):
                found |= dict.fromkeys([places.role] if places.role else places.selectors)
            case Anchored(role=role, classes=classes):
                found |= dict.fromkeys(classes or (role,))
            case SameTown(first, second) | Distance(first, second):
                found |= dict.fromkeys((first, second))
    for part in tag.parts:
        found |= dict.fromkeys([part.role] if part.role else part.top.selectors if part.top else ())
    if not found and tag.landmark_classes:
        found = dict.fromkeys(tag.landmark_classes)
    return tuple(found)


def track_of(tag: Tag, tags: Mapping[str, Tag]) -> str:
    """Track features in words: what the catalogue states, otherwise the rule's leaves one after the other."""
    if tag.track:
        return tag.track
    told = [text for leaf in _leaves(tag) if (text := _words(leaf, tags))]
    told += [f"{_ROLE[part.role]}所在" for part in tag.parts if part.role]
    told += ["停留时长最多的镇区" for part in tag.parts if part.top]
    return "；".join(dict.fromkeys(told))


def lineage_of(tag: Tag) -> tuple[str, ...]:
    """What a tag is made of: facts, anchors, stat columns and other tags, once each."""
    found: dict[str, None] = {}
    for leaf in _leaves(tag):
        match leaf:
            case Dwelt(places):
                found |= dict.fromkeys(["dwell_day", *([f"anchor.{places.role}"] if places.role else [])])
            case Anchored(role=role):
                found[f"anchor.{role}"] = None
            case SameTown(first, second) | Distance(first, second):
                found |= dict.fromkeys([f"anchor.{first}", f"anchor.{second}"])
            case Attended():
                found["presence"] = None
            case Stated(tests):
                found |= dict.fromkeys(f"stat.{each.column}" for each in tests)
            case Tagged(code, _):
                found[f"tag.{code}"] = None
    for part in tag.parts:
        named = f"anchor.{part.role}" if part.role else f"stat.{part.column}" if part.column else ""
        found |= dict.fromkeys([named] if named else ["dwell_day"] if part.top else [])
    return tuple(found)


def _leaves(tag: Tag) -> list[Rule]:
    return [leaf for case in tag.cases for leaf in leaves(case.rule, positive=False)]


def _words(leaf: Rule, tags: Mapping[str, Tag]) -> str:
    match leaf:
        case Dwelt(places, rows, limits):
            slots = "" if rows.slots == SLOTS else "、".join(_SLOT[name] for name in rows.slots)
            visit = f"每次至少{rows.min_visit}分钟" if rows.min_visit else ""
            bounds = "、".join(f"{_METRIC[each.metric]}{_BOUND[each.operator]}{each.value:g}" for each in limits)
            where = _ROLE.get(places.role, "场所")
            return f"{rows.last_days}天内{_DAYS[rows.daytype]}{slots}在{where}{visit}{bounds}"
        case Anchored(role=role, exists=exists, days_ge=days):
            return f"{'有' if exists else '无'}{_ROLE[role]}{f'且支持天数≥{days}' if days else ''}"
        case SameTown(first, second):
            return f"{_ROLE[first]}与{_ROLE[second]}同镇"
        case Distance(first, second, bound, km):
            return f"{_ROLE[first]}与{_ROLE[second]}相距{_BOUND[bound]}{km:g}公里"
        case Attended(_, events, overlap, window):
            return f"{window}天内到场≥{events}次、每次与事件时段重合≥{overlap}分钟"
        case Tagged(code, _):
            return f"标签{tags[code].name if code in tags else code}"
    return ""
