"""The tag catalogue: definitions of tags and anchors as data, checked as a whole before anything is computed."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.portrait.domain.anchor import ROLES, AnchorRule
from services.portrait.domain.statistic import NUMBERS, WORDS
from services.portrait.domain.tag.rule import CatalogueInvalid, Parser, Rule, Tagged, leaves
from services.portrait.domain.track import Rules

KINDS = ("flag", "enum", "value")
SENSITIVITIES = ("normal", "personal", "sensitive")
_TOP = {
    "format", "catalogue_version", "timezone", "defaults", "parameters", "place_classes", "city_event_types", "anchors",
    "tags",
}  # fmt: skip
_TAG = {
    "code", "zh", "en", "family", "l2", "l3", "kind", "rule", "cases", "from", "landmark", "expect", "explain", "hint",
    "version", "status", "owner", "refresh", "ttl", "hysteresis", "sensitivity", "approval",
}  # fmt: skip
_ATTRIBUTES = ("town", "place_id", "place_class")


@dataclass(frozen=True)
class Case:
    """One value of an enum tag and when it holds."""

    value: str
    rule: Rule


@dataclass(frozen=True)
class Part:
    """A part of a value: a text, an attribute of an anchor, or a stat column of words."""

    text: str = ""
    role: str = ""
    attribute: str = ""
    column: str = ""


@dataclass(frozen=True)
class Tag:
    """A tag's definition. A flag has one case with the value ""; a `value` tag has parts instead of cases."""

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


@dataclass(frozen=True)
class EventType:
    """How long around a city event of a type one counts as there, in minutes."""

    lead: int
    lag: int


@dataclass(frozen=True)
class Catalogue:
    """A checked catalogue; `tags` are in an order in which no tag looks at a later one."""

    version: str
    digest: str
    tags: tuple[Tag, ...]
    anchors: tuple[AnchorRule, ...]
    event_types: Mapping[str, EventType]
    branches: tuple[str, ...]
    """The coarsest place classes, by name."""
    track: Rules


def parse(document: Any) -> Catalogue:
    """Catalogue of a YAML document of the format lct/1; raises CatalogueInvalid with the path of the first problem."""
    if not isinstance(document, dict) or document.get("format") != "lct/1":
        raise CatalogueInvalid("format", "expected lct/1")
    for key in document:
        if key not in _TOP:
            raise CatalogueInvalid(str(key), "no such key of a catalogue")
    parameters = document.get("parameters", {})
    event_types = document.get("city_event_types", {})
    named = {
        name: tuple(body.get("union", [name])) if isinstance(body, dict) else (name,)
        for name, body in event_types.items()
    }
    parser = Parser(parameters, tuple(document.get("place_classes", {})), named)
    defaults = document.get("defaults", {})
    tags: dict[str, Tag] = {}
    for number, body in enumerate(document.get("tags", [])):
        tag = _tag(body, defaults, parser, f"tags[{number}]")
        if tag.code in tags:
            raise CatalogueInvalid(f"tags[{number}].code", f"{tag.code} is defined twice")
        tags[tag.code] = tag
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
    return Catalogue(
        version=str(document.get("catalogue_version", "")),
        digest=digest,
        tags=_ordered(tags),
        anchors=_anchors(document.get("anchors", {}), parser),
        event_types={
            name: EventType(int(body.get("lead", 0)), int(body.get("lag", 0)))
            for name, body in event_types.items()
            if "union" not in body
        },
        branches=tuple(sorted({code.partition(".")[0] for code in document.get("place_classes", {})})),
        track=Rules(
            gap_minutes=int(parameters.get("gap_minutes", 120)),
            silent_minutes=int(parameters.get("silent_minutes", parameters.get("gap_minutes", 120))),
            pingpong_minutes=int(parameters.get("pingpong_minutes", 5)),
        ),
    )


def _tag(body: Any, defaults: Mapping[str, Any], parser: Parser, path: str) -> Tag:
    if not isinstance(body, dict):
        raise CatalogueInvalid(path, "expected a mapping")
    path = str(body.get("code", path))
    for key in body:
        if key not in _TAG:
            raise CatalogueInvalid(f"{path}.{key}", "no such key of a tag")
    for key in ("code", "zh", "family", "kind"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise CatalogueInvalid(f"{path}.{key}", "is missing")
    kind, about = body["kind"], {**defaults, **body}
    if kind not in KINDS:
        raise CatalogueInvalid(f"{path}.kind", f"{kind!r} is none of {', '.join(KINDS)}")
    if about.get("sensitivity", "personal") not in SENSITIVITIES:
        raise CatalogueInvalid(f"{path}.sensitivity", f"is none of {', '.join(SENSITIVITIES)}")
    ttl = re.fullmatch(r"(\d+)d", str(about.get("ttl", "75d")))
    if ttl is None:
        raise CatalogueInvalid(f"{path}.ttl", "expected days like 75d")
    landmark = body.get("landmark", "")
    return Tag(
        code=body["code"],
        name=body["zh"],
        family=body["family"],
        kind=kind,
        version=int(about.get("version", 1)),
        sensitivity=about.get("sensitivity", "personal"),
        ttl_days=int(ttl[1]),
        cases=_cases(body, kind, parser, path),
        parts=_parts(body.get("from"), f"{path}.from") if kind == "value" else (),
        landmark_role=landmark if landmark in ROLES else "",
        landmark_classes=parser.selectors(landmark, f"{path}.landmark") if landmark and landmark not in ROLES else (),
        explain=str(body.get("explain", "")),
    )


def _cases(body: Mapping[str, Any], kind: str, parser: Parser, path: str) -> tuple[Case, ...]:
    if kind == "flag":
        return (Case("", parser.rule(body.get("rule"), f"{path}.rule")),)
    if kind == "value":
        return ()
    cases = body.get("cases")
    if not isinstance(cases, list) or not cases:
        raise CatalogueInvalid(f"{path}.cases", "an enum tag needs cases")
    found = []
    for number, case in enumerate(cases):
        here = f"{path}.cases[{number}]"
        if not isinstance(case, dict) or set(case) != {"value", "when"}:
            raise CatalogueInvalid(here, "expected value and when")
        found.append(Case(str(case["value"]), parser.rule(case["when"], f"{here}.when")))
    return tuple(found)


def _parts(text: Any, path: str) -> tuple[Part, ...]:
    parts = []
    for piece in str(text or "").split(" || "):
        words = piece.split(".")
        if len(piece) >= 2 and piece[0] == piece[-1] == "'":
            parts.append(Part(text=piece[1:-1]))
        elif len(words) == 3 and words[0] == "anchor" and words[1] in ROLES and words[2] in _ATTRIBUTES:
            parts.append(Part(role=words[1], attribute=words[2]))
        elif len(words) == 2 and words[0] == "stat" and words[1] in WORDS:
            parts.append(Part(column=words[1]))
        elif len(words) == 2 and words[0] == "stat" and words[1] in NUMBERS:
            raise CatalogueInvalid(path, f"{piece} is a number; a value is a word")
        else:
            raise CatalogueInvalid(path, f"{piece!r} is not known")
    return tuple(parts)


def _anchors(body: Any, parser: Parser) -> tuple[AnchorRule, ...]:
    rules: list[AnchorRule] = []
    for role, rule in body.items():
        path = f"anchors.{role}"
        if role not in ROLES:
            raise CatalogueInvalid(path, "no such role")
        unknown = sorted(set(rule) - {"candidates", "except", "rank_by", "require", "fallback"})
        if unknown or rule.get("rank_by", "minutes") != "minutes":
            raise CatalogueInvalid(f"{path}.{unknown[0] if unknown else 'rank_by'}", "is not known")
        apart = tuple(rule.get("except", ()))
        if not set(apart) <= {each.role for each in rules}:
            raise CatalogueInvalid(f"{path}.except", "may name earlier roles only")
        fallback = rule.get("fallback", {})
        if fallback and sorted(fallback.get("slots", [])) != ["late", "night"]:
            raise CatalogueInvalid(f"{path}.fallback.slots", "expected [late, night]")
        rules.append(
            AnchorRule(
                role=role,
                candidates=parser.selectors(rule["candidates"], f"{path}.candidates"),
                days_ge=int(rule["require"]["days_ge"]),
                minutes_per_day_ge=int(rule["require"].get("minutes_per_day_ge", 0)),
                apart_from=apart,
                fallback=parser.selectors(fallback["candidates"], f"{path}.fallback.candidates") if fallback else (),
                fallback_days_ge=int(fallback["require"]["days_ge"]) if fallback else 0,
            )
        )
    return tuple(rules)


def _ordered(tags: Mapping[str, Tag]) -> tuple[Tag, ...]:
    """The tags so that each comes after those that it looks at (Kahn 1962)."""
    needs: dict[str, set[str]] = {}
    for code, tag in tags.items():
        needs[code] = set()
        for case in tag.cases:
            for leaf in leaves(case.rule, positive=False):
                if isinstance(leaf, Tagged):
                    _check_reference(leaf, tags, code)
                    needs[code].add(leaf.code)
    ordered: list[str] = []
    while len(ordered) < len(tags):
        free = [code for code in tags if code not in ordered and needs[code] <= set(ordered)]
        if not free:
            raise CatalogueInvalid(min(set(tags) - set(ordered)), "looks at itself in a circle")
        ordered.extend(free)
    return tuple(tags[code] for code in ordered)


def _check_reference(leaf: Tagged, tags: Mapping[str, Tag], code: str) -> None:
    if leaf.code not in tags:
        raise CatalogueInvalid(code, f"no tag is named {leaf.code}")
    known: Sequence[str] = [case.value for case in tags[leaf.code].cases]
    for value in leaf.values:
        if value not in known:
            raise CatalogueInvalid(code, f"{leaf.code} has no value {value!r}")
