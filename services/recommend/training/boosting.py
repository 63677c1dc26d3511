"""Gradient boosting (LightGBM, Ke et al. 2017): per product the log-odds given profile and other products."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from services.recommend.domain.product import Flags, Floats, Singles

MOST_ROWS = 15_000
MOST_ROUNDS = 300
_PATIENCE = 30
_RECIPE: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 30,
    "path_smooth": 20.0,
    "lambda_l2": 10.0,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    "num_threads": 1,
}
_DATA = {"verbosity": -1, "num_threads": 1}
_FEWEST = 10
_LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Boosting:
    """Boosters per product for who owns something (`warm`) and for the profile alone (`cold`), and their trees.

    A product with too few cases has none: its odds are `base` (2, p), row 1 warm. Several boosters are averaged.
    """

    warm: tuple[tuple[lightgbm.Booster, ...], ...]
    cold: tuple[tuple[lightgbm.Booster, ...], ...]
    rounds: tuple[int, ...]
    base: Floats

    def odds(self, profile: Singles, rest: Flags) -> Floats:
        """Log-odds, shape (n, p)."""
        owns = rest.any(axis=1)
        told = np.zeros(rest.shape)
        for side, rows, boosters in ((1, owns, self.warm), (0, ~owns, self.cold)):
            if rows.any():
                columns = joined(profile[rows], rest[rows])
                told[rows] = np.column_stack(
                    [_told(mine, columns, self.base[side, product]) for product, mine in enumerate(boosters)]
                )
        return told


def joined(profile: Singles, rest: Flags) -> Singles:
    """The columns that boosters see: profile and products. (A product does not see itself: it is not split on.)"""
    return np.hstack([profile, rest.astype(np.float32)])


def fit(
    profile: Singles,
    owned: Flags,
    *,
    seed: int,
    threads: int,
    valid: tuple[Singles, Flags] | None = None,
    rounds: Sequence[int] = (),
    bags: int = 1,
    most: int = MOST_ROUNDS,
    rate: float = 0.05,
    worth: tuple[Floats, Floats] | None = None,
    leaves: int = 15,
) -> Boosting:
    """Learn from customers; with `valid` (profile, owned) each product stops when it gets worse on those customers.

    Without it `rounds` (Boosting.rounds of a fit with it) says when. `bags` boosters of other seeds are averaged. With
    `worth`, of the customers (n,) and of those of `valid`, there are cold boosters alone, and they learn what each
    holding is worth.
    """
    profile, owned = profile[:MOST_ROWS], owned[:MOST_ROWS]
    products = owned.shape[1]
    yes = owned.sum(axis=0)
    base = np.tile(np.log((yes + 0.5) / (len(owned) - yes + 0.5)), (2, 1))
    columns = joined(profile, owned)
    other = None if valid is None else joined(*valid)

    own = {"learning_rate": rate, "num_leaves": leaves}

    def one(place: int) -> tuple[tuple[lightgbm.Booster, ...], int]:
        product, warm = place % products, place < products
        held = owned[:, product]
        weigh = worth is not None and not warm
        goal = {**own, "objective": "cross_entropy"} if weigh else own
        label = held * worth[0][: len(held)] if weigh and worth is not None else held.astype(np.int32)
        few = min(int(yes[product]), len(held) - int(yes[product])) < _FEWEST
        if few or (rounds and not rounds[place]) or (warm and worth is not None):
            return (), 0
        kept = np.zeros(columns.shape[1], dtype=bool)
        kept[: columns.shape[1] if warm else profile.shape[1]] = True
        kept[profile.shape[1] + product] = False
        data = lightgbm.Dataset(_masked(columns, kept), label, params=_DATA)
        if other is not None and valid is not None:
            mine = valid[1][:, product]
            answers = mine * worth[1] if weigh and worth is not None else mine.astype(np.int32)
            told = data.create_valid(_masked(other, kept), answers)
            stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
            found = lightgbm.train(
                {**_RECIPE, **goal, "seed": seed % 2**31}, data, most, valid_sets=[told], callbacks=[stop]
            )
            return (found,), max(found.best_iteration, _LEAST_ROUNDS)
        recipes = [{**_RECIPE, **goal, "seed": (seed + 7919 * bag) % 2**31} for bag in range(bags)]
        return tuple(lightgbm.train(recipe, data, rounds[place]) for recipe in recipes), rounds[place]

    with ThreadPoolExecutor(threads) as pool:  # a booster each on a core: small data gain nothing from more
        found = list(pool.map(one, range(2 * products)))
    boosters = tuple(each for each, _ in found)
    return Boosting(boosters[:products], boosters[products:], tuple(number for _, number in found), base)


def _masked(columns: Singles, kept: Flags) -> Singles:
    """A copy in which nothing but what is `kept` varies, so that every booster has the same columns."""
    return np.where(kept, columns, np.float32(0.0))


def _told(boosters: Sequence[lightgbm.Booster], columns: Singles, base: float) -> Floats:
    if not boosters:
        return np.full(len(columns), base)
    return np.asarray(np.mean([each.predict(columns, raw_score=True, num_threads=1) for each in boosters], axis=0))
