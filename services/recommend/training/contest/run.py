"""Run every algorithm on every split of a protocol, and make the part of the report that belongs to it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from services.recommend.domain import baseline, neighbourhood
from services.recommend.domain.evaluation import per_customer
from services.recommend.domain.product import Floats, Ints, Singles
from services.recommend.training.contest import learner, measure
from services.recommend.training.contest.large import large_forest
from services.recommend.training.contest.learner import SIZES, Answer, Bench
from services.recommend.training.contest.protocol import Split, World
from services.recommend.training.contest.rerank import Reranker
from services.recommend.training.forests import Forests

LARGE = 64
"""Catalogues beyond this are re-ranked: one forest class per product would be too many."""

Say = Callable[[str], None]
MODELS = ("popularity", "user_knn", "item_knn", "confidence", "ease", "als", "cluster_cf", "user_knn_profile",
          "rf_cf", "lightgbm", "rf_x_lightgbm", "reranker")  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What is kept of one answer on one split; `known` counts the customers that could be compared with."""

    row: Ints
    known: int
    measures: Mapping[str, Floats]
    shown: Ints
    answer: Answer


def protocol(world: World, splits: Iterable[Split], *, seed: int, threads: int, say: Say) -> dict[str, Any] | None:
    """The protocol's part of the report; None without a question."""
    told: dict[str, list[Told]] = {}
    for number, split in enumerate(splits, 1):
        if not len(split.asked.row) or split.inner is None or not len(split.inner.asked.row):
            continue
        bench = Bench(world.profile, world.catalogue, split, split.inner, seed, threads)

        def tell(step: str, number: int = number) -> None:
            say(f"fold {number}: {step}")

        for name, answer in _answers(bench, tell):
            kept = Told(
                split.asked.row,
                len(split.learn),
                measure.per_question(answer.scores, split.asked),
                measure.shown(answer.scores, split.asked),
                replace(answer, scores=np.zeros((0, 0)), inner=np.zeros((0, 0))),
            )
            told.setdefault(name, []).append(kept)
    return _report(told, len(world.catalogue), seed) if told else None


def _answers(bench: Bench, say: Say) -> Iterable[tuple[str, Answer]]:
    """Every algorithm by name; names with a dash are parts of the ablation."""
    yield from (("popularity", learner.plain(bench, baseline.popularity)),)
    simple: dict[str, Callable[[], Answer]] = {
        "item_knn": lambda: learner.plain(bench, baseline.item_knn),
        "confidence": lambda: learner.plain(bench, baseline.confidence),
        "ease": lambda: learner.ease(bench),
        "als": lambda: learner.als(bench),
        "user_knn": lambda: learner.user_knn(bench),
        "cluster_cf": lambda: learner.cluster_cf(bench),
        "user_knn_profile": lambda: learner.user_knn_profile(bench),
    }
    base: dict[str, Answer] = {}
    for name, make in simple.items():
        say(name)
        base[name] = make()
        yield name, base[name]
    if len(bench.catalogue) > LARGE:
        yield from _large(bench, base, say)
    else:
        yield from _small(bench, base, say)


def _small(bench: Bench, base: Mapping[str, Answer], say: Say) -> Iterable[tuple[str, Answer]]:
    say("forest")
    forest, forests = learner.forest(bench)
    say("log-linear")
    linear = learner.log_linear(bench)
    say("lightgbm")
    boosted = learner.boosted(bench)
    yield "lightgbm", boosted
    yield "rf_x_lightgbm", learner.mixed(bench, [forest, boosted])
    yield "-forest_only", forest
    yield "-cf_only", linear
    yield "-both", learner.mixed(bench, [forest, linear])
    say("neighbours")
    best_k, curve, pairs = _curve(bench, forests)
    parts = [forest, linear, boosted]
    if not bench.split.asked.rest.any() and bench.profile.shape[1] and len(bench.split.learn) >= learner.FEWEST_TAUGHT:
        say("networks")
        parts.append(learner.networks(bench))
    whole = learner.mixed(bench, parts)
    yield "rf_cf", replace(whole, best_k=best_k, curve=curve, pairs=pairs)
    say("reranker")
    parts = [whole, base["ease"], base["als"], base["user_knn"], base["user_knn_profile"]]
    yield "reranker", Reranker(bench, parts).forest()


def _large(bench: Bench, base: Mapping[str, Answer], say: Say) -> Iterable[tuple[str, Answer]]:
    say("forest")
    near = large_forest(bench)
    parts = [base["ease"], base["als"], base["user_knn"], base["item_knn"], base["user_knn_profile"], near]
    say("reranker")
    reranker = Reranker(bench, parts)
    forest = reranker.forest()
    yield "reranker", forest
    yield "rf_cf", replace(forest, best_k=near.best_k, curve=near.curve, pairs=near.pairs)
    yield "-forest_only", near
    yield "-both", forest
    yield "-cf_only", max(parts[:4], key=lambda each: measure.ndcg(each.inner, bench.inner.asked))
    say("lightgbm")
    boosted = reranker.boosted()
    yield "lightgbm", boosted
    product = np.log(np.maximum(forest.scores, 1e-9)) + np.log(np.maximum(boosted.scores, 1e-9))
    unseen = (forest.scores < -1.0) | (boosted.scores < -1.0)
    yield "rf_x_lightgbm", replace(boosted, scores=np.where(unseen, -1e9 + forest.scores, product))


def _curve(bench: Bench, forests: Forests) -> tuple[int, dict[int, Floats], int]:
    """Accuracy against K of the forest's neighbourhood, with the pairs that it compared."""
    split = bench.split
    profile, owned, asked = bench.profile[split.learn], split.owned[split.learn], split.asked
    known: Singles = bench.profile[asked.row]
    if asked.rest.any():
        situations = forests.situations(profile, owned, bench.catalogue)
        leaves = forests.leaves(known, asked.rest)
    else:
        situations, leaves = forests.cold_situations(profile, owned), np.asarray(forests.cold.apply(known))
    found = neighbourhood.votes(situations, leaves, asked.allowed, SIZES, owned.mean(axis=0))
    curve = {
        size: measure.per_question(scores, asked)["ndcg@5"] for size, scores in zip(SIZES, found.scores, strict=True)
    }
    return max(curve, key=lambda size: float(curve[size].mean())), curve, found.pairs


def _report(told: Mapping[str, list[Told]], products: int, seed: int) -> dict[str, Any]:
    first = told["popularity"]
    rows = np.concatenate([each.row for each in first])
    models = {name: _model(told[name], products, seed) for name in MODELS if name in told}
    report: dict[str, Any] = {"customers": len(np.unique(rows)), "queries": len(rows), "models": models}
    report["ablation"] = {
        name[1:]: _model(parts, products, seed) for name, parts in told.items() if name.startswith("-")
    }
    _compare(report, told, seed)
    return report


def _model(parts: list[Told], products: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 10])
    made: dict[str, Any] = {
        name: round(float(np.mean(np.concatenate([per_customer(each.measures[name], each.row) for each in parts]))), 6)
        for name in measure.NAMES
    }
    made["coverage"] = round(len(np.unique(np.concatenate([each.shown for each in parts]))) / products, 6)
    made["fit_seconds"] = round(sum(each.answer.fit_seconds for each in parts), 3)
    made["score_seconds"] = round(sum(each.answer.score_seconds for each in parts), 3)
    curve = {size: _along(parts, size) for size in (SIZES if all(each.answer.curve for each in parts) else ())}
    sizes = [each.answer.best_k for each in parts if each.answer.best_k is not None]
    made["best_k"] = int(np.median(sizes)) if sizes else None
    made["curve"] = [[size, round(float(each.mean()), 6)] for size, each in curve.items()]
    made["curve_interval"] = [
        [size, *(round(end, 6) for end in measure.interval(each, rng))] for size, each in curve.items()
    ]
    if parts[0].answer.chosen:
        made["chosen"] = [each.answer.chosen for each in parts]
    if parts[0].answer.segments:
        made["segments"] = [each.answer.segments for each in parts]  # by fold, whose segments are its own
    return made


def _along(parts: list[Told], size: int) -> Floats:
    """NDCG@5 of every customer with so many neighbours."""
    return np.concatenate([per_customer(each.answer.curve[size], each.row) for each in parts])


def _compare(report: dict[str, Any], told: Mapping[str, list[Told]], seed: int) -> None:
    """RF-CF against UserKNN: K at the best, K that is enough, intervals over customers, pairs computed."""
    ours, plain = told["rf_cf"], told["user_knn"]
    rng = np.random.default_rng([seed, 9])
    best = max(SIZES, key=lambda size: float(_along(plain, size).mean()))
    strongest = max((size for size in SIZES if size <= 200), key=lambda size: float(_along(plain, size).mean()))
    enough = [size for size in SIZES if _along(ours, size).mean() > _along(plain, best).mean()]
    models = report["models"]
    models["rf_cf"]["k_to_pass_user_knn"] = min(enough, default=None)
    intervals = []
    for size in SIZES:
        difference = _along(ours, size) - _along(plain, strongest)
        low, high = measure.interval(difference, rng)
        intervals.append([size, round(float(difference.mean()), 6), round(low, 6), round(high, 6)])
    models["rf_cf"]["curve_minus_best_user_knn"] = intervals
    report["user_knn_best_k_to_200"] = strongest
    compared = sum(each.answer.pairs or 0 for each in ours)
    every = sum(len(each.row) * each.known for each in ours)
    per_query = round(compared / max(sum(len(each.row) for each in ours), 1), 1)
    ratio = round(compared / max(every, 1), 6)
    report["pairs"] = {"rf_cf": compared, "user_knn": every, "ratio": ratio, "per_query": per_query}
    final = np.concatenate([per_customer(each.measures["ndcg@5"], each.row) for each in ours])
    report["differences"] = {}
    for name in models:
        if name != "rf_cf":
            other = np.concatenate([per_customer(each.measures["ndcg@5"], each.row) for each in told[name]])
            low, high = measure.interval(final - other, rng)
            report["differences"][f"rf_cf - {name}"] = [
                round(float((final - other).mean()), 6),
                round(low, 6),
                round(high, 6),
            ]
