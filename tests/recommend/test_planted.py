"""Acceptance on the city, whose customers' tastes are planted: how near a model comes to the best there can be."""

from datetime import date
from pathlib import Path

import numpy as np

from city.generate import Order, found
from city.people import LEFT, ROLES
from city.products import PRODUCTS
from city.tables import TASTES
from services.recommend.domain.evaluation import auc
from services.recommend.training import propensity as training
from tests.fixtures.counts import FULL

CONTACTS = 26_000


def test_on_the_city_acceptance_is_within_a_hundredth_of_the_planted_optimum(tmp_path: Path) -> None:
    """R001-069, R002-034, R002-036: AUC against that of the planted chances themselves, on contacts not seen, of each
    of the two products that are accepted most often; of all fourteen when all proofs are made.

    Given is what acceptance is made of, as it stands in files (years, megabytes, minutes, flags), the tastes that
    leisure shows, what is held, and columns that say nothing. Other products' models come without a change of code.
    """
    city = found(Order(70_000, 14, 7, date(2026, 9, 1), tmp_path / "out", tmp_path / "truth"))
    people, accounts = city.people, city.accounts
    rng = np.random.default_rng(1)
    columns = {
        "age": city.days.start.year - people.birth_year,
        "income": accounts.income,
        "dou_mb_1m": accounts.data_mb[:, -1],
        "mou_1m": accounts.voice_minutes[:, -1],
        "phone_5g": accounts.phone_5g,
        "parent": people.parent,
        "traveller": people.traveller,
        "role": people.role,
        "student": people.role == ROLES.index("student"),
        "fee": accounts.fee_fen[:, -1],
        "device": accounts.device,
        "female": people.female,
        "noise": rng.normal(size=len(people)),
        **{f"taste_{name}": people.tastes[:, number] for number, name in enumerate(TASTES)},
        **{f"owns_{name}": city.holdings.at_end[:, number] for number, name in enumerate(PRODUCTS)},
    }
    values = np.column_stack([np.asarray(each, dtype=np.float32) for each in columns.values()])
    chance = np.where((people.status == LEFT)[:, None], 0.0, city.holdings.acceptance())  # who left is not contacted
    enough = (chance > 0).sum(axis=0) > CONTACTS + 5_000
    most = np.argsort(-np.where(enough, chance.sum(axis=0), 0.0), kind="stable")[: 14 if FULL else 2]
    lacks = {}
    for product in most.tolist():
        who = rng.permutation(np.flatnonzero(chance[:, product] > 0))
        accepted = rng.random(len(who)) < chance[who, product]
        kept = [number for number, name in enumerate(columns) if name != f"owns_{PRODUCTS[product]}"]
        names = [name for name in columns if name != f"owns_{PRODUCTS[product]}"]
        learn, test = who[:CONTACTS], who[CONTACTS:]
        model = training.fit(
            names, values[learn][:, kept], accepted[:CONTACTS], seed=1, algorithm="logistic_regression"
        )
        told = auc(model.score(values[test][:, kept]), accepted[CONTACTS:])
        best = auc(chance[test, product], accepted[CONTACTS:])
        assert best > 0.6
        lacks[PRODUCTS[product]] = round(best - told, 4)
    assert max(lacks.values()) < 0.01, lacks
