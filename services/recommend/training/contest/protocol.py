"""How questions are made: leave one product out, the last 20 % of time, and customers without a history.

A split holds what may be learned from and what is asked; its `inner` split is made of the learning side alone, in the
same way, and is all that tuning ever sees.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from services.recommend.domain import rf_cf
from services.recommend.domain.product import Catalogue, Flags, Floats, Ints

FOLDS = 5
MOST_QUERIES = 60_000
"""More than that in a protocol, and one fold of FOLDS is asked instead of all."""
MOST_ASKED = 20_000
_FEWEST = 10


@dataclass(frozen=True)
class World:
    """The data: `profile` (n, f) with NaN for missing, `owned` (n, p), `time` (n, p) when it came (NaN unknown)."""

    profile: "np.ndarray[tuple[int, int], np.dtype[np.float32]]"
    owned: Flags
    time: Floats | None
    catalogue: Catalogue


@dataclass(frozen=True)
class Asked:
    """Question i: customer `row[i]` with the products `rest[i]`; `relevant[i]` are to be found among `allowed[i]`."""

    row: Ints
    rest: Flags
    allowed: Flags
    relevant: Flags

    def first(self, most: int, rng: np.random.Generator) -> "Asked":
        """At most so many questions, of customers chosen at random."""
        if len(self.row) <= most:
            return self
        order = rng.permutation(np.unique(self.row))
        count = np.bincount(self.row, minlength=int(order.max()) + 1)[order]
        kept = np.isin(self.row, order[np.cumsum(count) <= most])
        return Asked(self.row[kept], self.rest[kept], self.allowed[kept], self.relevant[kept])


@dataclass(frozen=True)
class Split:
    """Learn from the customers `learn` holding `owned` (n, p); `inner` is for tuning."""

    learn: Ints
    owned: Flags
    asked: Asked
    inner: "Split | None" = None


def leave_one_out(world: World, seed: int) -> Iterator[Split]:
    """Every holding of held-out customers with at least two is hidden once."""
    queries = int(world.owned.sum(axis=1)[world.owned.sum(axis=1) >= 2].sum())
    for learn, test, rng in _folds(len(world.owned), queries, seed):
        yield _left_out(world, learn, test, rng, inner=True)


def cold_start(world: World, seed: int) -> Iterator[Split]:
    """Held-out customers who own something, as if nothing were known of it."""
    for learn, test, rng in _folds(len(world.owned), int(world.owned.any(axis=1).sum()), seed):
        yield _unknown(world, learn, test, rng, inner=True)


def temporal(world: World, seed: int) -> Iterator[Split]:
    """What came in the last 20 % of the dated holdings is asked of those who owned something before."""
    assert world.time is not None
    split = _until(world, float(np.inf), seed)
    if split is None:
        return
    told = np.where(world.owned, world.time, np.nan)
    cut = float(np.nanquantile(told, 0.8))
    inner = _until(world, cut, seed)
    if inner is None or len(inner.asked.row) < _FEWEST:
        before = replace(world, owned=split.owned)
        learn, test = _halves(split.learn, np.random.default_rng([seed, 5]))
        inner = _left_out(before, learn, test, np.random.default_rng([seed, 6]), inner=False)
    yield replace(split, inner=inner)


def _until(world: World, end: float, seed: int) -> Split | None:
    """The split of the holdings before `end` at their 80 % quantile of time; None without a question."""
    assert world.time is not None
    time = np.where(world.owned & (world.time < end), world.time, np.nan)
    if np.isnan(time).all():
        return None
    cut = float(np.nanquantile(time, 0.8))
    before, after = time < cut, time >= cut
    undated = world.owned & np.isnan(world.time)  # always there, and never asked
    known = before | undated
    row = np.flatnonzero(after.any(axis=1) & known.any(axis=1))
    rest = known[row]
    asked = Asked(row, rest, _allowed(world.catalogue, rest, after[row]), after[row])
    asked = asked.first(MOST_ASKED, np.random.default_rng([seed, 4]))
    return Split(np.flatnonzero(known.any(axis=1)), known, asked) if len(asked.row) else None


def _folds(customers: int, queries: int, seed: int) -> Iterator[tuple[Ints, Ints, np.random.Generator]]:
    fold = np.random.default_rng([seed, 1]).permutation(customers) % FOLDS
    for number in range(FOLDS if queries <= MOST_QUERIES else 1):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number), np.random.default_rng([seed, 2, number])


def _halves(learn: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Four fifths to learn from, one fifth to tune on."""
    part = rng.permutation(len(learn)) % FOLDS
    return learn[part != 0], learn[part == 0]


def _left_out(world: World, learn: Ints, test: Ints, rng: np.random.Generator, inner: bool) -> Split:
    who = test[world.owned[test].sum(axis=1) >= 2]
    hidden = rf_cf.hide_each(world.owned[who], world.catalogue)
    relevant = np.zeros_like(hidden.rest)
    relevant[np.arange(len(hidden.row)), hidden.hidden] = True
    asked = Asked(who[hidden.row], hidden.rest, _allowed(world.catalogue, hidden.rest, relevant), relevant)
    asked = asked.first(MOST_ASKED, rng)
    made = Split(learn, world.owned, asked)
    return replace(made, inner=_left_out(world, *_halves(learn, rng), rng, False)) if inner else made


def _unknown(world: World, learn: Ints, test: Ints, rng: np.random.Generator, inner: bool) -> Split:
    who = test[world.owned[test].any(axis=1)]
    rest = np.zeros((len(who), world.owned.shape[1]), dtype=bool)
    asked = Asked(who, rest, np.ones_like(rest), world.owned[who]).first(MOST_ASKED, rng)
    made = Split(learn[world.owned[learn].any(axis=1)], world.owned, asked)  # the asked own something, and so do these
    return replace(made, inner=_unknown(world, *_halves(learn, rng), rng, False)) if inner else made


def _allowed(catalogue: Catalogue, rest: Flags, relevant: Flags) -> Flags:
    """What could be opened by the catalogue's rules; what was opened could be, whatever they say."""
    return catalogue.eligible(rest) | relevant
