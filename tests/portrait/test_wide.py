"""The feature catalogue: enough items of every type, and a wide table equal to features counted one by one."""

from collections import Counter
from datetime import date, datetime, timedelta
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from lifecircle.portrait import v1
from services.portrait.domain.tag import parse
from services.portrait.domain.wide import CATALOGUES, TYPES, FeaturesInvalid, Item, parse_book, parse_features
from services.portrait.lake.wide import wide_table

SHIPPED = Path("services/portrait/catalogue/features.yaml")
TO = date(2026, 9, 30)
ZERO = ("count", "days", "sum", "distinct", "both")


@pytest.fixture(scope="module")
def items() -> tuple[Item, ...]:
    return parse_features(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))


def test_the_catalogue_holds_its_items_in_seven_types_each_with_its_definition(items: tuple[Item, ...]) -> None:
    """R004-006, R004-013: items with definition, owner, source, refresh and kind of derivation; R, F, M among them.

    R002-015: at least 833 items in 7 types. R000-030: more of them derived than raw.
    """
    assert len(items) >= 833
    assert set(Counter(item.type for item in items)) == set(TYPES)
    assert all(item.definition and item.owner and item.source and item.refresh for item in items)
    assert {item.derivation for item in items if not item.raw} == {"statistics", "model", "reasoning"}
    assert 0 < sum(item.raw for item in items) < sum(not item.raw for item in items), "more is derived than given"
    names = {item.name for item in items}
    assert {"recharge_days_ago_90d", "recharge_count_90d", "recharge_amount_90d", "line_food_count_30d"} <= names


def fields_of(message: Any, prefix: str = "") -> set[str]:
    """The paths of the fields of a message that hold a value, down to other messages' own."""
    found = set()
    for field in message.fields:
        nested, path = field.message_type, f"{prefix}{field.name}"
        own = nested is not None and nested.full_name.startswith("lifecircle.") and not nested.GetOptions().map_entry
        found |= fields_of(nested, f"{path}.") if own and not field.is_repeated else {path}
    return found


def test_every_field_of_a_portrait_is_defined_by_an_entry_of_a_catalogue(items: tuple[Item, ...]) -> None:
    """R000-034: the tree of features has a version, and each field of a portrait its entry."""
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    book = parse_book(document)
    assert book.version
    assert {item.path[:2] for item in items} == {(item.type, item.source) for item in items}
    assert {len(item.path) for item in items if item.kind} == {4}, "type, source, base, window"
    tags = {tag.code for tag in parse(yaml.safe_load((SHIPPED.parent / "tags.yaml").read_text("utf-8"))).tags}
    known = {"features": {item.name for item in items}, "tags": tags, "models": set(v1.LatentTarget.keys())}
    for field, (catalogue, entry) in book.portrait.items():
        entry = f"LATENT_TARGET_{entry}" if catalogue == "models" else entry
        assert entry == "*" or entry in known.get(catalogue, {entry}), field
    covered = set(book.portrait)
    for path in fields_of(v1.Portrait.DESCRIPTOR):
        assert covered & {path, path.rpartition(".")[0], path.partition(".")[0]}, f"{path} is defined nowhere"
    with pytest.raises(FeaturesInvalid, match=r"portrait\.age"):
        parse_book({"portrait": {"age": f"{CATALOGUES[0]}"}})


def feeds(seed: int) -> dict[str, pa.Table]:
    dice = np.random.default_rng(seed)

    def rows(count: int, **columns: Any) -> pa.Table:
        back = dice.integers(-86_400, 100 * 86_400, count)
        time = [datetime.combine(TO, datetime.max.time()) - timedelta(seconds=int(each)) for each in back]
        drawn = {name: dice.choice(values, count) for name, values in columns.items()}
        return pa.table({"customer": dice.integers(1, 6, count), **drawn, "time": pa.array(time, pa.timestamp("ms"))})

    calls = rows(
        400, direction=[1, 2], call_type=[1, 2, 3, 4], seconds=[0, 30, 61], fee_fen=[0, 15], peer=list(range(12))
    )
    data = rows(
        300, seconds=[5, 60], up_kb=[1, 2], down_kb=[10, 900], fee_fen=[0, 7], radio=[4, 5], roaming=[0, 1],
        app_class=["video", "music", "game"],
    )  # fmt: skip
    charges = rows(60, amount_fen=[3000, 5000], channel=["app", "store", "auto"])
    renamed = {"time": "start_time"}
    return {
        "call_details": calls.rename_columns(renamed | {n: n for n in calls.column_names if n != "time"}),
        "data_details": data.rename_columns(renamed | {n: n for n in data.column_names if n != "time"}),
        "recharges": charges,
    }


def counted(item: Item, rows: list[dict[str, Any]], lines: dict[int, str]) -> float | None:
    """One feature of one customer, word by word."""

    def ago(row: dict[str, Any]) -> int:
        days: int = (TO - row[item.time].date()).days
        return days

    def inside(row: dict[str, Any]) -> bool:
        hour, (begin, end) = row[item.time].hour, item.hours
        clock = True if begin == end else hour >= begin or hour < end if begin > end else begin <= hour < end
        column, values = item.where
        told = lines.get(row["peer"]) if column == "peer_class" else row.get(column)
        return clock and (not column or told in values)

    whole = [row for row in rows if 0 <= ago(row) < item.days]
    found = [row for row in whole if inside(row)]
    values = [row[item.column] for row in found] if item.column else []
    if item.kind == "count":
        return len(found)
    if item.kind == "days":
        return len({ago(row) for row in found})
    if item.kind == "sum":
        return float(sum(values))
    if item.kind == "mean":
        return float(sum(values)) / len(values) if values else None
    if item.kind == "distinct":
        return len(set(values))
    if item.kind == "recency":
        back = [ago(row) for row in found]
        return min(back) if back else None
    if item.kind == "both":
        return len(set.intersection(*({row["peer"] for row in found if row["direction"] == way} for way in (1, 2))))
    if item.kind == "entropy":
        return -sum(n / len(values) * log2(n / len(values)) for n in Counter(values).values()) if values else None
    if item.kind == "top5":
        return sum(count for _, count in Counter(values).most_common(5)) / len(values) if values else None
    of = float(sum(row[item.column] for row in whole))
    return float(sum(values)) / of if of else None


@pytest.mark.parametrize("seed", [1, 2])
def test_the_wide_table_is_what_is_counted_one_by_one(items: tuple[Item, ...], seed: int) -> None:
    given, lines = feeds(seed), {3: "food", 4: "health", 5: "finance", 7: "rival"}
    classed = pa.table({"peer": list(lines), "peer_class": list(lines.values())})
    base = pa.array([1, 2, 3, 4, 5, 99])
    table = wide_table(items, given, base, TO, "Asia/Shanghai", classed)
    assert table["customer"].to_pylist() == base.to_pylist()
    asked = [item for item in items if item.kind and item.source in given and item.needs in ("", "peer_class")]
    assert len(asked) > 600
    rows = {source: each.to_pylist() for source, each in given.items()}
    for item in asked:
        found = table[item.name].to_pylist()
        for at, customer in enumerate(base.to_pylist()):
            mine = [row for row in rows[item.source] if row["customer"] == customer]
            expected = counted(item, mine, lines) if mine or item.kind in ZERO else None
            assert found[at] == (pytest.approx(expected) if expected is not None else None), (item, customer)


def test_a_feed_that_is_not_there_gives_no_column(items: tuple[Item, ...]) -> None:
    table = wide_table(items, {"recharges": feeds(1)["recharges"]}, pa.array([1]), TO, "Asia/Shanghai")
    assert "recharge_count_30d" in table.column_names
    assert "call_count_30d" not in table.column_names


def test_a_wrong_catalogue_is_refused() -> None:
    unquoted = {"column": "branch", "prefix": "stay", "zh": "x", "values": {False: "办公"}}
    sets = [{"source": "dwell", "each": unquoted, "measures": {"count": {"zh": "x"}}, "windows": ["7d"]}]
    with pytest.raises(FeaturesInvalid, match="in quotes"):
        parse_features({"format": "features/1", "sets": sets})
    with pytest.raises(FeaturesInvalid, match="format"):
        parse_features({"format": "other"})
