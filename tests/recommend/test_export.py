"""The graph computes what scikit-learn computes, to the row on the border, and nothing foreign is loaded."""

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.recommend.domain import acceptance, reason, rf_cf
from services.recommend.domain.acceptance import Calibration
from services.recommend.domain.matrix import UNFIT
from services.recommend.model import Graph, WrongHash, pack_trees, unpack_trees
from services.recommend.training import boosting, export, linear, parity
from services.recommend.training.fit import Data, Ensemble, Fitted
from services.recommend.training.forests import grow
from tests.recommend.town import CATALOGUE, town

P = len(CATALOGUE)


def fitted(data: Data, leaf: int, trees: int, seed: int, parts: tuple[float, float, float] = (1, 0, 0)) -> Fitted:
    """The parts that have a weight, without tuning, and a calibration that is not the identity."""
    rng = np.random.default_rng(seed)
    forests = grow(data.profile, data.owned, CATALOGUE, leaf=leaf, trees=trees, seed=seed, threads=1)
    filter_ = linear.fit(data.profile, data.owned, 10.0, 1, CATALOGUE.eligible(data.owned))
    rounds = [trees] * (2 * P) if parts[2] else [0] * (2 * P)
    boosted = boosting.fit(data.profile, data.owned, seed=seed, threads=1, rounds=rounds)
    ensemble = Ensemble(forests, filter_, boosted, np.array([parts, parts[::-1] if parts[2] else parts], dtype=float))
    return Fitted(ensemble, Calibration(rng.uniform(0.3, 2, (2, P)), rng.normal(size=(2, P))), {}, [])


def made(content: bytes) -> Graph:
    return Graph(content, hashlib.sha256(content).hexdigest())


@given(st.floats(width=64, allow_nan=False), st.floats(width=32, allow_nan=False))
def test_a_threshold_rounded_down_decides_every_float32_as_before(threshold: float, value: float) -> None:
    low = rf_cf.round_down(np.array([threshold]))[0]
    assert (np.float32(value) <= low) == (float(np.float32(value)) <= threshold)


@given(
    seed=st.integers(0, 2**32 - 1),
    leaf=st.integers(1, 8),
    trees=st.integers(1, 6),
    coarse=st.booleans(),
    gaps=st.sampled_from([0.0, 0.2]),
    parts=st.sampled_from([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.3, 0.3, 0.5), (0.5, 0.0, 0.5)]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_graph_ranks_and_scores_like_scikit_learn(
    seed: int, leaf: int, trees: int, coarse: bool, gaps: float, parts: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(seed)
    place = town(60, seed=seed % 1000)
    profile = np.nan_to_num(np.round(place.profile) if coarse else place.profile)
    profile[rng.random(profile.shape) < gaps] = np.nan
    data = Data(profile, place.owned, CATALOGUE)
    assume(place.owned.any(axis=0).sum() >= 2)
    model = fitted(data, leaf, trees, seed, parts)
    forest = export.forest_of(model.ensemble.forests, profile.shape[1])
    content = export.graph(model.ensemble, forest, model.calibration, CATALOGUE.ids, profile.shape[1])
    asked, owned = profile.copy(), place.owned.copy()
    parity._move_onto_thresholds(asked, forest, rng, 40)
    asked[rng.random(asked.shape) < 0.1] = np.nan
    owned[::5] = False
    found = parity.compare(model, content, asked, owned, CATALOGUE.eligible(owned))
    assert found.reordered == 0
    assert found.difference <= parity.TOLERANCE
    # The third form, by which answers are explained, walks the same paths.
    told = forest.distribution(rf_cf.inputs(asked, owned))
    assert np.abs(told - model.ensemble.forests.distribution(asked, owned)).max() < 1e-6


@pytest.fixture(scope="module")
def small() -> tuple[Data, Fitted, rf_cf.Forest, bytes]:
    place = town(300)
    data = Data(place.profile, place.owned, CATALOGUE)
    model = fitted(data, 5, 10, 1)
    forest = export.forest_of(model.ensemble.forests, place.profile.shape[1])
    return (
        data,
        model,
        forest,
        export.graph(model.ensemble, forest, model.calibration, CATALOGUE.ids, place.profile.shape[1]),
    )


def test_a_graph_that_computes_something_else_has_no_parity(small: Any) -> None:
    data, model, forest, _ = small
    crooked = Calibration(model.calibration.slope * 1.001, model.calibration.intercept)
    content = export.graph(model.ensemble, forest, crooked, CATALOGUE.ids, data.profile.shape[1])
    with pytest.raises(parity.NoParity):
        parity.prove(model, forest, content, data, seed=1)


def test_owned_and_ineligible_products_come_last_and_are_marked(small: Any) -> None:
    data, _, _, content = small
    eligible = CATALOGUE.eligible(data.owned)
    found = made(content).rank(data.profile, data.owned, eligible | data.owned)
    for row in range(len(data.owned)):
        best = found.ids[row][found.scores[row] > UNFIT]
        assert sorted(best.tolist()) == np.flatnonzero(eligible[row]).tolist()
        assert (np.diff(found.scores[row]) <= 0).all()
        assert sorted(found.ids[row].tolist()) == list(range(P))


def test_there_is_one_tree_ensemble_with_no_zero_in_it_and_codes_follow_ids(small: Any) -> None:
    data, _, _, content = small
    nodes = onnx.load_from_string(content).graph.node
    trees = [node for node in nodes if node.domain == "ai.onnx.ml"]
    assert [node.op_type for node in trees] == ["TreeEnsembleRegressor"]
    weights = next(each for each in trees[0].attribute if each.name == "target_weights").floats
    assert min(weights) > 0
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = {
        "profile": data.profile[:5],
        "owned": data.owned[:5].astype(np.float32),
        "eligible": CATALOGUE.eligible(data.owned[:5]),
    }
    ids, codes = session.run(["ids", "codes"], inputs)
    assert [[CATALOGUE.ids[number] for number in row] for row in ids.tolist()] == codes.tolist()


def test_a_file_with_another_hash_is_never_loaded(small: Any) -> None:
    _, _, forest, content = small
    with pytest.raises(WrongHash):
        Graph(content, "0" * 64)
    with pytest.raises(WrongHash):
        Graph(content + b"\0", hashlib.sha256(content).hexdigest())
    packed = pack_trees(forest)
    with pytest.raises(WrongHash):
        unpack_trees(packed[:-1], hashlib.sha256(packed).hexdigest())
    back = unpack_trees(packed, hashlib.sha256(packed).hexdigest())
    assert all(np.array_equal(getattr(back, each.name), getattr(forest, each.name)) for each in fields(forest))


def test_contributions_add_up_to_the_distribution_and_name_the_own_product_never(small: Any) -> None:
    data, _, forest, _ = small
    rows = rf_cf.inputs(data.profile, data.owned)
    told = forest.distribution(rows)
    some = np.arange(0, 300, 7)
    every = np.tile(np.arange(P + 1), (len(some), 1))
    base, change = forest.contributions(rows[some], every)
    assert np.abs(base + change.sum(axis=2) - told[some]).max() < 1e-6
    owns = data.owned[some].any(axis=1)
    why = reason.evidence(forest, rows[some], every[:, :P], owns)
    own = data.profile.shape[1] + every[:, :P, None]
    assert not ((why.inputs == own) | (why.inputs == data.profile.shape[1] + P)).any()
    assert (np.diff(why.weights, axis=2) <= 0).all()
    assert ((why.inputs >= 0) == (why.weights > 0.02)).all()
    odds = acceptance.log_odds(told[some], owns)
    assert why.alike.min() >= 0
    assert why.alike.max() <= 1
    asked = (why.alike > 0.01) & (why.alike < 0.99) & ~data.owned[some]
    assert np.abs(np.log(why.alike[asked] / (1 - why.alike[asked])) - odds[asked]).max() < 0.05


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.just(P))))
def test_every_holding_is_hidden_once_with_what_stands_on_it(owned: Any) -> None:
    asked = rf_cf.hide_each(owned, CATALOGUE)
    assert sorted(zip(asked.row.tolist(), asked.hidden.tolist(), strict=True)) == sorted(
        zip(*(part.tolist() for part in np.nonzero(owned)), strict=True)
    )
    for row, rest, hidden in zip(asked.row, asked.rest, asked.hidden, strict=True):
        gone = owned[row] & ~rest
        assert set(np.flatnonzero(gone)) == {hidden} | set(np.flatnonzero(CATALOGUE.dependents[hidden] & owned[row]))
        assert not (rest & ~owned[row]).any()


def test_the_single_row_costs_a_fraction_of_a_millisecond(small: Any) -> None:
    import time

    data, _, _, content = small
    graph, eligible = made(content), CATALOGUE.eligible(data.owned)
    spent = []
    for number in range(200):
        row = slice(number, number + 1)
        start = time.thread_time()
        graph.rank(data.profile[row], data.owned[row], eligible[row])
        spent.append(time.thread_time() - start)
    assert np.median(spent) < 0.0005  # 0.2 ms is the promise; a busy machine gets some room


def test_the_same_forest_gives_the_same_bytes(small: Any, tmp_path: Path) -> None:
    data, _, forest, content = small
    again = fitted(data, 5, 10, 1)
    same = export.forest_of(again.ensemble.forests, data.profile.shape[1])
    assert export.graph(again.ensemble, same, again.calibration, CATALOGUE.ids, data.profile.shape[1]) == content
    assert pack_trees(same) == pack_trees(forest)
