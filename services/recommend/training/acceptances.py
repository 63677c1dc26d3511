"""The program's other task: acceptance models of all products, in parallel, from what came of contacts."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from services.kit.errors import Refusal
from services.recommend.domain import feature, live, propensity
from services.recommend.domain.product import Flags, Floats, Ints
from services.recommend.lake import acceptances
from services.recommend.lake.acceptances import Task
from services.recommend.training import code
from services.recommend.training import propensity as training

_FEWEST_NEW = 60
"""Held-out contacts that the model before had not seen; with fewer the change is not told."""


def main(folder: Path) -> int:
    """Train what the folder asks for."""
    task = acceptances.read_input(folder)
    everyone = feature.cleaned(task.everyone)
    values = feature.cleaned(task.values)
    told = np.full((2, len(everyone), len(task.product_ids)), np.nan, dtype=np.float32)  # chances, uplifts
    reports: dict[str, Any] = {}

    def learn(place: int) -> None:
        product_id = task.product_ids[place]
        try:
            model, report = _one(task, values, place)
        except Refusal as refusal:
            reports[product_id] = {"refusal": refusal.metadata.get("why", refusal.message)}
            return
        told[0, :, place] = model.score(everyone)
        change = _uplift(task, place, report)
        if change is not None:
            told[1, :, place] = change(everyone)
        reports[product_id] = report
        print(f"learned {product_id}", flush=True)

    with ThreadPoolExecutor(task.threads) as pool:
        list(pool.map(learn, range(len(task.product_ids))))
    acceptances.write_output(folder, told, {"products": dict(sorted(reports.items()))})
    return 0


def _one(task: Task, values: "np.ndarray[Any, np.dtype[np.float32]]", place: int) -> tuple[training.Acceptance, Any]:
    rows = np.flatnonzero(task.product == place)
    mine, accepted, time = values[rows], task.accepted[rows], task.time[rows]
    own = f"owns_{task.product_ids[place]}"  # who owns it already is not asked
    names = [name for name in task.names if name != own]
    kept = np.array([number for number, name in enumerate(task.names) if name != own], dtype=np.int64)
    recipe: dict[str, Any] = {"seed": task.seed, "algorithm": task.algorithm, "time": time}
    model = training.fit(names, mine[:, kept], accepted, **recipe)
    metrics = dict(model.report["metrics"])
    metrics |= {"base_rate": float(accepted.mean()), "held_out": float(len(model.test))}
    until = task.until.get(task.product_ids[place])
    if until is not None:
        before = time <= until
        new = model.test[~before[model.test]]
        chance = dict(zip(model.test.tolist(), model.held.tolist(), strict=True))
        held = np.array([chance[each] for each in new.tolist()])
        recipe["time"] = time[before]
        metrics |= _change(names, mine[:, kept], accepted, before, new, held, recipe, task.customer[rows])
    report = {**model.report, "metrics": metrics, "contacts": len(rows), "accepted": int(accepted.sum())}
    report["code_version"] = code.version()
    score = model.score
    return training.Acceptance(
        lambda asked: score(asked[:, kept]), model.algorithm, report, model.test, model.held
    ), report


def _uplift(task: Task, place: int, report: dict[str, Any]) -> training.Score | None:
    """What contacting changes, where a campaign held customers out by chance; the report is told either way."""
    trials, product_id = task.trials, task.product_ids[place]
    rows = np.flatnonzero(trials.product == place) if trials is not None else np.zeros(0, dtype=np.int64)
    if trials is None or not len(rows):
        report["uplift"] = {"refusal": "no campaign is known that held customers out"}
        return None
    values, treated, opened = feature.cleaned(trials.values[rows]), trials.treated[rows], trials.opened[rows]
    about = {"campaign_id": trials.campaigns.get(product_id, ""), "treated": int(treated.sum())}
    about |= {"held_out": int((~treated).sum()), "opened": int(opened.sum())}
    try:
        _, found = training.fit_uplift(values, treated, opened, seed=task.seed)
    except Refusal as refusal:
        report["uplift"] = {**about, "refusal": refusal.metadata.get("why", refusal.message)}
        return None
    report["uplift"] = {**about, **asdict(found)}
    for name, figure in (("qini", "qini"), ("auuc", "auuc"), ("uplift", "effect")):
        told = (getattr(found, figure), getattr(found, f"{figure}_low"), getattr(found, f"{figure}_high"))
        report["metrics"] |= {name: told[0], f"{name}_low": told[1], f"{name}_high": told[2]}
    report["metrics"]["uplift_proven"] = float(found.proven)
    return training.uplift_of(values, treated, opened)


def _change(
    names: list[str],
    values: "np.ndarray[Any, np.dtype[np.float32]]",
    accepted: Flags,
    before: Flags,
    new: Ints,
    held: Floats,
    recipe: dict[str, Any],
    customer: Ints,
) -> dict[str, float]:
    """The model before (the same recipe on what it knew), on held-out contacts that are new to both."""
    if len(new) < _FEWEST_NEW or len(set(accepted[new].tolist())) < 2:
        return {}
    try:
        previous = training.fit(names, values[before], accepted[before], **recipe).score(values[new])
    except Refusal:
        return {}
    answers = accepted[new]
    told = live.compared(previous, held, answers, np.zeros(len(new), np.int64), customer[new])
    brier = [float(np.mean((chance - answers) ** 2)) for chance in (previous, held)]
    return {
        "previous_auc": told.one,
        "auc_change": told.difference,
        "auc_change_low": told.low,
        "auc_change_high": told.high,
        "previous_brier": brier[0],
        "brier_change": brier[1] - brier[0],
        "change_contacts": float(len(new)),
        "previous_ece": propensity.quality(previous, answers)["ece"],
    }
