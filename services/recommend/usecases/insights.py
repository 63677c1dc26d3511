"""What analysts ask: a sample with its error, a forecast with its back-test, products by expected gain, needs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from services.kit import domains
from services.kit.db import Database
from services.recommend import refusals, store
from services.recommend.domain import forecast, sample, unmet
from services.recommend.domain.customer import Served
from services.recommend.domain.forecast import Forecast
from services.recommend.domain.product import Flags, Floats, Ints, Product
from services.recommend.domain.sample import Estimate, Stratum
from services.recommend.domain.unmet import Need
from services.recommend.lake.profiles import Pack
from services.recommend.usecases.browsing import Browsing
from services.recommend.usecases.keeping import Keeper, View

_DAYS, _HISTORY = 14, 120
_TAG, _ROWS = "tag_", 50_000


@dataclass(frozen=True)
class Sample:
    """Who was drawn, of which strata, and what that says of everybody."""

    keys: tuple[int, ...]
    strata: tuple[Stratum, ...]
    estimates: tuple[Estimate, ...]
    run_id: str


@dataclass(frozen=True)
class Priority:
    """A product by the gain that offering it is expected to bring."""

    product_id: str
    name: str
    customers: int
    chance: float
    learned: bool
    worth_fen: int
    gain_fen: int


@dataclass(frozen=True)
class Unmet:
    """A need with what people call its circle, who holds the product already, and what meeting it would bring."""

    need: Need
    circle_name: str
    product: Product
    holders: int
    gain_fen: int


class Insights:
    """Answers analysts."""

    def __init__(self, db: Database, knowledge: store.Knowledge, keeper: Keeper, browsing: Browsing) -> None:
        self._db = db
        self._knowledge = knowledge
        self._keeper = keeper
        self._browsing = browsing
        self._acceptances = store.Acceptances()
        self._outcomes = store.Outcomes()
        self._guidance = store.Guidance()

    async def sample(self, size: int, seed: int, column: str) -> Sample:
        """A stratified sample of the customers that the caller sees. Raises inputs_incomplete, column_unknown."""
        view, served, pack = await self._packed()
        if column and column not in served.columns:
            raise refusals.column_unknown(column)
        who = await self._seen(pack)
        if not len(who):
            raise refusals.inputs_incomplete("customers")
        if column:
            values = np.asarray(pack.values[who, served.columns.index(column)])
            names, stratum = await asyncio.to_thread(sample.strata_of, values)
        else:
            names, stratum = list(pack.orgs), pack.org[who].astype(np.int64)
        rows = await asyncio.to_thread(sample.drawn, stratum, size, seed)
        keys: list[int] = pack.keys[who[rows]].tolist()
        async with self._db.read() as read:
            holdings = await self._knowledge.owned_by(read, keys)
        place = {key: number for number, key in enumerate(keys)}
        ids = sorted(view.products)
        owned = np.zeros((len(keys), len(ids)), dtype=bool)
        for key, product_id in holdings:
            if product_id in view.products:
                owned[place[key], ids.index(product_id)] = True
        told = sample.estimates(stratum, rows, owned, ids)
        return Sample(tuple(keys), tuple(sample.counted(names, stratum, rows)), tuple(told), pack.run_id)

    async def _packed(self) -> tuple[View, Served, Pack]:
        """The view, the run that answers and its profiles. Raises inputs_incomplete."""
        view = await self._keeper.view()
        if view.pack is None or view.served is None:
            raise refusals.inputs_incomplete("packed profiles")
        return view, view.served, view.pack

    async def _seen(self, pack: Pack) -> Ints:
        """The rows of the customers whom the caller sees, and who are still there."""
        seen = domains.current()
        with domains.whole():
            async with self._db.read() as read:
                gone = await self._outcomes.gone(read)
        kept = ~np.isin(pack.keys, sorted(gone))
        if seen is not None:
            kept &= np.isin(pack.org, [place for place, org_id in enumerate(pack.orgs) if org_id in seen])
        return np.flatnonzero(kept)

    async def unmet(self, matrix_id: str, circle: str) -> tuple[str, list[Unmet]]:
        """The matrix counted, and where more is wanted than usual, the highest gain first.

        Raises inputs_incomplete, circle_not_found, matrix_not_found.
        """
        view, served, pack = await self._packed()
        columns = {name.removeprefix(_TAG): n for n, name in enumerate(served.columns) if name.startswith(_TAG)}
        if circle and circle not in columns:
            raise refusals.circle_not_found(circle)
        circles, who = [circle] if circle else sorted(columns), await self._seen(pack)
        flags = await asyncio.to_thread(_flags, pack, who, [columns[each] for each in circles])
        ids = sorted(view.products)
        matrix_id, told = await self._browsing.wanted(matrix_id, pack.keys[who], flags, ids)
        async with self._db.read() as read:
            counts = await self._guidance.counts(read, circle)
        holders = {(each.circle, each.product_id): each.still for each in counts}
        found = []
        for need in unmet.needs(circles, ids, told):
            product, name = view.products[need.product_id], served.labels.get(need.circle, need.circle)
            gain = round(need.extra * product.worth_fen)
            found.append(Unmet(need, name, product, holders.get((need.circle, need.product_id), 0), gain))
        found.sort(key=lambda each: (-each.gain_fen, -each.need.extra, each.need.circle, each.need.product_id))
        return matrix_id, found

    async def forecast(self, product_id: str, days: int) -> tuple[list[date], Floats, Forecast | None]:
        """The days known, their openings, and the forecast; None when too few are known. Raises product_not_found."""
        async with self._db.read() as read:
            if await self._knowledge.product(read, product_id) is None:
                raise refusals.product_not_found(product_id)
            counted = await self._knowledge.openings(read, product_id, _HISTORY)
        known = np.array([many for _, many in counted], dtype=np.float64)
        return [day for day, _ in counted], known, forecast.forecast(known, days or _DAYS)

    async def priorities(self, matrix_id: str) -> tuple[str, list[Priority]]:
        """The matrix counted, and its products by expected gain, the highest first. Raises matrix_not_found."""
        matrix, rows = await self._browsing.report(matrix_id)
        async with self._db.read() as read:
            serving = await self._acceptances.serving(read)
        found = []
        for held, row in rows:
            model = serving.get(row.product_id)
            chance = model.metrics.get("mean_chance", row.mean_score) if model is not None else row.mean_score
            worth = held.product.worth_fen
            found.append(
                Priority(
                    row.product_id, held.product.name, row.customers, chance, model is not None, worth,
                    round(row.customers * chance * worth),
                )
            )  # fmt: skip
        found.sort(key=lambda each: (-each.gain_fen, each.product_id))
        return matrix.matrix_id, found


def _flags(pack: Pack, who: Ints, columns: Sequence[int]) -> Flags:
    """Which of the customers `who` (n,) have each of some tags, (n, t); a piece of the file at a time. Blocks."""
    flags = np.zeros((len(who), len(columns)), dtype=bool)
    for start in range(0, len(who), _ROWS):
        part = slice(start, start + _ROWS)
        flags[part] = pack.values[who[part]][:, list(columns)] > 0.5
    return flags
