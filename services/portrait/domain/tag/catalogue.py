"""The tag catalogue: definitions of tags and anchors as data, checked as a whole before anything is computed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.portrait.domain.anchor import ROLES, AnchorRule
from services.portrait.domain.calendar import SLOT_HOURS, SLOTS
from services.portrait.domain.statistic import TYPES
from services.portrait.domain.tag import definition
from services.portrait.domain.tag.definition import Tag
from services.portrait.domain.tag.parser import NUMBER_TYPES, WORD_TYPES, Parser
from services.portrait.domain.tag.rule import CatalogueInvalid, Tagged, leaves
from services.portrait.domain.track import Rules

_TOP = {
    "format", "catalogue_version", "timezone", "defaults", "parameters", "daytypes", "slots", "grading",
    "place_classes", "city_event_types", "anchors", "stat_columns", "tags",
}  # fmt: skip


@dataclass(frozen=True)
class EventType:
    """How long around a city event of a type one counts as there, in minutes."""

    lead: int
    lag: int


@dataclass(frozen=True)
class Grading:
    """How time at a place is graded (驻留分级): share of the days on which one was seen, minutes on such a day."""

    often_share: float = 0.5
    often_minutes: float = 15.0
    sometimes_share: float = 0.2


@dataclass(frozen=True)
class Catalogue:
    """A checked catalogue; `tags` are those in force, in an order in which no tag looks at a later one."""

    version: str
    digest: str
    tags: tuple[Tag, ...]
    anchors: tuple[AnchorRule, ...]
    event_types: Mapping[str, EventType]
    branches: tuple[str, ...]
    """The coarsest place classes, by name."""
    track: Rules
    grading: Grading
    columns: Mapping[str, str]
    """Stat columns and their types."""
    class_names: Mapping[str, tuple[str, ...]]
    """The class tree: dotted code → its names from coarse to fine."""
    parameters: Mapping[str, Any]


def parse(document: Any) -> Catalogue:
    """Catalogue of a YAML document of the format lct/1; raises CatalogueInvalid with the path of the first problem."""
    if not isinstance(document, dict) or document.get("format") != "lct/1":
        raise CatalogueInvalid("format", "expected lct/1")
    for key in document:
        if key not in _TOP:
            raise CatalogueInvalid(str(key), "no such key of a catalogue")
    parser, defaults = parser_of(document), document.get("defaults", {})
    tags: dict[str, Tag] = {}
    for number, body in enumerate(document.get("tags", [])):
        tag = definition.read(body, defaults, parser, f"tags[{number}]")
        if tag.code in tags:
            raise CatalogueInvalid(f"tags[{number}].code", f"{tag.code} is defined twice")
        tags[tag.code] = tag
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
    parameters, event_types = document.get("parameters", {}), document.get("city_event_types", {})
    return Catalogue(
        version=str(document.get("catalogue_version", "")),
        digest=digest,
        tags=_ordered({code: tag for code, tag in tags.items() if tag.status in IN_FORCE}),
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
        grading=_grading(document.get("grading", {})),
        columns=_columns(document),
        class_names={code: tuple(names or ()) for code, names in document.get("place_classes", {}).items()},
        parameters=parameters,
    )


def looked_at(catalogue: Catalogue, code: str) -> Catalogue:
    """The catalogue with one tag and the tags that it looks at, directly or not."""
    by_code = {tag.code: tag for tag in catalogue.tags}
    wanted, more = set(), [code]
    while more:
        wanted.add(each := more.pop())
        named = (leaf for case in by_code[each].cases for leaf in leaves(case.rule, positive=False))
        more += [leaf.code for leaf in named if isinstance(leaf, Tagged) and leaf.code not in wanted]
    return replace(catalogue, tags=tuple(tag for tag in catalogue.tags if tag.code in wanted))


IN_FORCE = ("active", "deprecated")
"""A deprecated tag is still computed, until nothing looks at it any more; a draft is computed in a dry run only."""


def parser_of(document: Mapping[str, Any]) -> Parser:
    """A reader of rules that may name what the document declares: parameters, classes, city events, stat columns."""
    event_types = document.get("city_event_types", {})
    named = {
        name: tuple(body.get("union", [name])) if isinstance(body, dict) else (name,)
        for name, body in event_types.items()
    }
    window = str(document.get("defaults", {}).get("window", "30d"))
    _check_slots(document.get("slots"))
    parameters, classes = document.get("parameters", {}), tuple(document.get("place_classes", {}))
    return Parser(parameters, classes, named, _columns(document), int(window.removesuffix("d")))


def _columns(document: Mapping[str, Any]) -> Mapping[str, str]:
    columns: Mapping[str, str] = document.get("stat_columns", TYPES)
    for name, kind in columns.items():
        if kind not in (*NUMBER_TYPES, *WORD_TYPES):
            raise CatalogueInvalid(f"stat_columns.{name}", f"{kind!r} is none of int, decimal, bool, text")
    return columns


def _check_slots(slots: Any) -> None:
    """The slots of a day are the kernel's; a catalogue that states others would be read wrongly."""
    if slots is None:
        return
    told = {name: tuple(body["hours"]) for name, body in slots.items()}
    known = dict(zip(SLOTS, zip(SLOT_HOURS, (*SLOT_HOURS[1:], 24), strict=True), strict=True))
    if told != known:
        raise CatalogueInvalid("slots", f"expected {known}")


def _grading(body: Mapping[str, Any]) -> Grading:
    often, sometimes = body.get("often", {}), body.get("sometimes", {})
    known = Grading()
    return Grading(
        float(often.get("days_share_ge", known.often_share)),
        float(often.get("minutes_per_day_ge", known.often_minutes)),
        float(sometimes.get("days_share_ge", known.sometimes_share)),
    )


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
