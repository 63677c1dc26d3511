"""The feature catalogue: bases × windows × aggregations, multiplied out into items with their definition."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TYPES = ("profile", "consumption", "usage", "contact", "content", "place", "product")
DERIVATIONS = ("statistics", "model", "reasoning")
CATALOGUES = ("features", "tags", "places", "models", "contact", "recommend", "run")
"""Where fields of a portrait are defined; `run` is the run itself."""
_MEASURES = ("sum", "mean", "distinct", "top5", "both", "entropy", "share", "told", "share_rows", "recency")
_OF_COLUMN = ("sum", "mean", "distinct", "top5", "both", "entropy", "share", "told")


class FeaturesInvalid(ValueError):
    """The catalogue of features cannot be used; the message names where and what."""


@dataclass(frozen=True)
class Item:
    """One feature: what it is, and how it is computed. `where` and `hours` choose rows; `kind` says how they are put
    together (count, days, sum, mean, distinct, top5, both, entropy, share, share_rows, recency), over `column`; `told`
    is the column as the latest delivery tells it, 1 where it tells only that it is so, 0 of whom it tells nothing."""

    name: str
    type: str
    definition: str
    source: str
    unit: str = ""
    owner: str = ""
    refresh: str = "daily"
    derivation: str = "statistics"
    raw: bool = False
    time: str = ""
    days: int = 0
    kind: str = ""
    column: str = ""
    where: tuple[str, tuple[Any, ...]] = ("", ())
    hours: tuple[int, int] = (0, 0)
    needs: str = ""
    """A column that is joined to called numbers (their class, how many others call them); without it the item is not
    computed."""
    per: float = 1
    """A sum is divided by it."""
    base: str = ""
    """What is counted, of the items that one set multiplies out."""

    @property
    def path(self) -> tuple[str, ...]:
        """Its place in the tree of features: type, source, then base and window where it has them."""
        window = (f"{self.days}d",) if self.base and self.days else ()
        return self.type, self.source, *((self.base,) if self.base else ()), *window


@dataclass(frozen=True)
class Book:
    """What the catalogue says beside its items: its version, and by which entry of which catalogue each field of a
    portrait is defined (`worth.tier`: tags, VA01)."""

    version: str
    portrait: Mapping[str, tuple[str, str]]


def parse_book(document: Any) -> Book:
    """Book of a document; raises FeaturesInvalid."""
    entries = {field: tuple(str(told).split(":")) for field, told in document.get("portrait", {}).items()}
    for field, told in entries.items():
        if len(told) != 2 or told[0] not in CATALOGUES:
            raise FeaturesInvalid(f"portrait.{field}: expected catalogue:entry, of {', '.join(CATALOGUES)}")
    return Book(
        str(document.get("catalogue_version", "")), {field: (told[0], told[1]) for field, told in entries.items()}
    )


def parse_features(document: Any) -> tuple[Item, ...]:
    """Items of a document by name; raises FeaturesInvalid."""
    if not isinstance(document, dict) or document.get("format") != "features/1":
        raise FeaturesInvalid("format: expected features/1")
    defaults = document.get("defaults", {})
    items: dict[str, Item] = {}
    for number, each in enumerate(document.get("sets", ())):
        for item in _set(each, defaults, f"sets[{number}]"):
            if item.name in items:
                raise FeaturesInvalid(f"sets[{number}]: {item.name} is defined twice")
            items[item.name] = item
    for each in document.get("raw", ()):
        for column, zh in each["columns"].items():
            items[column] = Item(column, each["type"], zh, each["source"], owner=defaults["owner"], derivation="",
                                 raw=True)  # fmt: skip
    for each in document.get("run", ()):
        for column, zh in each["columns"].items():
            items[column] = Item(column, each["type"], zh, each["source"], owner=defaults["owner"], refresh="monthly",
                                 derivation=each["derivation"])  # fmt: skip
    for each in document.get("models", ()):
        items[each["name"]] = Item(each["name"], each["type"], each["zh"], each["source"], each["unit"],
                                   defaults["owner"], "monthly", "model")  # fmt: skip
    for item in items.values():
        if item.type not in TYPES or (not item.raw and item.derivation not in DERIVATIONS):
            raise FeaturesInvalid(f"{item.name}: unknown type or derivation")
    return tuple(items[name] for name in sorted(items))


def _set(body: Mapping[str, Any], defaults: Mapping[str, Any], path: str) -> Iterator[Item]:
    bases: dict[str, Mapping[str, Any]] = dict(body.get("bases", {}))
    if "each" in body:
        each = body["each"]
        for value, zh in each["values"].items():
            if not isinstance(value, str):
                raise FeaturesInvalid(f"{path}.each.values: {value!r} is not a word; put it in quotes")
            bases[f"{each['prefix']}_{value}"] = {"zh": f"{zh}{each['zh']}", "where": {each["column"]: [value]}}
    if not bases or not body.get("measures") or not body.get("windows"):
        raise FeaturesInvalid(f"{path}: expected bases or each, measures and windows")
    for base, about in bases.items():
        for measure, how in body["measures"].items():
            kind = next((name for name in _MEASURES if name in how), measure)
            if kind not in (*_MEASURES, "count", "days"):
                raise FeaturesInvalid(f"{path}.measures.{measure}: none of {', '.join(_MEASURES)}, count, days")
            for window in body["windows"]:
                (column, values), *more = about.get("where", {"": ()}).items()
                if more:
                    raise FeaturesInvalid(f"{path}.bases.{base}.where: one column")
                yield Item(
                    name=f"{base}_{measure}_{window}",
                    type=body["type"],
                    definition=f"近{window.removesuffix('d')}天{about['zh']}{how['zh']}",
                    source=body["source"],
                    unit=how.get("unit", ""),
                    owner=defaults["owner"],
                    refresh=defaults["refresh"],
                    derivation=how.get("derivation", defaults["derivation"]),
                    time=body["time"],
                    days=int(window.removesuffix("d")),
                    kind=kind,
                    column=str(how.get(kind, "")) if kind in _OF_COLUMN else "",
                    where=(column, tuple(values)),
                    hours=tuple(about.get("hours", (0, 0))),
                    needs=body.get("classed", ""),
                    base=base,
                )


def by_source(items: Sequence[Item]) -> dict[str, list[Item]]:
    """The items that are computed, by the feed of their one scan."""
    found: dict[str, list[Item]] = {}
    for item in items:
        if item.kind:
            found.setdefault(item.source, []).append(item)
    return found
