"""Associations (R002-026): lift is the share of the users of one service who use another, relative to the share of that
other's users among all analysed customers. Four tables, each tested as a whole against chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from services.recommend.domain.product import Catalogue, Flags, Floats, Singles

PRODUCTS, BEARER, PERSON, DATA_VOICE = "PRODUCT_PRODUCT", "BEARER_PRODUCT", "PERSON_PRODUCT", "DATA_VOICE"
FALSE_DISCOVERY = 0.05
_BEARER = ("plan_", "terminal_", "network_", "bearer_", "access_")
_PERSON = ("age", "gender", "tenure", "org_", "level", "star", "tag_")
_DATA = ("dou_", "data_", "gprs_")
_VOICE = ("mou_", "voice_", "call_")
_CLASSES = 4


@dataclass(frozen=True)
class Association:
    """`left` is owned, `right` goes with it. `support` and `confidence` are shares, `both` counts customers.

    `p_value` is Fisher's one-sided (together more often than by chance), `q_value` corrected within the table
    (Benjamini and Hochberg 1995). In the other tables a side is a trait: `name=value` or `name=[low, high)`.
    """

    left: str
    right: str
    both: int
    support: float
    confidence: float
    lift: float
    p_value: float = 1.0
    q_value: float = 1.0
    kind: str = PRODUCTS
    left_name: str = ""
    right_name: str = ""


@dataclass(frozen=True)
class Traits:
    """Customers by trait, `flags` (n, m), with their names and what people call them."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    flags: Flags


def associations(owned: Flags, catalogue: Catalogue) -> list[Association]:
    """Service with service: all ordered pairs that at least one customer owns together, the highest lift first."""
    side = Traits(catalogue.ids, tuple(product.name for product in catalogue.products), owned)
    return table(PRODUCTS, side, side)


def table(kind: str, left: Traits, right: Traits) -> list[Association]:
    """All pairs of a left and a right trait that a customer shows together, by lift (then names). Exact counts.

    With n customers: support = both / n, confidence = both / owners(left), lift = confidence / (owners(right) / n).
    """
    customers = len(left.flags)
    together = left.flags.astype(np.int64).T @ right.flags.astype(np.int64)
    many, others = left.flags.sum(axis=0), right.flags.sum(axis=0)
    place = [
        (one, other) for one, other in zip(*np.nonzero(together), strict=True) if left.names[one] != right.names[other]
    ]
    if not place:
        return []
    rows, columns = (np.array(side) for side in zip(*place, strict=True))
    both = together[rows, columns]
    p_value = stats.hypergeom.sf(both - 1, customers, others[columns], many[rows])
    q_value = false_discovery(np.asarray(p_value))
    found = [
        Association(
            left.names[one],
            right.names[other],
            count := int(both[number]),
            count / customers,
            count / int(many[one]),
            count * customers / (int(many[one]) * int(others[other])),
            float(p_value[number]),
            float(q_value[number]),
            kind,
            left.labels[one],
            right.labels[other],
        )
        for number, (one, other) in enumerate(place)
    ]
    return sorted(found, key=lambda each: (-each.lift, each.left, each.right))


def false_discovery(p_value: Floats) -> Floats:
    """The smallest false discovery rate at which each would be called significant (Benjamini and Hochberg 1995)."""
    order = np.argsort(-p_value, kind="stable")
    places = len(p_value) - np.arange(len(p_value))
    adjusted = np.minimum.accumulate(p_value[order] * len(p_value) / places)
    made = np.empty(len(p_value))
    made[order] = np.minimum(adjusted, 1.0)
    return made


def four_tables(
    owned: Flags, catalogue: Catalogue, names: Sequence[str], values: Singles, labels: Mapping[str, str]
) -> list[Association]:
    """Service with service, bearer and personal information with service, data with voice behaviour (R002-027 … 030).

    `names` and `values` (n, f) are the profile's, NaN for missing.
    """
    services = Traits(catalogue.ids, tuple(product.name for product in catalogue.products), owned)
    found = associations(owned, catalogue)
    for kind, prefixes in ((BEARER, _BEARER), (PERSON, _PERSON)):
        side = traits(names, values, prefixes, labels)
        found += table(kind, side, services)
    return found + table(DATA_VOICE, traits(names, values, _DATA, labels), traits(names, values, _VOICE, labels))


def traits(names: Sequence[str], values: Singles, prefixes: Sequence[str], labels: Mapping[str, str]) -> Traits:
    """Each column of these prefixes as classes: its values when they are few, otherwise quarters of what is known."""
    found: list[str] = []
    called: list[str] = []
    flags: list[Flags] = []
    for number, name in enumerate(names):
        if not name.startswith(tuple(prefixes)):
            continue
        column = values[:, number]
        known = column[~np.isnan(column)]
        kinds = np.unique(known)
        label = labels.get(name.removeprefix("tag_"), labels.get(name, name))
        if len(kinds) < 2:
            continue
        if len(kinds) <= _CLASSES + 2:
            classes = [(f"{kind:g}", column == kind) for kind in kinds]
        else:
            edges = np.unique(np.quantile(known, np.linspace(0, 1, _CLASSES + 1)))
            last = len(edges) - 2
            classes = [
                (
                    f"[{edges[part]:.4g}, {edges[part + 1]:.4g}{']' if part == last else ')'}",
                    (column >= edges[part]) & ((column <= edges[-1]) if part == last else (column < edges[part + 1])),
                )
                for part in range(len(edges) - 1)
            ]
        for told, flag in classes:
            found.append(f"{name}={told}")
            called.append(f"{label}={told}")
            flags.append(flag)
    made = np.column_stack(flags) if flags else np.zeros((len(values), 0), dtype=bool)
    return Traits(tuple(found), tuple(called), made)
