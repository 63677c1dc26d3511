"""What one tag is: its rule, how it lives, and how it is shown; read from its entry in the catalogue."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.portrait.domain.anchor import ROLES
from services.portrait.domain.tag.parser import Parser
from services.portrait.domain.tag.rule import CatalogueInvalid, PlaceSet, Rule

KINDS = ("flag", "enum", "value", "score")
SENSITIVITIES = ("normal", "personal", "sensitive")
APPROVALS = ("auto", "four_eyes")
STATUSES = ("draft", "review", "active", "deprecated")
REFRESHES = ("daily", "weekly", "monthly")
CATEGORIES = (
    "基础", "套餐", "服务偏好", "业务", "消费价值", "营销活动偏好", "终端", "渠道偏好", "互联网内容偏好", "位置信息",
)  # fmt: skip
"""The nine categories of the 360° portrait and that of the life circles, which come of places."""
LIFE_CIRCLES = ("区域归属圈", "人文圈", "需求偏好圈", "动态行为圈")
_KEYS = {
    "code", "zh", "en", "family", "l2", "l3", "kind", "rule", "cases", "from", "score", "least", "landmark", "expect",
    "explain", "hint", "version", "status", "owner", "refresh", "ttl", "hysteresis", "sensitivity", "approval",
    "category", "places", "track", "lineage",
}  # fmt: skip
_ATTRIBUTES = ("town", "place_id", "place_class")
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,31}")


@dataclass(frozen=True)
class Case:
    """One value of an enum tag and when it holds; of a score, a part with its weight."""

    value: str
    rule: Rule
    weight: float = 1.0


@dataclass(frozen=True)
class Part:
    """A part of a value: a text, an attribute of an anchor, a stat column, or the town of most time at some places."""

    text: str = ""
    role: str = ""
    attribute: str = ""
    column: str = ""
    top: PlaceSet | None = None


@dataclass(frozen=True)
class Tag:
    """A tag's definition. A flag has one case with the value ""; a `value` tag has parts instead of cases; the cases of
    a `score` are its leaves, and who reaches `least` bears it."""

    code: str
    name: str
    family: str
    kind: str
    version: int
    sensitivity: str
    ttl_days: int
    cases: tuple[Case, ...] = ()
    parts: tuple[Part, ...] = ()
    landmark_role: str = ""
    landmark_classes: tuple[str, ...] = ()
    explain: str = ""
    english: str = ""
    level2: str = ""
    level3: str = ""
    category: str = ""
    status: str = "active"
    owner: str = ""
    refresh: str = "monthly"
    hysteresis: float = 1.0
    approval: str = "auto"
    expect: tuple[float, float] | None = None
    """Share of the customers that may bear it; outside of it the run is held."""
    least: float = 0.0
    hint: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    """Place features: the classes or anchors that the tag looks at."""
    track: str = ""
    """Track features, in words: when, how often, how long."""


def read(body: Any, defaults: Mapping[str, Any], parser: Parser, path: str) -> Tag:
    """The tag of an entry; raises CatalogueInvalid with the path of the first problem."""
    path = _checked(body, path)
    kind, about = body["kind"], {**defaults, **body}
    for key, among in (
        ("sensitivity", SENSITIVITIES), ("approval", APPROVALS), ("status", STATUSES), ("refresh", REFRESHES),
    ):  # fmt: skip
        if about.setdefault(key, among[-1] if key == "refresh" else _DEFAULT[key]) not in among:
            raise CatalogueInvalid(f"{path}.{key}", f"{about[key]!r} is none of {', '.join(among)}")
    landmark = body.get("landmark", "")
    places = tuple(parser.words(body["places"], f"{path}.places")) if "places" in body else ()
    parser.selectors([each for each in places if each not in ROLES] or "*", f"{path}.places")
    return Tag(
        code=body["code"],
        name=body["zh"],
        family=body["family"],
        kind=kind,
        version=_whole(about.get("version", 1), 1, f"{path}.version"),
        sensitivity=about["sensitivity"],
        ttl_days=_days(about.get("ttl", "75d"), f"{path}.ttl"),
        cases=_cases(body, kind, parser, path),
        parts=_parts(body.get("from"), parser, f"{path}.from") if kind == "value" else (),
        landmark_role=landmark if landmark in ROLES else "",
        landmark_classes=parser.selectors(landmark, f"{path}.landmark") if landmark and landmark not in ROLES else (),
        explain=str(body.get("explain", "")),
        english=str(body.get("en", "")),
        level2=str(body.get("l2", "")),
        level3=str(body.get("l3", "")),
        category=_category(body, path),
        status=about["status"],
        owner=str(about.get("owner", "")),
        refresh=about["refresh"],
        hysteresis=_share(about.get("hysteresis", 1.0), f"{path}.hysteresis"),
        approval=about["approval"],
        expect=_band(body.get("expect"), f"{path}.expect"),
        least=_share(body["least"], f"{path}.least") if "least" in body else 0.0,
        hint=tuple(str(each) for each in body.get("hint", ())),
        places=places,
        track=str(body.get("track", "")),
    )


_DEFAULT = {"sensitivity": "personal", "approval": "auto", "status": "active"}


def _checked(body: Any, path: str) -> str:
    if not isinstance(body, dict):
        raise CatalogueInvalid(path, "expected a mapping")
    path = str(body.get("code", path))
    for key in body:
        if key not in _KEYS:
            raise CatalogueInvalid(f"{path}.{key}", "no such key of a tag")
    for key in ("code", "zh", "family", "kind"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise CatalogueInvalid(f"{path}.{key}", "is missing")
    if not _CODE.fullmatch(body["code"]):
        raise CatalogueInvalid(f"{path}.code", "expected capitals, digits and _, at most 32")
    if body["kind"] not in KINDS:
        raise CatalogueInvalid(f"{path}.kind", f"{body['kind']!r} is none of {', '.join(KINDS)}")
    return path


def _category(body: Mapping[str, Any], path: str) -> str:
    category = body.get("category", "位置信息" if body["family"] in LIFE_CIRCLES else "")
    if category and category not in CATEGORIES:
        raise CatalogueInvalid(f"{path}.category", f"{category!r} is none of {', '.join(CATEGORIES)}")
    return str(category)


def _cases(body: Mapping[str, Any], kind: str, parser: Parser, path: str) -> tuple[Case, ...]:
    if kind == "flag":
        return (Case("", parser.rule(body.get("rule"), f"{path}.rule")),)
    if kind == "value":
        return ()
    key, value, optional = ("cases", "value", "") if kind == "enum" else ("score", "", "weight")
    listed = body.get(key)
    if not isinstance(listed, list) or not listed:
        raise CatalogueInvalid(f"{path}.{key}", f"a tag of the kind {kind} needs {key}")
    found = []
    for number, case in enumerate(listed):
        here = f"{path}.{key}[{number}]"
        if not isinstance(case, dict) or set(case) - {optional} != {"when", value} - {""}:
            raise CatalogueInvalid(here, "expected value and when" if kind == "enum" else "expected when and weight")
        weight = case.get("weight", 1)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
            raise CatalogueInvalid(f"{here}.weight", "expected a number above 0")
        found.append(Case(str(case.get("value", "")), parser.rule(case["when"], f"{here}.when"), float(weight)))
    return tuple(found)


def _parts(text: Any, parser: Parser, path: str) -> tuple[Part, ...]:
    parts = []
    for piece in str(text or "").split(" || "):
        words = piece.split(".")
        top = re.fullmatch(r"top_town\(place: \[(.+?)\](?:, except: \[(.*?)\])?(?:, by: minutes)?\)", piece)
        if len(piece) >= 2 and piece[0] == piece[-1] == "'":
            parts.append(Part(text=piece[1:-1]))
        elif len(words) == 3 and words[0] == "anchor" and words[1] in ROLES and words[2] in _ATTRIBUTES:
            parts.append(Part(role=words[1], attribute=words[2]))
        elif len(words) == 2 and words[0] == "stat" and words[1] in parser.word_columns:
            parts.append(Part(column=words[1]))
        elif len(words) == 2 and words[0] == "stat" and words[1] in parser.number_columns:
            raise CatalogueInvalid(path, f"{piece} is a number; a value is a word")
        elif top is not None:
            apart = [each.strip() for each in (top[2] or "").split(",") if each.strip()]
            classes = [each for each in apart if each not in ROLES]
            parts.append(
                Part(
                    top=PlaceSet(
                        selectors=parser.selectors([each.strip() for each in top[1].split(",")], path),
                        without=parser.selectors(classes, path) if classes else (),
                        apart_from=tuple(each for each in apart if each in ROLES),
                    )
                )
            )
        else:
            raise CatalogueInvalid(path, f"{piece!r} is not known")
    return tuple(parts)


def _days(text: Any, path: str) -> int:
    days = re.fullmatch(r"(\d{1,4})d", str(text))
    if days is None:
        raise CatalogueInvalid(path, "expected days like 75d")
    return int(days[1])


def _whole(value: Any, least: int, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise CatalogueInvalid(path, f"expected a whole number from {least}")
    return value


def _share(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise CatalogueInvalid(path, "expected a share above 0, at most 1")
    return float(value)


def _band(value: Any, path: str) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(each, int | float) for each in value):
        raise CatalogueInvalid(path, "expected two shares, for instance [0.05, 0.5]")
    if not 0 <= value[0] <= value[1] <= 1:
        raise CatalogueInvalid(path, "expected shares from 0 to 1, the lower first")
    return float(value[0]), float(value[1])
