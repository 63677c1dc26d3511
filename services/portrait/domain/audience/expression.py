"""Who belongs to an audience, as a value: tag algebra, and its readable form."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

MOST_DEPTH = 16
MOST_PARTS = 256
MOST_VALUES = 64
MOST_VERSION = (1 << 31) - 1
WORD = re.compile(r"[^\W\d]\w*")


class AudienceInvalid(ValueError):
    """An expression or its text is wrong; `at` is a character of the text from 0, or a path into the expression."""

    def __init__(self, at: str, why: str) -> None:
        super().__init__(f"{at}: {why}")
        self.at, self.why = at, why


@dataclass(frozen=True)
class Everybody:
    """Every customer of the run."""


@dataclass(frozen=True)
class TagIs:
    """Who bears a tag; with values, one of these values of it."""

    code: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureBetween:
    """Who has a feature within bounds, both included; None is no bound. What is not known is within none."""

    name: str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class AllOf:
    """Who fulfils every part."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True)
class AnyOf:
    """Who fulfils one part or more."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True)
class Not:
    """Who does not fulfil the part."""

    part: "Expression"


@dataclass(frozen=True)
class AtLeast:
    """Who fulfils `count` of the parts or more."""

    count: int
    parts: tuple["Expression", ...]


@dataclass(frozen=True)
class Saved:
    """Who belongs to a saved audience; version 0 is the latest."""

    audience_id: str
    version: int = 0


@dataclass(frozen=True)
class Listed:
    """Who stands in a customer list."""

    list_id: str


@dataclass(frozen=True)
class Frozen:
    """Who stood in an audience when it was frozen."""

    frozen_id: str


@dataclass(frozen=True)
class InSegment:
    """Who stands in a segment of the latest segmentation."""

    segment_id: str


Expression: TypeAlias = (
    Everybody | TagIs | FeatureBetween | AllOf | AnyOf | Not | AtLeast | Saved | Listed | Frozen | InSegment
)
_KINDS = {
    kind.__name__: kind
    for kind in (Everybody, TagIs, FeatureBetween, AllOf, AnyOf, Not, AtLeast, Saved, Listed, Frozen, InSegment)
}


def walk(expression: Expression, at: str = "expression", depth: int = 0) -> Iterator[tuple[str, int, Expression]]:
    """The expression and its parts, each with its path and depth, the whole first."""
    yield at, depth, expression
    if isinstance(expression, AllOf | AnyOf | AtLeast):
        for number, part in enumerate(expression.parts):
            yield from walk(part, f"{at}.parts[{number}]", depth + 1)
    elif isinstance(expression, Not):
        yield from walk(expression.part, f"{at}.not", depth + 1)


def check(expression: Expression, tags: Mapping[str, frozenset[str]]) -> None:
    """Raise AudienceInvalid for what is too large, names no tag or can hold for nobody; `tags` are the values of each
    known tag."""
    for number, (at, depth, part) in enumerate(walk(expression)):
        if depth >= MOST_DEPTH:
            raise AudienceInvalid(at, f"lies deeper than {MOST_DEPTH} levels")
        if number >= MOST_PARTS:
            raise AudienceInvalid(at, f"there are more than {MOST_PARTS} parts")
        if isinstance(part, TagIs):
            _check_tag(at, part, tags)
        if isinstance(part, AtLeast) and not 1 <= part.count <= len(part.parts):
            raise AudienceInvalid(at, f"at least {part.count} of {len(part.parts)} parts")
        if isinstance(part, AllOf | AnyOf) and not part.parts:
            raise AudienceInvalid(at, "has no parts")
        if isinstance(part, FeatureBetween):
            _check_bounds(at, part)
        if isinstance(part, Saved) and not 0 <= part.version <= MOST_VERSION:
            raise AudienceInvalid(at, f"{part.version} is no version")


def _check_tag(at: str, part: TagIs, tags: Mapping[str, frozenset[str]]) -> None:
    if part.code not in tags:
        raise AudienceInvalid(at, f"the catalogue has no tag {part.code}")
    if len(part.values) > MOST_VALUES:
        raise AudienceInvalid(at, f"names {len(part.values)} values, more than {MOST_VALUES}")
    for value in part.values:
        if tags[part.code] and value not in tags[part.code]:
            raise AudienceInvalid(at, f"{part.code} has no value {value}; it has {', '.join(sorted(tags[part.code]))}")


def _check_bounds(at: str, part: FeatureBetween) -> None:
    bounds = [bound for bound in (part.least, part.most) if bound is not None]
    if not bounds:
        raise AudienceInvalid(at, f"{part.name} has no bound")
    if not all(map(math.isfinite, bounds)):
        raise AudienceInvalid(at, f"a bound of {part.name} is no number")
    if bounds[0] > bounds[-1]:
        raise AudienceInvalid(at, f"nothing lies between {_number(part.least)} and {_number(part.most)}")


def text(expression: Expression) -> str:
    """The readable form; parse() gives the same expression again."""
    match expression:
        case Everybody():
            return "EVERYBODY"
        case TagIs():
            if not expression.values:
                return expression.code
            values = ", ".join(map(_quoted, expression.values))
            return (
                f"{expression.code} = {values}" if len(expression.values) == 1 else f"{expression.code} IN ({values})"
            )
        case FeatureBetween():
            if expression.least is None:
                return f"{expression.name} <= {_number(expression.most)}"
            if expression.most is None:
                return f"{expression.name} >= {_number(expression.least)}"
            return f"{expression.name} BETWEEN {_number(expression.least)} AND {_number(expression.most)}"
        case AllOf():
            return (
                " AND ".join(map(_inner, expression.parts)) if len(expression.parts) > 1 else _only("ALL", expression)
            )
        case AnyOf():
            return " OR ".join(map(_inner, expression.parts)) if len(expression.parts) > 1 else _only("ANY", expression)
        case AtLeast():
            return f"AT LEAST {expression.count} OF ({', '.join(map(text, expression.parts))})"
        case Not():
            return f"NOT {_inner(expression.part)}"
        case Saved():
            return f"AUDIENCE '{expression.audience_id}'" + (
                f" VERSION {expression.version}" if expression.version else ""
            )
        case Listed():
            return f"LIST '{expression.list_id}'"
        case InSegment():
            return f"SEGMENT {_quoted(expression.segment_id)}"
    return f"FROZEN '{expression.frozen_id}'"


def to_json(expression: Expression) -> dict[str, Any]:
    """The expression as JSON values."""
    made: dict[str, Any] = {"kind": type(expression).__name__}
    for field in dataclasses.fields(expression):
        value = getattr(expression, field.name)
        if field.name == "parts":
            made["parts"] = [to_json(part) for part in value]
        elif field.name == "part":
            made["part"] = to_json(value)
        else:
            made[field.name] = list(value) if isinstance(value, tuple) else value
    return made


def expression_of(told: Mapping[str, Any]) -> Expression:
    """The expression that to_json made this of."""
    values = {name: value for name, value in told.items() if name != "kind"}
    if "parts" in values:
        values["parts"] = tuple(map(expression_of, values["parts"]))
    if "part" in values:
        values["part"] = expression_of(values["part"])
    if "values" in values:
        values["values"] = tuple(values["values"])
    return _KINDS[told["kind"]](**values)


def _inner(part: Expression) -> str:
    plain = not isinstance(part, AllOf | AnyOf)
    return text(part) if plain else f"({text(part)})"


def _only(word: str, expression: AllOf | AnyOf) -> str:
    """An AND or OR of one part, said so that it is read as it was written."""
    return f"{word} OF ({', '.join(map(text, expression.parts))})"


def _number(value: float | None) -> str:
    assert value is not None, "a feature has a bound"
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _quoted(value: str) -> str:
    reserved = value.upper() in RESERVED
    return value if WORD.fullmatch(value) and not reserved else "'" + value.replace("'", "''") + "'"


RESERVED = frozenset(
    {
        "AND",
        "OR",
        "NOT",
        "IN",
        "BETWEEN",
        "AT",
        "ALL",
        "ANY",
        "LEAST",
        "OF",
        "AUDIENCE",
        "VERSION",
        "LIST",
        "FROZEN",
        "SEGMENT",
        "EVERYBODY",
        "且",
        "或",
        "非",
    }
)
