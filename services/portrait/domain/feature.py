"""Features: numbers about a customer by catalogue name, for models.

What a customer owns is not among them, nor a tag that is made of it: a recommender that learns from features would
otherwise be told the answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from services.portrait.domain.anchor import ROLES, Anchors
from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.place import Places, kilometres
from services.portrait.domain.statistic import Column
from services.portrait.domain.tag.catalogue import Catalogue
from services.portrait.domain.tag.definition import Tag
from services.portrait.domain.tag.rule import Stated, Tagged, leaves
from services.portrait.domain.tag.verdict import Verdict
from services.portrait.domain.track import DwellDays

STATISTICS = (
    "age", "terminal_5g", "tenure_months", "arpu_1m", "arpu_3m_avg", "arpu_prev_3m_avg", "arpu_slope_6m", "arpu_cv_6m",
    "mou_1m", "mou_prev_3m_avg", "sms_mo_1m", "dou_mb_1m", "dou_prev_3m_avg",
)  # fmt: skip
_OWNERSHIP = frozenset(
    {"products_active", "product_music", "product_mail", "product_pay", "product_im", "product_news"}
)

Floats = npt.NDArray[np.float64]


def features(
    *,
    columns: Mapping[str, Column],
    dwell: DwellDays,
    workdays: npt.NDArray[np.bool_],
    anchors: Mapping[str, Anchors],
    radius_km: Floats,
    verdicts: Sequence[Verdict],
    catalogue: Catalogue,
    places: Places,
    branches: Sequence[str],
    customers: int,
) -> dict[str, npt.NDArray[np.float32]]:
    """All features of customers 0 … customers − 1, by name in a fixed order; NaN where one is not known.

    `branches` are the coarsest place classes. Shares are of the dwell seen in the window.
    """
    found: dict[str, npt.NDArray[np.generic]] = {name: columns[name] for name in STATISTICS}
    found["sex_male"] = _is(columns["gender"], "M")
    found["plan_5g"] = _is(columns["plan_tier"], "5G")
    found |= _shares(dwell, workdays, anchors, places, branches, customers)
    found["radius_km"] = radius_km
    found |= _anchored(anchors, places)
    for tag in catalogue.tags:
        if tag.kind == "flag" and not _tells_ownership(tag, catalogue):
            flags = np.zeros(customers)
            for verdict in verdicts:
                if verdict.tag is tag:
                    flags[verdict.bearers] = 1.0
            found[f"tag_{tag.code}"] = flags
    return {name: values.astype(np.float32) for name, values in found.items()}


def _is(words: Column, word: str) -> Floats:
    return np.where(words == "", np.nan, (words == word).astype(np.float64))


def _shares(
    dwell: DwellDays,
    workdays: npt.NDArray[np.bool_],
    anchors: Mapping[str, Anchors],
    places: Places,
    branches: Sequence[str],
    customers: int,
) -> dict[str, npt.NDArray[np.generic]]:
    secs = dwell.secs.astype(np.float64)

    def share(chosen: npt.NDArray[np.bool_], of: npt.NDArray[Any]) -> Floats:
        part = np.bincount(dwell.customer[chosen], weights=secs[chosen], minlength=customers)
        return np.where(of > 0, part / np.maximum(of, 1), np.nan)

    total = np.bincount(dwell.customer, weights=secs, minlength=customers)
    rest = ~workdays[dwell.day]
    rest_total = np.bincount(dwell.customer[rest], weights=secs[rest], minlength=customers)
    at = {role: anchors[role].place[dwell.customer] == dwell.place for role in ROLES if role in anchors}
    number = {name: at for at, name in enumerate(branches)}
    of_place = np.array([number.get(code.partition(".")[0], -1) for code in places.class_code], dtype=np.int16)
    branch = of_place[dwell.place]
    found: dict[str, npt.NDArray[np.generic]] = {f"share_{role}": share(here, total) for role, here in at.items()}
    out = ~np.logical_or.reduce(list(at.values())) if at else np.ones(len(secs), dtype=np.bool_)
    found |= {f"share_{name}": share(out & (branch == at), total) for name, at in number.items()}
    found |= {f"share_{name}": share(dwell.slot == slot, total) for slot, name in enumerate(SLOTS)}
    found["share_rest_out"] = share(rest & out, rest_total)
    pairs = np.unique(dwell.customer.astype(np.int64) << 32 | dwell.place)
    found["places"] = np.bincount(pairs >> 32, minlength=customers)
    days = np.unique(dwell.customer.astype(np.int64) << 32 | dwell.day)
    found["days_seen"] = np.bincount(days >> 32, minlength=customers)
    return found


def _anchored(anchors: Mapping[str, Anchors], places: Places) -> dict[str, npt.NDArray[np.generic]]:
    found: dict[str, npt.NDArray[np.generic]] = {
        f"{role}_confidence": anchors[role].confidence for role in ROLES if role in anchors
    }
    if "home" in anchors and "work" in anchors:
        lon, lat = np.append(places.lon, np.nan), np.append(places.lat, np.nan)
        home, work = anchors["home"].place, anchors["work"].place
        found["commute_km"] = kilometres(lon[home], lat[home], lon[work], lat[work])
    return found


def _tells_ownership(tag: Tag, catalogue: Catalogue) -> bool:
    by_code = {each.code: each for each in catalogue.tags}
    for case in tag.cases:
        for leaf in leaves(case.rule, positive=False):
            if isinstance(leaf, Stated) and any(test.column in _OWNERSHIP for test in leaf.tests):
                return True
            if isinstance(leaf, Tagged) and _tells_ownership(by_code[leaf.code], catalogue):
                return True
    return False
