"""Recommend: one customer, from this service's own copies alone; calls that come together share a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.kit import domains, paging
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.errors import Refusal
from services.kit.ids import Ids
from services.recommend import refusals, store
from services.recommend.domain import feature, reason, shift
from services.recommend.domain.customer import Known
from services.recommend.domain.matrix import UNFIT
from services.recommend.domain.product import Catalogue, Flags, Product, Singles
from services.recommend.domain.rf_cf import inputs
from services.recommend.domain.wish import ANYTHING, Wish
from services.recommend.model import Ranking
from services.recommend.usecases.batches import Batches
from services.recommend.usecases.keeping import Keeper, Loaded, View, champion

_DEFAULT = 5


@dataclass(frozen=True)
class Ask:
    """Who is asked about, and for what: `most` products (0: five) as the `wish` says.

    `sees` are the organisations that the caller sees, None for all.
    """

    customer_key: int
    most: int = 0
    no_profile: bool = False
    wish: Wish = ANYTHING
    sees: frozenset[str] | None = field(default_factory=domains.current)


@dataclass(frozen=True)
class Given:
    """One product, its score (a chance or the share of all customers who own it), and why.

    `acceptance_model_id` names the model whose chance the score is; empty where no contact taught one.
    """

    product: Product
    score: float
    reasons: tuple[str, ...]
    acceptance_model_id: str = ""


@dataclass(frozen=True)
class Answer:
    """Products, the best first. `model_id` is empty when no model was asked."""

    given: tuple[Given, ...]
    model_id: str
    attribution_token: str


@dataclass(frozen=True)
class Someone:
    """One customer of a batch with his call."""

    ask: Ask
    known: Known


class Recommending:
    """Answers Recommend."""

    def __init__(self, db: Database, keeper: Keeper, clock: Clock, ids: Ids) -> None:
        self._hot = store.Hot(db)
        self._keeper = keeper
        self._clock = clock
        self._ids = ids
        self._batches: Batches[Ask, Answer] = Batches(self._answers)
        self._words: tuple[View, reason.Words] | None = None

    async def recommend(self, ask: Ask) -> Answer:
        """The best products that the customer could open.

        Raises customer_not_found, model_missing, product_not_found for a basket with what nobody sells.

        Nobody's model is asked about a customer who declined personalisation: what he owns only rules products out.
        """
        return await self._batches.ask(ask)

    async def look(self, customer_key: int) -> tuple[View, Singles]:
        """The view, and a customer's features in the order of the served run's columns; none when he is not known."""
        view, known = await self._read([Ask(customer_key)])
        mine = known.get(customer_key)
        return view, np.frombuffer(mine.features if mine else b"", dtype="<f4")

    async def close(self) -> None:
        """Give the connections back."""
        await self._hot.close()

    async def _answers(self, asked: Sequence[Ask]) -> list[Answer | BaseException]:
        view, known = await self._read(asked)
        told: list[Answer | BaseException | None] = [None] * len(asked)
        now = self._clock().timestamp()
        people: dict[int, Someone] = {}
        for place, ask in enumerate(asked):
            mine = known.get(ask.customer_key)
            try:
                _known_products(view, ask)
                if not ask.no_profile:
                    champion(view)
            except Refusal as refusal:
                told[place] = refusal
                continue
            if mine is None or (ask.sees is not None and mine.org_id not in ask.sees):
                told[place] = refusals.customer_not_found(ask.customer_key)
            elif ask.no_profile:
                told[place] = self._answer(ask, _popular(view, mine, ask, now), "", mine.run_id)
            else:
                people[place] = Someone(ask, mine)
        if people:
            loaded, them = champion(view), list(people.values())
            # Here and not in a thread: a batch is some milliseconds, most of them under the interpreter's lock.
            found = _personal(view, loaded, self._words_of(view, loaded), them, now)
            for place, given in zip(people, found, strict=True):
                one = people[place]
                told[place] = self._answer(one.ask, given, loaded.model.model_id, one.known.run_id)
        return [each for each in told if each is not None]

    def _words_of(self, view: View, loaded: Loaded) -> reason.Words:
        """The words of a view, made once."""
        if self._words is None or self._words[0] is not view:
            labels = view.served.labels if view.served else {}
            names = {product_id: product.name for product_id, product in view.products.items()}
            self._words = view, reason.Words(loaded.model.features, labels, view.catalogue.ids, names)
        return self._words[1]

    async def _read(self, asked: Sequence[Ask]) -> tuple[View, Mapping[int, Known]]:
        """The view, and those of the customers who are known in its run."""
        view = await self._keeper.view()
        keys = sorted({ask.customer_key for ask in asked})
        known = await self._hot.known(keys, profiles=view.pack is None)
        if view.pack is None:
            for run_id in {each.run_id for each in known.values()}:
                view = await self._keeper.view(run_id)  # the same one, unless another run answers since
            if view.pack is None:
                return view, known
        pack, found = view.pack, {}
        for key, row in zip(keys, pack.rows(np.array(keys, dtype=np.int64)).tolist(), strict=True):
            if row >= 0 and key in known:
                org_id, features = pack.orgs[pack.org[row]], pack.values[row].tobytes()
                found[key] = replace(known[key], run_id=pack.run_id, org_id=org_id, features=features)
        return view, found

    def _answer(self, ask: Ask, given: Sequence[Given], model_id: str, run_id: str) -> Answer:
        names = [each.product.product_id for each in given]
        token = {"id": self._ids(), "customer": ask.customer_key, "model": model_id, "run": run_id, "products": names}
        token |= {"place": ask.wish.place} if ask.wish.place else {}
        return Answer(tuple(given), model_id, paging.encode(token))


def _personal(
    view: View, loaded: Loaded, words: reason.Words, people: Sequence[Someone], now: float
) -> list[list[Given]]:
    """What each is given, one run of the graph for all."""
    profile = _profiles(view, [one.known for one in people])
    owned = _owned(view.catalogue, people)
    eligible = view.catalogue.eligible(owned)
    for row, one in enumerate(people):
        if one.known.gone:
            eligible[row] &= ~_cooling(view.catalogue, one.known, now)[0]
        if one.ask.wish is not ANYTHING and not one.ask.wish.plain:
            eligible[row] &= one.ask.wish.of(view.catalogue.products)
    ranking = _moved(view, loaded.graph.rank(profile, owned, eligible), people)
    fit = (ranking.scores > UNFIT).sum(axis=1)
    many = [min(one.ask.most or _DEFAULT, int(fit[row])) for row, one in enumerate(people)]
    width = max(many)
    if not width:
        return [[] for _ in people]
    chosen, rows = ranking.ids[:, :width], inputs(profile, owned)
    why = reason.evidence(loaded.forest, rows, chosen, np.asarray(owned.any(axis=1)))
    return [
        _given(view, words, one, many[row], (ranking.scores[row].tolist(), chosen[row].tolist(), rows[row].tolist(),
                                            why.alike[row].tolist(), why.inputs[row].tolist()))
        for row, one in enumerate(people)
    ]  # fmt: skip


def _moved(view: View, ranking: Ranking, people: Sequence[Someone]) -> Ranking:
    """The ranking by what contacts taught; by the usual shift for a customer who was not there then."""
    pack = view.shifts
    if pack is None:
        return ranking
    rows = pack.rows(np.array([one.ask.customer_key for one in people], dtype=np.int64))
    return Ranking(*shift.shifted(ranking.ids, ranking.scores, pack.values[np.maximum(rows, 0)]))


Row = tuple[list[float], list[int], list[float], list[float], list[list[int]]]
"""Of one customer: scores, products, the inputs' values, shares of customers alike, drivers by product."""


def _given(view: View, words: reason.Words, one: Someone, many: int, row: Row) -> list[Given]:
    scores, chosen, values, alike, drivers = row
    owned = {*one.known.owned, *one.ask.wish.basket}
    given = []
    for place in range(many):
        product = view.catalogue.products[chosen[place]]
        told = [words.driver(number, values[number]) for number in drivers[place] if number >= 0]
        pair = next((each for each in view.together.get(product.product_id, ()) if each.left in owned), None)
        reasons = reason.sentences(told, alike[place], pair, words)
        learned = view.acceptance.get(product.product_id, "") if view.shifts is not None else ""
        given.append(Given(product, scores[place], tuple(reasons), learned))
    return given


def _popular(view: View, known: Known, ask: Ask, now: float) -> list[Given]:
    """By the share of customers who own it, of what could be opened; nothing personal but what is owned."""
    catalogue = Catalogue.of(list(view.products.values()))
    free = (catalogue.eligible(_owned(catalogue, [Someone(ask, known)])) & ~_cooling(catalogue, known, now))[0]
    eligible = zip(catalogue.products, free.tolist(), strict=True)
    open_to = [product for product, possible in eligible if possible and ask.wish.fits(product)]
    open_to.sort(key=lambda product: (-view.owners[product.product_id], product.product_id))
    customers = max(view.customers, 1)
    return [
        Given(
            product, share := min(view.owners[product.product_id] / customers, 1.0), (f"{share:.0%}的客户办理了该产品",)
        )
        for product in open_to[: ask.most or _DEFAULT]
    ]


def _profiles(view: View, people: Sequence[Known]) -> Singles:
    """The customers' features (n, f) in the model's order; NaN for one that the run lacks."""
    told = np.frombuffer(b"".join([known.features for known in people]), dtype="<f4").reshape(len(people), -1)
    return feature.served(told, view.places)


def _known_products(view: View, ask: Ask) -> None:
    for product_id in ask.wish.basket:
        if product_id not in view.products:
            raise refusals.product_not_found(product_id)


def _cooling(catalogue: Catalogue, known: Known, now: float) -> Flags:
    """What he cancelled less than its cool-down ago, shape (1, p); `now` in seconds since 1970."""
    days = np.array([[product.terms.cool_down_days if product.terms else 0 for product in catalogue.products]])
    left = np.array([[known.gone.get(product_id, -np.inf) for product_id in catalogue.ids]])
    return np.asarray(left + 86_400.0 * days > now) & (days > 0)


def _owned(catalogue: Catalogue, people: Sequence[Someone]) -> Flags:
    """What each holds or is about to, (n, p)."""
    owned, index = np.zeros((len(people), len(catalogue)), dtype=bool), catalogue.index
    held = [
        (row, index[each])
        for row, one in enumerate(people)
        for each in (*one.known.owned, *one.ask.wish.basket)
        if each in index
    ]
    if held:
        owned[tuple(np.array(held).T)] = True
    return owned
