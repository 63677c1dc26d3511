"""A model told as one shallow tree, for people to read; what it leaves out is said by its fidelity."""

from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from services.recommend.domain.product import Floats, Singles

DEPTH = 3
_FEWEST = 20
"""Customers below whom a leaf says nothing."""


def told(names: list[str], values: Singles, chance: Floats) -> dict[str, Any]:
    """The tree nearest to `chance` (n,), of the columns `names` of `values` (n, f), NaN for missing.

    `root` is a node {customers, rate} and, where it splits, {feature, threshold, missing_low, low, high}: `low` are
    those at most at the threshold, and those without a value where `missing_low` says so. `fidelity` is the share of
    the chances' variance that the leaves account for, 0 to 1 (a surrogate's R²; Craven and Shavlik 1996).
    """
    fewest = min(_FEWEST, max(1, len(chance) // 4))
    made = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=fewest, random_state=0).fit(values, chance)
    spread = float(np.var(chance))
    lost = float(np.mean((chance - made.predict(values)) ** 2))
    return {"root": _node(made.tree_, 0, names), "fidelity": 1.0 - lost / spread if spread > 1e-12 else 1.0}


def _node(tree: Any, at: int, names: list[str]) -> dict[str, Any]:
    node = {"customers": int(tree.n_node_samples[at]), "rate": float(tree.value[at].item())}
    if tree.children_left[at] < 0:
        return node
    return node | {
        "feature": names[tree.feature[at]],
        "threshold": float(tree.threshold[at]),
        "missing_low": bool(tree.missing_go_to_left[at]),
        "low": _node(tree, int(tree.children_left[at]), names),
        "high": _node(tree, int(tree.children_right[at]), names),
    }
