"""Stat columns that are counted of detail feeds: definitions as data, of the same items as the wide table's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.portrait.domain.subscription import Kind
from services.portrait.domain.wide import Item

_TIMES = {"call_details": "start_time", "data_details": "start_time", "coarse_portrait": "month"}
_KINDS = ("sum", "distinct", "top5", "share", "told", "count", "days_of", "share_rows", "recency")


class DetailsInvalid(ValueError):
    """The definitions cannot be used; the message names where and what."""


@dataclass(frozen=True)
class Details:
    """The columns by what they are counted of; `unions` names feeds, and their column, that are read as one; `held` are
    the columns that tell who holds a product of a kind."""

    items: tuple[Item, ...]
    unions: Mapping[str, Mapping[str, str]]
    held: Mapping[str, Kind] = field(default_factory=dict)

    @property
    def feeds(self) -> frozenset[str]:
        """The feeds of ingest that are read."""
        own = {item.source for item in self.items} - set(self.unions) - {CONTACTS}
        return frozenset(own.union(LINES, *self.unions.values()))


CONTACTS = "contacts"
"""The source that is this service's own projection of contacts."""
LINES = frozenset({"classed_lines"})
"""The feed of called numbers with their class."""


def parse_details(document: Any) -> Details:
    """Details of a document; raises DetailsInvalid."""
    if not isinstance(document, dict) or document.get("format") != "details/1":
        raise DetailsInvalid("format: expected details/1")
    items = [_item(name, dict(body)) for name, body in document["columns"].items()]
    held = {name: _kind(name, body) for name, body in document.get("held", {}).items()}
    return Details(tuple(items), document.get("unions", {}), held)


def _kind(name: str, body: Any) -> Kind:
    if not isinstance(body, dict) or not body or not body.keys() <= {"categories", "words"}:
        raise DetailsInvalid(f"held.{name}: expected categories, words, or both")
    return Kind(tuple(body.get("categories", ())), tuple(body.get("words", ())))


def _item(name: str, body: dict[str, Any]) -> Item:
    kinds = [kind for kind in _KINDS if kind in body]
    if len(kinds) != 1:
        raise DetailsInvalid(f"{name}: expected one of {', '.join(_KINDS)}")
    told = body.pop(kinds[0])
    (column, values), *more = body.pop("where", {"": ()}).items()
    source, days, per = body.pop("source", ""), body.pop("days", 0), body.pop("per", 1)
    hours, joins = tuple(body.pop("hours", (0, 0))), body.pop("joins", "")
    if more or body or not source or days < 1:
        raise DetailsInvalid(f"{name}: expected source, days, and where of one column; no {', '.join(body) or 'more'}")
    return Item(
        name, "usage", "", source, time=_TIMES.get(source, "time"), days=days,
        kind={"days_of": "days"}.get(kinds[0], kinds[0]), column=told if isinstance(told, str) else "",
        where=(column, tuple(values)), hours=hours, needs=joins, per=per,
    )  # fmt: skip
