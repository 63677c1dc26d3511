"""Tests of an event's fields, compiled to closures; and the index that finds the few that an event may pass."""

from collections.abc import Callable, Iterable, Mapping

from services.portrait.domain.moment.pattern import EventMatch, Test

Fields = Mapping[str, object]
Predicate = Callable[[Fields], bool]


def text_of(value: object) -> str:
    """A field as text; numbers and truth values as JSON writes them, whole numbers without a fraction."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def predicate(tests: Iterable[Test]) -> Predicate:
    """Whether fields pass every test."""
    compiled = tuple(map(_compiled, tests))
    if not compiled:
        return lambda fields: True
    if len(compiled) == 1:
        return compiled[0]
    return lambda fields: all(test(fields) for test in compiled)


def _compiled(test: Test) -> Predicate:
    field, values = test.field, frozenset(test.values)
    if test.kind == "missing":
        return lambda fields: fields.get(field) is None
    if test.kind == "one_of":
        return lambda fields: (value := fields.get(field)) is not None and text_of(value) in values
    if test.kind == "none_of":
        return lambda fields: (value := fields.get(field)) is not None and text_of(value) not in values
    if test.kind == "starts_with":
        heads = test.values
        return lambda fields: (value := fields.get(field)) is not None and text_of(value).startswith(heads)
    if test.kind == "contains":
        parts = tuple(value.casefold() for value in test.values)

        def contains(fields: Fields) -> bool:
            value = fields.get(field)
            if value is None:
                return False
            text = text_of(value).casefold()
            return any(part in text for part in parts)

        return contains
    return _between(field, test.least, test.most)


def _between(field: str, least: float | None, most: float | None) -> Predicate:
    low = float("-inf") if least is None else least
    high = float("inf") if most is None else most

    def between(fields: Fields) -> bool:
        value = fields.get(field)
        if value is None or isinstance(value, bool):
            return False
        try:
            return low <= float(value) <= high  # type: ignore[arg-type]  # what is no number raises
        except (TypeError, ValueError):
            return False

    return between


class Index:
    """Numbers of event matches by type, then by the value of one field; what has no such test is looked at always."""

    def __init__(self, matches: Mapping[EventMatch, int]) -> None:
        self._always: dict[str, list[tuple[int, Predicate]]] = {}
        self._valued: dict[str, dict[str, dict[str, list[tuple[int, Predicate | None]]]]] = {}
        for match, number in matches.items():
            key = next((test for test in match.tests if test.kind == "one_of"), None)
            rest = [test for test in match.tests if test is not key]
            for kind in match.types:
                if key is None:
                    self._always.setdefault(kind, []).append((number, predicate(match.tests)))
                    continue
                by_value = self._valued.setdefault(kind, {}).setdefault(key.field, {})
                for value in key.values:
                    by_value.setdefault(value, []).append((number, predicate(rest) if rest else None))

    def find(self, kind: str, fields: Fields) -> list[int]:
        """The numbers of the matches that an event of type `kind` passes."""
        found = [number for number, test in self._always.get(kind, ()) if test(fields)]
        valued = self._valued.get(kind)
        if valued is not None:
            for field, by_value in valued.items():
                value = fields.get(field)
                if value is not None:
                    for number, rest in by_value.get(value if type(value) is str else text_of(value), ()):
                        if rest is None or rest(fields):
                            found.append(number)
        return found
