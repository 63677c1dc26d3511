"""Reads rules of lct/1: whatever is not known is refused with its path."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.portrait.domain.anchor import ROLES
from services.portrait.domain.calendar import MOST_DAYS, SLOTS
from services.portrait.domain.tag.rule import (
    DAYTYPES,
    METRICS,
    OPERATORS,
    Anchored,
    Attended,
    CatalogueInvalid,
    Distance,
    Dwelt,
    Everything,
    Limit,
    Negation,
    PlaceSet,
    RowFilter,
    Rule,
    SameTown,
    Something,
    Stated,
    Tagged,
    Test,
)

NUMBER_TYPES, WORD_TYPES = ("int", "decimal", "bool"), ("text",)
MOST_DEPTH = 32
"""Levels of a rule."""
_LARGEST = 1e15
_ANCHOR_KEYS = {"role", "exists", "class", "town_in", "days_ge", "confidence_ge", "changed_within"}


class Parser:
    """Reads rules.

    `parameters` fill `${name}`, `event_types` are the city events that may be named, `columns` the stat columns with
    their types, `window` how many days a dwell rule looks at that names none.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        classes: Sequence[str],
        event_types: Mapping[str, Sequence[str]],
        columns: Mapping[str, str],
        window: int = 30,
    ) -> None:
        self._parameters = parameters
        self._classes = classes
        self._event_types = event_types
        self.number_columns = {name for name, kind in columns.items() if kind in NUMBER_TYPES}
        self.word_columns = {name for name, kind in columns.items() if kind in WORD_TYPES}
        self._window = window
        self._nodes: Mapping[str, Callable[[Any, str], Rule]] = {
            "all": lambda body, path: Everything(self._rules(body, path)),
            "any": lambda body, path: Something(self._rules(body, path)),
            "not": lambda body, path: Negation(self.rule(body, path)),
            "at_least": self._at_least,
            "dwell": self._dwell,
            "anchor": self._anchor,
            "attend": self._attend,
            "stat": self._stat,
            "tag": self._tag,
        }

    def rule(self, node: Any, path: str) -> Rule:
        """The rule of a node; raises CatalogueInvalid."""
        if path.count(".") > MOST_DEPTH:  # a path has a part for each level
            raise CatalogueInvalid(path, f"lies deeper than {MOST_DEPTH} levels")
        if not isinstance(node, dict) or len(node) != 1:
            raise CatalogueInvalid(path, f"a rule is a mapping with one key of {', '.join(self._nodes)}")
        ((key, body),) = node.items()
        if key not in self._nodes:
            raise CatalogueInvalid(f"{path}.{key}", "no such kind of rule")
        return self._nodes[key](body, f"{path}.{key}")

    def selectors(self, value: Any, path: str) -> tuple[str, ...]:
        """Class selectors, each of which chooses at least one class."""
        chosen = self.words(value, path)
        for each in chosen:
            stem = each[:-1] if each.endswith(".*") else each
            if each != "*" and not any(code == each or code.startswith(stem) for code in self._classes):
                raise CatalogueInvalid(path, f"no place class is like {each!r}")
        return chosen

    def words(self, value: Any, path: str) -> tuple[str, ...]:
        """A word or a list of words."""
        value = self._filled(value, path)
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not listed or not all(isinstance(each, str) for each in listed):
            raise CatalogueInvalid(path, "expected a word or a list of words")
        return tuple(listed)

    def _filled(self, value: Any, path: str) -> Any:
        name = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
        if name is None:
            return value
        if name[1] not in self._parameters:
            raise CatalogueInvalid(path, f"no parameter is named {name[1]!r}")
        return self._parameters[name[1]]

    def _number(self, value: Any, path: str) -> float:
        value = self._filled(value, path)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise CatalogueInvalid(path, f"expected a number, not {str(value)[:40]!r}")
        return float(value)

    def _whole(self, value: Any, path: str) -> int:
        number = self._number(value, path)
        if number != int(number) or number < 0:
            raise CatalogueInvalid(path, f"expected a whole number, not {value!r}")
        return int(number)

    def _days(self, value: Any, path: str, most: int) -> int:
        value = self._filled(value, path)
        if not isinstance(value, str) or not re.fullmatch(r"\d{1,4}d", value) or not 1 <= int(value[:-1]) <= most:
            raise CatalogueInvalid(path, f"expected days like 30d, at most {most}d, not {value!r}")
        return int(value[:-1])

    def _one_of(self, value: Any, among: Sequence[str], path: str) -> str:
        if value not in among:
            raise CatalogueInvalid(path, f"{value!r} is none of {', '.join(among)}")
        return str(value)

    def _mapping(self, body: Any, path: str) -> dict[str, Any]:
        if not isinstance(body, dict) or not body or not all(isinstance(key, str) for key in body):
            raise CatalogueInvalid(path, "expected a mapping")
        return body

    def _rules(self, body: Any, path: str) -> tuple[Rule, ...]:
        if not isinstance(body, list) or not body:
            raise CatalogueInvalid(path, "expected a list of rules")
        return tuple(self.rule(each, f"{path}[{number}]") for number, each in enumerate(body))

    def _at_least(self, body: Any, path: str) -> Rule:
        if set(self._mapping(body, path)) != {"n", "of"}:
            raise CatalogueInvalid(path, "expected the keys n and of")
        rules, least = self._rules(body["of"], f"{path}.of"), self._whole(body["n"], f"{path}.n")
        if not 1 <= least <= len(rules):
            raise CatalogueInvalid(f"{path}.n", f"expected 1 to {len(rules)}")
        return Something(rules, least)

    def _dwell(self, body: Any, path: str) -> Rule:
        body = self._mapping(body, path)
        limits: list[Limit] = []
        places: PlaceSet | None = None
        without: tuple[str, ...] = ()
        fields: dict[str, Any] = {}
        for key, value in body.items():
            here = f"{path}.{key}"
            metric, _, operator = key.rpartition("_")
            if key == "place":
                places = self._place(value, here)
            elif key == "except":
                without = self.words(value, here)
            elif key == "daytype":
                fields["daytype"] = self._one_of(value, DAYTYPES, here)
            elif key == "slots":
                names = SLOTS if value == "all" else self.words(value, here)
                fields["slots"] = tuple(sorted({self._one_of(name, SLOTS, here) for name in names}, key=SLOTS.index))
            elif key == "window":
                fields["last_days"] = self._days(value, here, MOST_DAYS)
            elif key == "min_visit":
                fields["min_visit"] = self._whole(value, here)
            elif metric in METRICS and operator in OPERATORS:
                limits.append(Limit(metric, operator, self._number(value, here)))
            else:
                raise CatalogueInvalid(here, "no such key of a dwell rule")
        if places is None or not limits:
            raise CatalogueInvalid(path, "a dwell rule needs a place and at least one metric")
        rows = RowFilter(**{"last_days": self._window, **fields})
        roles = tuple(word for word in without if word in ROLES)
        others = tuple(word for word in without if word not in ROLES)
        kept = PlaceSet(
            places.selectors, places.role, self.selectors(list(others), f"{path}.except") if others else (), roles
        )
        return Dwelt(kept, rows, tuple(limits))

    def _place(self, value: Any, path: str) -> PlaceSet:
        if value in ROLES:
            return PlaceSet(role=value)
        return PlaceSet(selectors=("*",) if value == "any" else self.selectors(value, path))

    def _pair(self, value: Any, path: str) -> tuple[str, str]:
        if not isinstance(value, list) or len(value) != 2:
            raise CatalogueInvalid(path, "expected two roles")
        return self._one_of(value[0], ROLES, path), self._one_of(value[1], ROLES, path)

    def _anchor(self, body: Any, path: str) -> Rule:
        body = self._mapping(body, path)
        if set(body) == {"same_town"}:
            return SameTown(*self._pair(body["same_town"], f"{path}.same_town"))
        if "distance_km" in body:
            bound = sorted(set(body) - {"distance_km"})
            if len(bound) != 1 or bound[0] not in ("ge", "le"):
                raise CatalogueInvalid(path, "a distance needs one bound, ge or le")
            pair = self._pair(body["distance_km"], f"{path}.distance_km")
            return Distance(*pair, bound[0], self._number(body[bound[0]], f"{path}.{bound[0]}"))
        unknown = sorted(set(body) - _ANCHOR_KEYS)
        if unknown or "role" not in body:
            raise CatalogueInvalid(f"{path}.{unknown[0]}" if unknown else path, "no such key, or no role, of an anchor")
        if not isinstance(body.get("exists", True), bool):
            raise CatalogueInvalid(f"{path}.exists", "expected true or false")
        return Anchored(
            role=self._one_of(body["role"], ROLES, f"{path}.role"),
            exists=body.get("exists", True),
            classes=self.selectors(body["class"], f"{path}.class") if "class" in body else (),
            towns=self.words(body["town_in"], f"{path}.town_in") if "town_in" in body else (),
            days_ge=self._whole(body.get("days_ge", 0), f"{path}.days_ge"),
            confidence_ge=self._number(body.get("confidence_ge", 0), f"{path}.confidence_ge"),
            changed_within=self._days(body["changed_within"], f"{path}.changed_within", 3650)
            if "changed_within" in body
            else 0,
        )

    def _attend(self, body: Any, path: str) -> Rule:
        body = self._mapping(body, path)
        unknown = sorted(set(body) - {"type", "events_ge", "overlap_ge", "window"})
        if unknown or "type" not in body:
            raise CatalogueInvalid(f"{path}.{unknown[0]}" if unknown else path, "no such key, or no type, of attend")
        types: list[str] = []
        for each in self.words(body["type"], f"{path}.type"):
            if each not in self._event_types:
                raise CatalogueInvalid(f"{path}.type", f"no city event type is named {each!r}")
            types.extend(self._event_types[each])
        return Attended(
            types=tuple(types),
            events_ge=self._whole(body.get("events_ge", 1), f"{path}.events_ge"),
            overlap_ge=self._whole(body.get("overlap_ge", 0), f"{path}.overlap_ge"),
            window=self._days(body.get("window", "30d"), f"{path}.window", 3650),
        )

    def _stat(self, body: Any, path: str) -> Rule:
        return Stated(
            tuple(self._test(name, text, f"{path}.{name}") for name, text in self._mapping(body, path).items())
        )

    def _test(self, column: str, text: Any, path: str) -> Test:
        if column not in self.number_columns and column not in self.word_columns:
            raise CatalogueInvalid(path, "no such stat column is known here")
        if not isinstance(text, str):
            raise CatalogueInvalid(path, f"expected words like 'ge 3', not {text!r}")
        operator, _, operand = text.partition(" ")
        if text == "null":
            return Test(column, "null")
        if column in self.word_columns:
            if operator not in ("eq", "ne", "in") or not operand:
                raise CatalogueInvalid(path, f"{text!r} does not fit a column of words")
            return Test(column, operator, words=tuple(operand.split("|")) if operator == "in" else (operand,))
        if operator == "between" and (span := re.fullmatch(r"(-?[\d.]+)\.\.(-?[\d.]+)", operand)):
            return Test(column, operator, values=(float(span[1]), float(span[2])))
        if operator in (*OPERATORS, "ne"):
            if operand in ("true", "false"):
                return Test(column, operator, values=(float(operand == "true"),))
            if re.fullmatch(r"-?\d+(\.\d+)?", operand):
                return Test(column, operator, values=(float(operand),))
            if rank := re.fullmatch(r"p(\d{1,2})", operand):
                return Test(column, operator, percentile=float(rank[1]))
            if (share := re.fullmatch(r"(\d+(?:\.\d+)?) \* (\w+)", operand)) and share[2] in self.number_columns:
                return Test(column, operator, values=(float(share[1]),), other=share[2])
        raise CatalogueInvalid(path, f"{text!r} is not a comparison of numbers")

    def _tag(self, body: Any, path: str) -> Rule:
        if isinstance(body, str):
            return Tagged(body)
        if len(self._mapping(body, path)) != 1:
            raise CatalogueInvalid(path, "expected one tag")
        ((code, values),) = body.items()
        return Tagged(code, self.words(values, f"{path}.{code}"))
