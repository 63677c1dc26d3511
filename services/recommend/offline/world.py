"""The analyst's files as one world of customers, profiles and holdings, with everything that was noticed on the way."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.recommend.domain import encoding, feature
from services.recommend.domain.product import Catalogue, Flags, Floats, Product, Singles
from services.recommend.offline.tables import BadInput, Source, columns, seconds

CUSTOMER, PRODUCT, TIME = "customer_id", "product_id", "time"
MOST_CELLS = 150_000_000
"""Customers × products that are held at once; more customers are sampled by seed."""
MOST_CUSTOMERS = 50_000
MOST_PRODUCTS = 3_000
_FEWEST_CUSTOMERS = 20


@dataclass(frozen=True)
class Read:
    """`profile` (n, f) with NaN for missing, `owned` (n, p), `time` (n, p) or None; the rest is for the report."""

    profile: Singles
    owned: Flags
    time: Floats | None
    catalogue: Catalogue
    counts: dict[str, int]
    warnings: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)


def assemble(interactions: Source, customers: Source, products: Source | None, seed: int) -> Read:
    """Join the files. Raises BadInput when nothing can be learned from them."""
    warnings: list[str] = []
    ids = _unique_ids(customers)
    place = {each: number for number, each in enumerate(ids)}
    who = interactions.table[CUSTOMER].to_pylist()
    what = interactions.table[PRODUCT].to_pylist()
    blank = sum(1 for left, right in zip(who, what, strict=True) if not left or not right)
    unknown = {each for each in who if each and each not in place}
    if blank:
        warnings.append(f"{blank} interactions without a customer_id or product_id are left out")
    if unknown:
        warnings.append(f"{len(unknown)} customers of the interactions are not in the customers file: left out")
    rows = [n for n, (left, right) in enumerate(zip(who, what, strict=True)) if left in place and right]
    if not rows:
        raise BadInput(f"{interactions.path}: no customer of it is in {customers.path}")
    catalogue = _catalogue([what[n] for n in rows], products, warnings)
    if TIME not in _names(interactions):
        warnings.append("time: the interactions have no such column: no temporal protocol")
    times = seconds(interactions.table[TIME], f"{interactions.path}: {TIME}") if TIME in _names(interactions) else None
    owned = np.zeros((len(ids), len(catalogue)), dtype=bool)
    came = np.full(owned.shape, np.nan) if times is not None else None
    repeats = 0
    for n in rows:
        column = catalogue.index.get(what[n])
        if column is None:
            continue
        cell = place[who[n]], column
        repeats += bool(owned[cell])
        owned[cell] = True
        if came is not None and times is not None:
            came[cell] = np.fmin(came[cell], times[n])  # the first time counts, one that is not known does not
    if repeats:
        warnings.append(f"{repeats} interactions repeat a customer and product: the first one counts")
    _check(owned, interactions)
    if came is not None and (np.isnan(came[owned]).all() or len(np.unique(came[owned])) < 5):
        warnings.append("time: fewer than five different times: no temporal protocol")
        came = None
    counts = {"customers": len(ids), "interactions": len(who), "products": len(catalogue), "holdings": int(owned.sum())}
    kept = _sample(len(ids), len(catalogue), seed, warnings)
    encoded = encoding.encode(columns(customers.table, [CUSTOMER]))
    profile, names, dropped = _clean(encoded, owned)
    warnings += [f"{name}: left out: {why}" for name, why in dropped.items()]
    return Read(
        profile[kept],
        owned[kept],
        came[kept] if came is not None else None,
        catalogue,
        counts | {"customers_used": len(kept), "features": len(names)},
        [*warnings, *encoded.warnings],
        names,
        dropped,
    )


def _unique_ids(customers: Source) -> list[str]:
    ids: list[Any] = customers.table[CUSTOMER].to_pylist()
    if not all(ids):
        raise BadInput(f"{customers.path}: line {ids.index(next(each for each in ids if not each)) + 2}: no {CUSTOMER}")
    _once(customers, ids)
    return ids


def _once(source: Source, ids: list[Any]) -> None:
    twice, many = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if many > 1:
        name = CUSTOMER if CUSTOMER in _names(source) else PRODUCT
        raise BadInput(f"{source.path}: {name} {twice} stands there {many} times")


def _names(source: Source) -> list[str]:
    names: list[str] = source.table.column_names
    return names


def _catalogue(bought: list[str], products: Source | None, warnings: list[str]) -> Catalogue:
    count = Counter(bought)
    if products is None:
        known = {each: Product(each, each, "", 0, 0) for each in count}
    else:
        table = products.table
        plain = {name: table[name].to_pylist() for name in table.column_names}
        blank = [None] * len(table)
        told = zip(
            plain[PRODUCT],
            plain.get("name", blank),
            plain.get("category", blank),
            plain.get("requires_product_id", blank),
            plain.get("exclusive_group", blank),
            strict=True,
        )
        rows = [row for row in told if row[0]]
        if len(rows) < len(table):
            warnings.append(f"{len(table) - len(rows)} rows of the products file without a product_id are left out")
        _once(products, [row[0] for row in rows])
        known = {row[0]: Product(row[0], str(row[1] or row[0]), str(row[2] or ""), 0, 0, *_rules(row)) for row in rows}
        strange = sorted(set(count) - set(known))
        if strange:
            warnings.append(
                f"{len(strange)} products of the interactions are not in the products file, such as {strange[0]}"
            )
            known |= {each: Product(each, each, "", 0, 0) for each in strange}
        known = {each: product for each, product in known.items() if each in count}
    _warn_of_rules(known, warnings)
    chosen = [each for each, _ in sorted(count.items(), key=lambda item: (-item[1], item[0]))[:MOST_PRODUCTS]]
    if len(count) > MOST_PRODUCTS:
        warnings.append(f"the {MOST_PRODUCTS} most owned of {len(count)} products are looked at")
    return Catalogue.of([known[each] for each in chosen])


def _warn_of_rules(known: dict[str, Product], warnings: list[str]) -> None:
    """Tell of prerequisites that make a product eligible for nobody: it is asked for only where somebody owns it."""
    for each, product in sorted(known.items()):
        seen, at = [each], product.requires_product_id
        while at in known and at not in seen:
            seen.append(at)
            at = known[at].requires_product_id
        if at == each:
            warnings.append(f"{each} requires itself{' through ' + ', '.join(seen[1:]) if len(seen) > 1 else ''}")
        elif product.requires_product_id and product.requires_product_id not in known:
            warnings.append(f"{each} requires {product.requires_product_id}, which nobody owns")


def _rules(row: tuple[Any, ...]) -> tuple[str, str]:
    return str(row[3] or ""), str(row[4] or "")


def _check(owned: Flags, interactions: Source) -> None:
    holders = owned.sum(axis=1)
    if owned.shape[1] < 2:
        raise BadInput(f"{interactions.path}: one class: fewer than two products are owned by anybody")
    if int((holders > 0).sum()) < _FEWEST_CUSTOMERS:
        raise BadInput(f"{interactions.path}: fewer than {_FEWEST_CUSTOMERS} known customers own anything")
    if int(holders.max()) < 2:
        raise BadInput(f"{interactions.path}: no overlap: nobody owns two products")


def _sample(customers: int, products: int, seed: int, warnings: list[str]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    most = min(MOST_CUSTOMERS, MOST_CELLS // products)
    if customers <= most:
        return np.arange(customers)
    warnings.append(f"{most} of {customers} customers are looked at, sampled by the seed")
    return np.sort(np.random.default_rng([seed, 3]).permutation(customers)[:most])


def _clean(encoded: encoding.Encoded, owned: Flags) -> tuple[Singles, list[str], dict[str, str]]:
    choice = feature.choose(encoded.names, encoded.values, owned)
    kept, dropped = list(choice.kept), {**encoded.dropped, **choice.dropped}
    while True:  # one leak after the other: a column is a leak given the others, and these may be leaks themselves
        names = [encoded.names[number] for number in kept]
        found = encoding.leaks(names, encoded.values[:, kept], owned)
        if not found:
            return encoded.values[:, kept], names, dropped
        dropped |= found
        kept = [number for number, name in zip(kept, names, strict=True) if name not in found]
