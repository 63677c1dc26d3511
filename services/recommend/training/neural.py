"""Fit the neural recommender (R002-078) with scikit-learn's MLP: on a CPU, in seconds."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from services.recommend.domain.log_linear import basis_of
from services.recommend.domain.network import Network
from services.recommend.domain.product import Flags, Singles
from services.recommend.training.linear import DECIMALS

MOST_ROWS = 15_000
_HIDDEN, _MASKS, _ROUNDS = 48, 3, 40


def fit(profile: Singles, owned: Flags, seed: int) -> Network:
    """Learn from customers, `profile` (n, f) and `owned` (n, p); the first MOST_ROWS of them.

    Each is shown as he is, with nothing, and with every holding hidden by chance: what is hidden is to be guessed.
    """
    profile, owned = profile[:MOST_ROWS], owned[:MOST_ROWS]
    rng = np.random.default_rng(seed)
    basis = basis_of(profile, 2)
    columns = basis.of(profile)
    seen = [np.zeros_like(owned), *(owned & (rng.random(owned.shape) < 0.6) for _ in range(_MASKS))]
    x = np.hstack([np.tile(columns, (len(seen), 1)), np.vstack(seen).astype(np.float64)])
    y = np.tile(owned.astype(np.int64), (len(seen), 1))
    machine = MLPClassifier(
        (_HIDDEN,),
        alpha=1e-2,
        batch_size=256,
        learning_rate_init=3e-3,
        max_iter=_ROUNDS,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=4,
        random_state=seed % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the rounds are the budget
        machine.fit(x, y)
    first, last = (np.round(each, DECIMALS) for each in machine.coefs_)
    first_bias, last_bias = (np.round(each, DECIMALS) for each in machine.intercepts_)
    return Network(basis, first, first_bias, last, last_bias)
