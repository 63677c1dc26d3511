"""Latent tags: the choice, the calibration, the graph that serves, completion, warnings and the matrix."""

import hashlib
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from services.portrait.domain import latent
from services.portrait.domain.latent.foresight import LEFT, Lead, lead_of
from services.portrait.lake import workbench
from services.portrait.model import Graph, WrongHash
from services.portrait.training import export, program
from services.portrait.training.fit import fit

FEATURES = ("arpu_3m_avg", "mou_1m", "dou_mb_1m", "tenure_months")


def rings(rows: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Three classes by distance from the middle: what no straight line tells apart."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, 4))
    radius = np.hypot(values[:, 0], values[:, 1]) + 0.1 * draw.normal(size=rows)
    values[draw.random(values.shape) < 0.02] = np.nan
    return (values * 20 + 50).astype(np.float32), np.digitize(radius, (0.8, 1.5))


@pytest.mark.parametrize(("large", "algorithm"), [(5_000, "SVM"), (500, "LOGISTIC_NONLINEAR")])
def test_small_data_take_a_kernel_machine_and_large_data_logistic_regression(large: int, algorithm: str) -> None:
    """R004-022, R004-023, R004-017: the rule of the choice with its reason, per-class precision and recall."""
    values, label = rings(1_000)
    fitted = fit(FEATURES, ("a", "b", "c"), values, label, seed=1, large=large)
    assert fitted.choice.algorithm == algorithm
    assert "non-linear" in fitted.choice.reason
    assert "1000 rows" in fitted.choice.reason
    assert fitted.metrics["macro_f1"] > 0.8
    assert fitted.metrics["calibration_error"] < 0.1
    assert {f"{name}_{each}" for name in ("precision", "recall") for each in "abc"} <= set(fitted.metrics)


def test_a_straight_line_is_enough_for_straight_data_and_the_choice_can_be_overridden() -> None:
    """R004-022: override possible, with both reasons recorded."""
    draw = np.random.default_rng(7)
    values = draw.normal(size=(600, 4)).astype(np.float32)
    label = (values[:, 0] + 0.3 * draw.normal(size=600) > 0).astype(np.int64)
    assert fit(FEATURES, ("n", "y"), values, label, seed=1).choice.algorithm == "LOGISTIC"
    asked = fit(FEATURES, ("n", "y"), values, label, seed=1, asked="SVM", why="a comparison was wished for")
    assert asked.choice.algorithm == "SVM"
    assert "a comparison was wished for" in asked.choice.reason
    assert "the rule says LOGISTIC" in asked.choice.reason


@pytest.mark.parametrize("algorithm", latent.ALGORITHMS)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_served_graph_is_what_was_learnt(algorithm: str, classes: int) -> None:
    """R000-031, R004-011: train and serve are identical, missing values included; rows do not depend on each other."""
    values, label = rings(400)
    label = np.minimum(label, classes - 1)
    fitted = fit(FEATURES, "abc"[:classes], values, label, seed=2, asked=algorithm, why="test")
    content = export.graph(fitted.machine)
    graph = Graph(content, hashlib.sha256(content).hexdigest())
    told = graph.probabilities(values)
    assert np.abs(told - fitted.machine.probabilities(values)).max() < 1e-9
    assert np.allclose(told.sum(axis=1), 1.0)
    assert np.array_equal(graph.probabilities(values), told), "the same inputs are scored the same again"
    assert np.allclose(graph.probabilities(values[:1])[0], told[0])
    with pytest.raises(WrongHash):
        Graph(content, "00" * 32)


def test_the_program_writes_a_graph_and_its_report_or_says_why_not(tmp_path: Path) -> None:
    """R004-019, R004-020, R004-021: what is learnt is told with its metrics; unfit labels are refused."""
    values, label = rings(300)
    task = workbench.Task(FEATURES, ("a", "b", "c"), values, label, 1, 5_000)
    workbench.write_input(tmp_path / "good", task)
    assert program.main(tmp_path / "good") == 0
    report = json.loads((tmp_path / "good" / workbench.REPORT).read_text())
    assert report["metrics"]["parity"] < 1e-6
    content = (tmp_path / "good" / workbench.GRAPH).read_bytes()
    assert hashlib.sha256(content).hexdigest() == report["sha256"]
    again = tmp_path / "again"
    workbench.write_input(again, task)
    program.main(again)
    assert (again / workbench.GRAPH).read_bytes() == content
    few = np.where(np.arange(300) < 4, 1, 0)
    workbench.write_input(tmp_path / "few", workbench.Task(FEATURES, ("a", "b"), values, few, 1, 5_000))
    program.main(tmp_path / "few")
    assert workbench.read_report(tmp_path / "few") == {"refusal": "fewer than 10 customers of b"}


def test_quality_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(1)
    probability = draw.dirichlet((1, 1), 300)
    probability = np.round(probability, 2)
    truth = draw.integers(0, 2, 300)
    assert np.isclose(latent.auc(probability[:, 1], truth == 1), roc_auc_score(truth, probability[:, 1]))
    safe = draw.dirichlet((2, 2), 300)
    assert np.isclose(latent.log_loss(safe, truth), log_loss(truth, safe))


def test_missing_attributes_are_filled_in_from_the_like_better_than_by_the_mean() -> None:
    """R004-014: masked attributes come back better than the baseline; only what was missing is told."""
    draw = np.random.default_rng(6)
    rest = draw.normal(size=(1_500, 4))
    age = 40 + 12 * rest[:, 0] + draw.normal(size=1_500)
    male = (rest[:, 1] + 0.2 * draw.normal(size=1_500) > 0).astype(float)
    features = ("age", "sex_male", "a", "b", "c", "d")
    values = np.column_stack([age, male, rest])
    masked = draw.random((1_500, 2)) < 0.2
    values[:, :2][masked] = np.nan
    told = {each.feature: each for each in latent.completed(features, values, 1)}
    assert set(told["age"].rows.tolist()) == set(np.flatnonzero(masked[:, 0]).tolist())
    error = np.abs(told["age"].value - age[told["age"].rows]).mean()
    baseline = np.abs(np.nanmean(values[:, 0]) - age[told["age"].rows]).mean()
    assert error < 0.5 * baseline
    right = (told["sex_male"].value == male[told["sex_male"].rows]).mean()
    assert right > max(np.nanmean(values[:, 1]), 1 - np.nanmean(values[:, 1])) + 0.2
    assert ((told["age"].confidence >= 0) & (told["age"].confidence <= 1)).all()


def test_decline_silence_and_churn_are_warned_of_with_lead_and_evidence() -> None:
    """R002-007, R004-001: precision and recall on what was planted are 1; nobody else is warned of."""
    features = {
        "arpu_3m_avg": np.array([50.0, 30.0, 100.0, np.nan, 80.0]),
        "arpu_prev_3m_avg": np.array([100.0, 30.0, 100.0, np.nan, 80.0]),
        "mou_1m": np.array([90.0, 10.0, 50.0, np.nan, 10.0]),
        "mou_prev_3m_avg": np.array([90.0, 100.0, 50.0, np.nan, 100.0]),
        "dou_mb_1m": np.array([9.0, 1.0, 9.0, 9.0, 9.0]),
        "dou_prev_3m_avg": np.array([9.0, 9.0, 9.0, 9.0, 9.0]),
        "days_seen": np.array([28.0, 30.0, 3.0, 30.0, 30.0]),
    }
    churn = np.array([0.1, 0.1, 0.1, 0.9, 0.4])
    told = latent.warnings(features, 30, churn, 45)
    assert [(one.row, one.kind, one.lead_days) for one in told] == [
        (0, "DECLINE", 30), (1, "DECLINE", 30), (2, "SILENCE", 30), (3, "CHURN", 45),
    ]  # fmt: skip
    assert told[0].evidence == "spending −50%"
    assert told[2].evidence == "seen on 3 of 30 days"


def test_small_cells_of_the_matrix_are_hidden_and_the_dear_in_danger_are_kept() -> None:
    """R004-019, R004-021: churn × value with an action for each cell."""
    cells = latent.matrix({("high", "高端"): (20, 14.0), ("low", "低端"): (4, 0.2)}, ("高端", "中端", "低端"))
    told = {(cell.churn, cell.value): cell for cell in cells}
    assert told["high", "高端"].action == "keep"
    assert np.isclose(told["high", "高端"].mean_churn, 0.7)
    assert told["low", "低端"].hidden
    assert told["low", "低端"].customers == 0
    assert len(cells) == 9


def test_the_lead_is_told_of_those_who_left_since_the_run_before() -> None:
    """R004-022: how early those were warned of who have left."""
    today = date(2026, 9, 30)
    stages = {1: LEFT, 2: LEFT, 3: "成熟", 4: LEFT, 5: LEFT}
    before = {1: "衰退", 2: "成熟", 3: "成熟", 4: LEFT}
    since = {1: date(2026, 8, 31), 3: date(2026, 9, 1), 4: date(2026, 7, 1)}
    assert lead_of(stages, before, since, today) == Lead(left=2, warned=1, mean_days=30)
