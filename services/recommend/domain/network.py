"""A small neural recommender: a denoising autoencoder of ownership that sees the profile (Vincent et al. 2008; Wu et
al. 2016), one hidden layer. It guesses all holdings from the profile and those that were not hidden."""

from dataclasses import dataclass

import numpy as np

from services.recommend.domain.log_linear import Basis
from services.recommend.domain.product import Flags, Floats, Singles


@dataclass(frozen=True)
class Network:
    """[columns of the profile | owned] → `hidden` rectified units → log-odds of the products.

    `first` (width + p, h), `first_bias` (h,), `last` (h, p), `last_bias` (p,).
    """

    basis: Basis
    first: Floats
    first_bias: Floats
    last: Floats
    last_bias: Floats

    def odds(self, profile: Singles, rest: Flags) -> Floats:
        """Log-odds, shape (n, p)."""
        columns = np.hstack([self.basis.of(profile), rest.astype(np.float64)])
        hidden = np.maximum(columns @ self.first + self.first_bias, 0.0)
        return np.asarray(hidden @ self.last + self.last_bias)
