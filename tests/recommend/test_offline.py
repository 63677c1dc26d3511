"""`evaluate`: the verb for analysts, on their own files: what it reports, what it refuses, what it warns of."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.recommend import offline
from services.recommend.domain import encoding
from services.recommend.domain.product import Catalogue
from services.recommend.offline import tables, world
from services.recommend.training.contest import learner, measure, protocol, run
from tests.recommend.town import CATALOGUE, FEATURES, product, town

MODELS = {
    "rf_cf", "popularity", "user_knn", "item_knn", "confidence", "ease", "als", "cluster_cf", "user_knn_profile",
    "lightgbm", "rf_x_lightgbm", "reranker",
}  # fmt: skip
MEASURES = {"hit@1", "hit@3", "mrr", "ndcg@5", "ndcg@10", "coverage", "fit_seconds", "score_seconds", "best_k", "curve"}


def write(path: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def files(folder: Path, customers: int = 120, dated: bool = False) -> tuple[Path, Path]:
    """The planted town as an analyst would have it: texts, gaps, and a customer that nobody knows."""
    place = town(customers)
    day = date(2026, 1, 1)
    owned = [
        [f"C{key}", CATALOGUE.ids[column], *([day + timedelta(days=(7 * row + 31 * column) % 240)] if dated else [])]
        for row, key in enumerate(place.keys.tolist())
        for column in np.flatnonzero(place.owned[row]).tolist()
    ]
    stranger = ["nobody", "A1", *([day] if dated else [])]
    head = ["customer_id", "product_id", *(["time"] if dated else [])]
    who = [
        [f"C{key}", *("" if np.isnan(value) else f"{value:.5g}" for value in row), "north" if key % 2 else "south"]
        for key, row in zip(place.keys.tolist(), place.profile, strict=True)
    ]
    return (
        write(folder / "owned.csv", head, [*owned, stranger]),
        write(folder / "customers.csv", ["customer_id", *FEATURES, "region"], who),
    )


def evaluate(folder: Path, owned: Path, customers: Path, *more: str) -> tuple[int, dict[str, Any]]:
    out = folder / "report.json"
    words = ["--interactions", str(owned), "--customers", str(customers), "--out", str(out), "--threads", "2", *more]
    status = offline.evaluate(words)
    return status, json.loads(out.read_text()) if out.exists() else {}


@pytest.mark.slow
def test_every_protocol_reports_every_algorithm_on_the_same_questions(tmp_path: Path) -> None:
    """R000-036, R000-037, R000-040, R000-041, R000-042, R001-022, R002-076, R002-077: one split, K curve, ablation."""
    status, report = evaluate(tmp_path, *files(tmp_path, dated=True), "--seed", "3")
    assert status == 0
    assert set(report["protocols"]) == {"leave_one_out", "temporal", "cold_start"}
    assert report["seed"] == 3
    assert set(report["data"]["hashes"]) == {"interactions", "customers"}
    assert any("not in the customers file" in each for each in report["data"]["warnings"])
    for name, part in report["protocols"].items():
        assert part["customers"] > 0
        assert part["queries"] >= part["customers"]
        assert set(part["models"]) == MODELS, name
        for told in part["models"].values():
            assert set(told) >= MEASURES
            assert 0.0 <= told["hit@1"] <= told["hit@3"] <= 1.0
            assert told["hit@1"] <= told["ndcg@5"] <= told["ndcg@10"] <= 1.0 or name != "leave_one_out"
        assert [size for size, _ in part["models"]["rf_cf"]["curve"]][:4] == [1, 2, 3, 5]
        assert part["models"]["user_knn"]["best_k"] is not None
        assert set(part["ablation"]) == {"forest_only", "cf_only", "both"}
        assert 0 < part["pairs"]["rf_cf"] < part["pairs"]["user_knn"], "fewer than plain collaborative filtering"
        assert part["pairs"]["ratio"] == pytest.approx(part["pairs"]["rf_cf"] / part["pairs"]["user_knn"], abs=1e-6)
        for of in ("rf_cf", "user_knn"):
            told = part["models"][of]
            for (size, value), (same, low, high) in zip(told["curve"], told["curve_interval"], strict=True):
                assert size == same
                assert low <= value <= high
        for fold in part["models"]["cluster_cf"]["segments"]:
            assert len(fold) > 1
            assert all(
                0.0 <= each["precision@5"] <= each["recall@5"] <= 1.0 or name != "leave_one_out" for each in fold
            )
    whole = report["protocols"]["leave_one_out"]
    assert whole["models"]["rf_cf"]["ndcg@5"] > whole["models"]["popularity"]["ndcg@5"] + 0.02
    cold = report["protocols"]["cold_start"]["models"]
    assert cold["rf_cf"]["ndcg@5"] > cold["popularity"]["ndcg@5"] + 0.02
    assert cold["rf_cf"]["coverage"] > cold["popularity"]["coverage"], "products of the long tail are recommended, too"


@pytest.mark.parametrize(
    ("owned", "customers", "why"),
    [
        ("customer_id,product\nC1,A\n", "customer_id,age\nC1,3\n", "column product_id is missing"),
        ("customer_id,product_id\n", "customer_id,age\nC1,3\n", "there is no row"),
        ("customer_id,product_id\nC1,A\n", "customer_id,age\nC1,3\nC1,4\n", "C1 stands there 2 times"),
        ("customer_id,product_id\nX,A\n", "customer_id,age\nC1,3\n", "no customer of it is in"),
        ("customer_id,product_id\nC1,A\n", "customer_id,age\nC1,3\n", "one class"),
        ("customer_id,product_id\nC1,A\nC1,B\n", "customer_id,age\nC1,3\n", "fewer than 20 known customers"),
        ("customer_id,product_id,time\nC1,A,soon\n", "customer_id\nC1\n", "line 2: 'soon' is no time"),
        ("customer_id,product_id\n" + "".join(f"C{n},{'AB'[n % 2]}\n" for n in range(40)),
         "customer_id,age\n" + "".join(f"C{n},{n}\n" for n in range(40)), "no overlap"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(
    owned: str, customers: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o.csv").write_text(owned)
    (tmp_path / "c.csv").write_text(customers)
    status, report = evaluate(tmp_path, tmp_path / "o.csv", tmp_path / "c.csv")
    said = capsys.readouterr().err
    assert status == 2
    assert report == {}
    assert why in said
    assert said.count("\n") == 1


def test_many_products_are_re_ranked_and_the_best_filter_may_be_another_in_each_fold() -> None:
    """R000-037: beyond 64 products the forest re-ranks what filters propose; the report has the same shape."""
    rng = np.random.default_rng(1)
    taste = rng.normal(size=(80, 3))
    owned = rng.random((80, run.LARGE + 2)) < 1 / (1 + np.exp(3.0 - taste @ rng.normal(size=(3, run.LARGE + 2))))
    sold = Catalogue.of([product(f"P{number:03d}") for number in range(owned.shape[1])])
    world_ = protocol.World(taste.astype(np.float32), owned, None, sold)
    report = run.protocol(world_, [next(protocol.leave_one_out(world_, 1))], seed=1, threads=2, say=lambda _: None)
    assert report is not None
    assert set(report["models"]) == MODELS
    assert set(report["ablation"]) == {"forest_only", "cf_only", "both"}
    assert report["models"]["rf_cf"]["ndcg@5"] == report["models"]["reranker"]["ndcg@5"]
    # A filter of neighbours in one fold and none of neighbours in the next: there is no curve over both.
    near = learner.Answer(np.zeros((0, 0)), np.zeros((0, 0)), 1.0, 1.0, 3, {size: np.ones(2) for size in learner.SIZES})
    parts = [
        run.Told(np.arange(2), 9, {name: np.ones(2) for name in measure.NAMES}, np.arange(3), answer)
        for answer in (near, replace(near, best_k=None, curve={}))
    ]
    assert run._model(parts, 6, 1)["curve"] == []
    assert [size for size, _ in run._model(parts[:1], 6, 1)["curve"]] == list(learner.SIZES)


def dirty(folder: Path) -> tuple[Path, Path]:
    """Forty customers and two products, without times."""
    owned = [(f"C{n}", each) for n in range(40) for each in ("A", "B")[: 1 + n % 2]]
    return (
        write(folder / "o.csv", ["customer_id", "product_id"], owned),
        write(folder / "c.csv", ["customer_id", "age"], [(f"C{n}", 20 + n) for n in range(40)]),
    )


@pytest.mark.parametrize(
    ("name", "content", "words", "why"),
    [
        ("p.csv", b"product_id,name\nA,a\nA,b\n", ["--products", "p.csv"], "product_id A stands there 2 times"),
        ("p.csv", b"id,name\nA,a\n", ["--products", "p.csv"], "column product_id is missing"),
        ("c.csv", bytes(range(128, 256)), [], "neither UTF-8 nor GB18030"),
        ("o.csv", b"", [], "Empty CSV"),
        ("o.csv", b"customer_id,product_id\nC1,A,B\n", [], "Expected 2 columns, got 3"),
        ("c.csv", b"PAR1 and no more", [], "c.csv: "),
        ("x", b"", ["--protocols", "temporal"], "fewer than five different times"),
        ("x", b"", ["--out", "."], "is a folder"),
        ("x", b"", ["--out", "nowhere/r.json"], "no such folder"),
    ],
)
def test_a_dirty_file_is_refused_in_one_line_before_any_work(
    name: str, content: bytes, words: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owned, customers = dirty(tmp_path)
    (tmp_path / name).write_bytes(content)
    told = [str(tmp_path / word) if word[0] in "p.n" else word for word in words]
    assert evaluate(tmp_path, owned, customers, *told) == (2, {})
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1


def test_what_is_odd_in_the_files_is_told_and_the_rest_is_used(tmp_path: Path) -> None:
    owned, customers = dirty(tmp_path)
    rows = [
        *(line.split(",") for line in owned.read_text().split()[1:]),
        ("", "A"),
        ("C1", ""),
        ("C3", "A"),
        ("Z", "B"),
    ]
    dated = [(*row, f"2026-01-{1 + n % 9:02d}" if n % 3 else "") for n, row in enumerate(rows)]
    write(owned, ["customer_id", "product_id", "time"], dated)
    sold = [("A", "a", "B"), ("B", "b", "A"), ("", "?", ""), ("C", "c", "")]
    write(tmp_path / "p.csv", ["product_id", "name", "requires_product_id"], sold)
    read = tables.read
    found = world.assemble(
        read(owned, ["customer_id", "product_id"]), read(customers, ["customer_id"]),
        read(tmp_path / "p.csv", ["product_id"]), 1,
    )  # fmt: skip
    for told in ("2 interactions without", "1 customers of the interactions", "1 interactions repeat",
                 "1 rows of the products file without", "A requires itself through B"):  # fmt: skip
        assert sum(told in each for each in found.warnings) == 1, told
    assert found.counts["holdings"] == 60
    assert found.time is not None
    # Of repeats the first time that is known counts.
    again = [*dated, *(("C3", "A", day) for day in ("2025-12-05", "", "2025-12-02", "2025-12-09"))]
    write(owned, ["customer_id", "product_id", "time"], again)
    found = world.assemble(read(owned, ["customer_id", "product_id"]), read(customers, ["customer_id"]), None, 1)
    assert found.time is not None
    first = found.time[3, found.catalogue.index["A"]]
    assert first == np.datetime64("2025-12-02", "s").astype(np.int64)


def test_a_missing_file_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path, tmp_path / "none.csv", tmp_path / "none.csv")[0] == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    from services.recommend.offline.tables import columns, read

    table = pa.table({"customer_id": [1.0, 2.0], "age": [30, None], "since": [date(2020, 1, 1), None]})
    pq.write_table(table, tmp_path / "c.parquet")
    source = read(tmp_path / "c.parquet", ["customer_id"])
    assert source.table["customer_id"].to_pylist() == ["1", "2"]
    told = columns(source.table, ["customer_id"])
    assert told["age"] == [30, None]
    assert told["since"][0] == 18262.0
    assert np.isnan(told["since"][1])


def test_types_are_inferred_and_what_is_odd_is_told() -> None:
    """R004-011, R004-012: an unseen or missing category is none of those known; numbers stay as they are."""
    columns: dict[str, Sequence[Any]] = {
        "age": ["30", "", "41", "52", "60", "71", "33", "44", "55", "66", "60", "61", "62", "x"],
        "plan": ["a", "b", None, "a", "c", "a", "b", "c", "a", "b", "a", "a", "a", "a"],
        "member": [True, False, True, None, True, False, True, True, False, True, True, True, True, True],
        "sex": ["f", "m"] * 7,
    }
    told = encoding.encode(columns)
    assert told.names[:2] == ("age", "plan=a")
    assert "sex=m" in told.names
    assert "sex=f" not in told.names
    assert np.isnan(told.values[[1, 13], 0]).all()
    assert told.values[2, [told.names.index(f"plan={word}") for word in "abc"]].tolist() == [0, 0, 0]
    assert any("age: 1 values are no numbers" in each for each in told.warnings)


def test_a_column_of_names_is_no_feature() -> None:
    told = encoding.encode({"name": [f"n{number}" for number in range(100)]})
    assert told.names == ()
    assert "a name and no category" in told.dropped["name"]


def test_a_bill_made_of_what_is_owned_is_found_out() -> None:
    rng = np.random.default_rng(0)
    owned = rng.random((500, 6)) < 0.4
    tier = rng.integers(0, 3, 500)
    bill = 30 * tier + owned @ np.array([5, 7, 10, 12, 3, 8]) + rng.normal(0, 0.3, 500)
    usage = 2 * tier + owned[:, 0] + rng.normal(0, 1.5, 500)
    values = np.column_stack([bill, tier, usage]).astype(np.float32)
    assert set(encoding.leaks(["bill", "tier", "usage"], values, owned)) == {"bill"}
