"""Recommend: one customer, from this service's own copies alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.kit import paging
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.ids import Ids
from services.recommend import refusals, store
from services.recommend.domain import reason
from services.recommend.domain.customer import Known
from services.recommend.domain.matrix import UNFIT
from services.recommend.domain.product import Catalogue, Flags, Product, Singles
from services.recommend.domain.rf_cf import inputs
from services.recommend.usecases.keeping import Keeper, Loaded, View, champion

_DEFAULT = 5


@dataclass(frozen=True)
class Ask:
    """Who is asked about: `most` products (0: five), of some categories (none: all)."""

    customer_key: int
    most: int
    categories: tuple[str, ...]
    no_profile: bool


@dataclass(frozen=True)
class Given:
    """One product, its score (the model's, or the share of all customers who own it), and why."""

    product: Product
    score: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """Products, the best first. `model_id` is empty when no model was asked."""

    given: tuple[Given, ...]
    model_id: str
    attribution_token: str


class Recommending:
    """Answers Recommend."""

    def __init__(self, db: Database, knowledge: store.Knowledge, keeper: Keeper, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._knowledge = knowledge
        self._keeper = keeper
        self._clock = clock
        self._ids = ids

    async def recommend(self, ask: Ask) -> Answer:
        """The best products that the customer could open. Raises customer_not_found, model_missing.

        Nobody's model is asked about a customer who declined personalisation: what he owns only rules products out.
        """
        view = await self._keeper.view()
        async with self._db.read() as read:
            known = await self._knowledge.known(read, ask.customer_key)
        if known is not None:
            view = await self._keeper.view(known.run_id)  # the same one, unless another run answers since
        if not ask.no_profile:
            champion(view)
        if known is None:
            raise refusals.customer_not_found(ask.customer_key)
        now = self._clock().timestamp()
        if ask.no_profile:
            return self._answer(ask, _popular(view, known, ask, now), "", known.run_id)
        loaded = champion(view)
        return self._answer(ask, _personal(view, loaded, known, ask, now), loaded.model.model_id, known.run_id)

    def _answer(self, ask: Ask, given: Sequence[Given], model_id: str, run_id: str) -> Answer:
        names = [each.product.product_id for each in given]
        token = {"id": self._ids(), "customer": ask.customer_key, "model": model_id, "run": run_id, "products": names}
        return Answer(tuple(given), model_id, paging.encode(token))


def _personal(view: View, loaded: Loaded, known: Known, ask: Ask, now: float) -> list[Given]:
    profile, owned = _profile(view, known), _owned(view.catalogue, known)
    eligible = view.catalogue.eligible(owned) & ~_cooling(view.catalogue, known, now)
    if ask.categories:
        eligible &= np.array([product.category in ask.categories for product in view.catalogue.products])
    ranking = loaded.graph.rank(profile, owned, eligible)
    fit = int((ranking.scores[0] > UNFIT).sum())
    chosen = ranking.ids[0, : min(ask.most or _DEFAULT, fit)].tolist()
    if not chosen:
        return []
    row = inputs(profile, owned)[0]
    base, change = loaded.forest.contributions(row)
    words = reason.Words(
        loaded.model.features,
        view.served.labels if view.served else {},
        {product_id: product.name for product_id, product in view.products.items()},
    )
    owns = bool(owned.any())
    given = []
    for place, number in enumerate(chosen):
        told = [
            words.driver(driver.number, float(row[driver.number]), view.catalogue.ids)
            for driver in reason.drivers(number, base, change, owns)
        ]
        product = view.catalogue.products[number]
        pair = max(
            (
                each
                for each in view.together.get(product.product_id, ())
                if each.left in known.owned and each.lift > 1.0
            ),
            key=lambda each: (each.lift, each.left),
            default=None,
        )
        share = reason.alike(number, base, change, owns)
        given.append(Given(product, float(ranking.scores[0, place]), tuple(reason.sentences(told, share, pair, words))))
    return given


def _popular(view: View, known: Known, ask: Ask, now: float) -> list[Given]:
    """By the share of customers who own it, of what could be opened; nothing personal but what is owned."""
    catalogue = Catalogue.of(list(view.products.values()))
    eligible = (catalogue.eligible(_owned(catalogue, known)) & ~_cooling(catalogue, known, now))[0]
    open_to = [
        product
        for product, possible in zip(catalogue.products, eligible.tolist(), strict=True)
        if possible and (not ask.categories or product.category in ask.categories)
    ]
    open_to.sort(key=lambda product: (-view.owners[product.product_id], product.product_id))
    customers = max(view.customers, 1)
    return [
        Given(
            product, share := min(view.owners[product.product_id] / customers, 1.0), (f"{share:.0%}的客户办理了该产品",)
        )
        for product in open_to[: ask.most or _DEFAULT]
    ]


def _profile(view: View, known: Known) -> Singles:
    """The customer's features (1, f) in the model's order; NaN for one that the run lacks."""
    told = np.append(np.frombuffer(known.features, dtype="<f4"), np.float32(np.nan))
    profile = told[view.places][None, :]  # place -1 is the NaN at the end
    return np.where(np.isfinite(profile), profile, np.float32(np.nan))


def _cooling(catalogue: Catalogue, known: Known, now: float) -> Flags:
    """What he cancelled less than its cool-down ago, shape (1, p); `now` in seconds since 1970."""
    days = np.array([[product.terms.cool_down_days if product.terms else 0 for product in catalogue.products]])
    left = np.array([[known.gone.get(product_id, -np.inf) for product_id in catalogue.ids]])
    return np.asarray(left + 86_400.0 * days > now) & (days > 0)


def _owned(catalogue: Catalogue, known: Known) -> Flags:
    owned = np.zeros((1, len(catalogue)), dtype=bool)
    owned[0, [catalogue.index[each] for each in known.owned if each in catalogue.index]] = True
    return owned
