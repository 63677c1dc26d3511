"""The two forests of scikit-learn: the next-product forest, and the one on the profile alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from services.recommend.domain import acceptance, rf_cf
from services.recommend.domain.neighbourhood import Leaves, Situations
from services.recommend.domain.product import Catalogue, Flags, Floats, Singles
from services.recommend.domain.rf_cf import Questions

MOST_ROWS = 40_000


@dataclass(frozen=True)
class Forests:
    """`warm` on [profile | rest] → hidden or NONE, `cold` on the profile → who owns what."""

    warm: RandomForestClassifier
    cold: RandomForestRegressor
    products: int

    def distribution(self, profile: Singles, rest: Flags) -> Floats:
        """The reference for every other form of the forest, in float64, shape (n, p + 1)."""
        shares = np.zeros((len(rest), self.products + 1))
        owns = np.asarray(rest.any(axis=1))
        if owns.any():
            told = self.warm.predict_proba(np.hstack([profile[owns], rest[owns]]))
            shares[np.ix_(owns, self.warm.classes_)] = told
        if not owns.all():
            shares[~owns, :-1] = self.cold.predict(profile[~owns]).reshape(-1, self.products)
            shares[~owns, -1] = 1.0
        return shares

    def odds(self, profile: Singles, rest: Flags) -> Floats:
        """Log-odds, shape (n, p)."""
        return acceptance.log_odds(self.distribution(profile, rest), np.asarray(rest.any(axis=1)))

    def leaves(self, profile: Singles, rest: Flags) -> Leaves:
        """The leaf in every tree, shape (n, trees), of the warm forest."""
        return np.asarray(self.warm.apply(np.hstack([profile, rest])))

    def situations(self, profile: Singles, owned: Flags, catalogue: Catalogue) -> Situations:
        """The training customers with each holding hidden, as neighbours of who owns something."""
        asked = rf_cf.hide_each(owned, catalogue)
        return Situations(self.leaves(profile[asked.row], asked.rest), asked.row, asked.hidden, len(owned))

    def cold_situations(self, profile: Singles, owned: Flags) -> Situations:
        """The training customers with every holding, as neighbours of whom only the profile is known."""
        row, held = np.nonzero(owned)
        return Situations(np.asarray(self.cold.apply(profile))[row], row, held, len(owned))


def grow(
    profile: Singles,
    owned: Flags,
    catalogue: Catalogue,
    *,
    leaf: int,
    trees: int,
    seed: int,
    threads: int,
    most_rows: int = MOST_ROWS,
    worth: Floats | None = None,
    columns: str | float = "sqrt",
    unasked: str = "",
) -> Forests:
    """Learn from customers: `profile` (n, f) with NaN for missing, `owned` (n, p).

    Of more than `most_rows` questions each tree draws so many, so that a million customers cost what many cost. With
    `worth` (n,) the cold forest learns what each holding is worth instead of that it is one; it looks at `columns` of
    the columns at each split. The forest that nobody will ask, "warm" or "cold", is one tree.
    """
    asked = joined(rf_cf.hide_each(owned, catalogue), rf_cf.hide_nothing(owned))
    recipe: dict[str, Any] = {
        "n_estimators": trees,
        "min_samples_leaf": leaf,
        "max_features": "sqrt",
        "random_state": seed % 2**32,
        "n_jobs": threads,
    }
    drawn = [most_rows if rows > most_rows else None for rows in (len(asked.row), len(owned))]
    one = {"n_estimators": 1}
    warm = RandomForestClassifier(max_samples=drawn[0], **recipe | (one if unasked == "warm" else {}))
    warm.fit(np.hstack([profile[asked.row], asked.rest]), asked.hidden)
    told = owned.astype(np.float64) if worth is None else owned * worth[:, None]
    recipe |= {"max_features": columns, **(one if unasked == "cold" else {})}
    cold = RandomForestRegressor(max_samples=drawn[1], **recipe).fit(profile, told)
    for forest in (warm, cold):  # threads add up in any order, and the order shows in the last bit
        forest.set_params(n_jobs=1)
    return Forests(warm, cold, owned.shape[1])


def joined(first: Questions, second: Questions) -> Questions:
    """Both, one after the other."""
    return Questions(
        np.concatenate([first.row, second.row]),
        np.concatenate([first.rest, second.rest]),
        np.concatenate([first.hidden, second.hidden]),
    )
