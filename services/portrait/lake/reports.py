"""Figures of reports from the files of a run: one in-memory engine, its views, one query for each table (DuckDB).

A view holds the rows of the caller's organisations and of nobody else. One thread: sums of floating-point numbers come
out the same each time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.report import Measured, Table
from services.portrait.domain.report.figures import TOTAL
from services.portrait.domain.run import LakeFile
from services.portrait.lake.files import read

KINDS = ("features", "stats", "tags", "anchors", "dwell", "places")
WHITE_COLLAR, BASKETBALL, DATA_HEAVY = "HU01", "PR01", "CA03"
STAY_DAYS = 3
FAMILIES = ("区域归属圈", "人文圈", "需求偏好圈", "动态行为圈")

_STATS = {
    "age": "age", "arpu_1m": "arpu", "dou_mb_1m": "dou_mb", "mou_1m": "mou", "overage_fee_3m": "overage",
    "products_active": "products",
}  # fmt: skip
_WORDS = ("gender", "brand", "plan_tier")
_PRODUCTS = {
    "product_music": "无线音乐", "product_mail": "手机邮箱", "product_pay": "手机支付", "product_im": "即时通信",
    "product_news": "手机报",
}  # fmt: skip
_SLOTS = ("late", "early", "am", "noon", "pm", "eve", "night")
_SLOT_NAMES = ("深夜", "清晨", "上午", "午间", "下午", "傍晚", "夜间")
_LEVELS = ((30, "30元以下"), (60, "30—60元"), (100, "60—100元"), (200, "100—200元"))
_ABOVE, _UNKNOWN = "200元以上", "无账单"


def _products() -> str:
    parts = (
        f"UNION ALL SELECT customer_key, '{name}' FROM customer WHERE {each} > 0" for each, name in _PRODUCTS.items()
    )
    return " ".join(parts)


_VIEWS = f"""
CREATE TABLE customer AS
SELECT f.customer_key, f.org_id, s.* EXCLUDE (customer_key), coalesce(h.town, '未知') AS home_town,
       coalesce(s.active AND s.dou_mb > 0, false) AS data_active,
       CASE WHEN s.arpu IS NULL THEN '{_UNKNOWN}'
            {" ".join(f"WHEN s.arpu < {most} THEN '{name}'" for most, name in _LEVELS)} ELSE '{_ABOVE}' END
       AS spend_level,
       CASE WHEN s.arpu IS NULL THEN 9
            {" ".join(f"WHEN s.arpu < {most} THEN {place}" for place, (most, _) in enumerate(_LEVELS))} ELSE 8 END
       AS spend_number,
       coalesce(t.white_collar, false) AS white_collar, coalesce(t.basketball, false) AS basketball
FROM features f
LEFT JOIN stats s USING (customer_key)
LEFT JOIN (SELECT customer_key, any_value(town) AS town FROM anchors WHERE role = 'home' GROUP BY customer_key) h
    USING (customer_key)
LEFT JOIN (SELECT customer_key, bool_or(code = '{WHITE_COLLAR}') AS white_collar,
                  bool_or(code = '{BASKETBALL}') AS basketball FROM tags GROUP BY customer_key) t USING (customer_key)
ORDER BY customer_key;
CREATE TABLE tag AS
SELECT customer_key, code, value, n.name, n.family, n.kind FROM tags JOIN names n USING (code)
SEMI JOIN customer USING (customer_key) ORDER BY customer_key, code, value;
CREATE TABLE circle AS
SELECT customer_key, code, family, name AS circle, count(*) OVER (PARTITION BY code) AS bearers
FROM (SELECT DISTINCT customer_key, code, family, name FROM tag WHERE kind = 'flag' AND family IN {FAMILIES})
ORDER BY customer_key, code;
CREATE TABLE dwell AS
SELECT d.customer_key, s.name AS slot, s.number AS slot_number,
       CASE WHEN workday THEN '工作日' ELSE '休息日' END AS day_type,
       coalesce(c.level1, '未分类') AS area, coalesce(c.level3, '未分类') AS class,
       coalesce(p.name, d.place_id) AS place_name, coalesce(p.town, '') AS town, d.place_id, d.days, d.secs
FROM dwelt d JOIN slots s ON s.code = d.slot
LEFT JOIN classes c ON c.code = d.place_class LEFT JOIN places p USING (place_id)
ORDER BY customer_key, place_id, slot_number, day_type;
CREATE TABLE arrival AS
SELECT a.customer_key, s.name AS slot, s.number AS slot_number,
       CASE WHEN workday THEN '工作日' ELSE '休息日' END AS day_type, coalesce(c.level1, '未分类') AS area, a.days
FROM arrived a JOIN slots s USING (number) LEFT JOIN classes c ON c.code = a.place_class
ORDER BY customer_key, area, slot_number, day_type;
CREATE TABLE stay AS
SELECT customer_key, area FROM
    (SELECT e.customer_key, coalesce(c.level1, '未分类') AS area, e.date
     FROM seen e LEFT JOIN classes c ON c.code = e.place_class)
GROUP BY customer_key, area HAVING count(DISTINCT date) >= {STAY_DAYS} ORDER BY customer_key, area;
CREATE TABLE service AS
SELECT customer_key, service FROM (
    SELECT customer_key, '5G套餐' AS service FROM customer WHERE plan_tier = '5G'
    UNION ALL SELECT customer_key, '增值产品' FROM customer WHERE products > 0
    UNION ALL SELECT DISTINCT customer_key, '流量密集' FROM tag WHERE code = '{DATA_HEAVY}'
    {_products()}
) ORDER BY customer_key, service;
CREATE TABLE offered AS SELECT service, count(*) AS base FROM service GROUP BY service ORDER BY service;
CREATE TABLE whole AS
SELECT (SELECT count(*) FROM customer) AS customers, (SELECT count(*) FROM customer WHERE data_active) AS active,
       (SELECT sum(dou_mb) FROM customer) AS data_mb, (SELECT sum(arpu) FROM customer) AS spend,
       (SELECT sum(secs) FROM dwell) AS secs;
"""

_MOVEMENT = """
CREATE TABLE now.movement AS
WITH both_runs AS (
    SELECT coalesce(n.circle, b.circle) AS circle, (n.code IS NOT NULL AND b.code IS NOT NULL)::INT AS stayed,
           (b.code IS NULL)::INT AS joined, (n.code IS NULL)::INT AS gone
    FROM now.circle n FULL JOIN before.circle b USING (customer_key, code)),
levels AS (
    SELECT circle, spend_level, count(*) FILTER (WHERE now) AS n, count(*) FILTER (WHERE NOT now) AS b FROM (
        SELECT circle, spend_level, true AS now FROM now.circle JOIN now.customer USING (customer_key)
        UNION ALL SELECT circle, spend_level, false FROM before.circle JOIN before.customer USING (customer_key))
    GROUP BY circle, spend_level),
shares AS (
    SELECT circle, (n + 0.5) / sum(n + 0.5) OVER w AS p, (b + 0.5) / sum(b + 0.5) OVER w AS q
    FROM levels WINDOW w AS (PARTITION BY circle)),
stability AS (SELECT circle, sum((p - q) * ln(p / q)) AS psi FROM shares GROUP BY circle)
SELECT circle, stayed, joined, gone, psi FROM both_runs JOIN stability USING (circle);
"""


@dataclass(frozen=True)
class Names:
    """What codes are called: tags by code (name, family, kind), classes by code (three levels)."""

    tags: Mapping[str, tuple[str, str, str]]
    classes: Mapping[str, Sequence[str]]


class ReportEngine:
    """A run, and the run before where there is one, ready to be asked; `orgs` limits the customers, None for all.

    with ReportEngine(names, files, before, orgs) as engine:
        engine.measure(table)
    """

    def __init__(
        self,
        names: Names,
        files: Mapping[str, Sequence[LakeFile]],
        before: Mapping[str, Sequence[LakeFile]] | None,
        orgs: frozenset[str] | None,
    ) -> None:
        self._engine = duckdb.connect(config={"memory_limit": "2GB", "threads": 1})
        self._compares = before is not None
        for schema, each in (("now", files), ("before", before)):
            if each is not None:
                self._open(schema, names, each, orgs)
        if before is not None:
            self._engine.execute(_MOVEMENT)

    def __enter__(self) -> Self:
        """The engine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drops everything."""
        self._engine.close()

    def measure(self, table: Table, *, earlier: bool = False) -> list[Measured]:
        """The lines of a table in its order, lines of totals last; `earlier` asks the run before. A table that needs
        the run before has none without it."""
        if table.needs_before and (earlier or not self._compares):
            return []
        self._engine.execute(f"SET schema = '{'before' if earlier else 'now'}'")
        lines = self._ask(table, None)
        return lines + (self._ask(table, table.total) if table.total is not None else [])

    def _ask(self, table: Table, kept: Sequence[int] | None) -> list[Measured]:
        keys = [
            f'{column.formula} AS "{column.name}"'
            if kept is None or place in kept
            else f"'{TOTAL}' AS \"{column.name}\""
            for place, column in enumerate(table.dimensions)
        ]
        people = [f"({formula})::BIGINT AS people_{place}" for place, formula in enumerate(table.people)]
        measures = [f'{column.formula} AS "{column.name}"' for column in table.measures]
        grouped = [str(place + 1) for place in range(len(keys)) if kept is None or place in kept]
        last = ", ".join(f'"{column.name}"' for column in table.dimensions)
        sql = (
            f"SELECT {', '.join([*keys, *people, *measures])} FROM {table.source}"
            + (f" WHERE {table.where}" if table.where else "")
            + (f" GROUP BY {', '.join(grouped)}" if grouped else "")
            + " HAVING count(*) > 0"
            + f" ORDER BY {table.order + ', ' if table.order and kept is None else ''}{last}"
        )
        rows = self._engine.execute(sql).fetchall()
        width, counts = len(keys), len(keys) + len(people)
        return [Measured(row[:width], row[width:counts], row[counts:], kept is not None) for row in rows]

    def _open(
        self, schema: str, names: Names, files: Mapping[str, Sequence[LakeFile]], orgs: frozenset[str] | None
    ) -> None:
        engine = self._engine
        engine.execute(f"CREATE SCHEMA {schema}; SET schema = '{schema}'")
        features = _mine(_together(files["features"], ["customer_key", "org_id"]), orgs)
        mine = features.select(["customer_key"])
        tables = {
            "features": features,
            "stats": _stats(files["stats"]).join(mine, "customer_key", join_type="inner"),
            "tags": _mine(_together(files["tags"], ["customer_key", "org_id", "code", "value"]), orgs),
            "anchors": _mine(_together(files["anchors"], ["customer_key", "org_id", "role", "town"]), orgs),
            "places": _together(files["places"], ["place_id", "name", "town"]),
            **_dwell(files["dwell"], orgs),
            **_named(names),
        }
        for name, each in tables.items():
            engine.register(name, each)
        for statement in _VIEWS.split(";\n"):
            if statement.strip():
                engine.execute(statement)
        for name in tables:
            engine.unregister(name)


def _together(files: Sequence[LakeFile], columns: Sequence[str]) -> pa.Table:
    return pa.concat_tables([read(file, columns) for file in files])


def _mine(table: pa.Table, orgs: frozenset[str] | None) -> pa.Table:
    return table if orgs is None else table.filter(pc.is_in(table["org_id"], pa.array(sorted(orgs), pa.string())))


def _stats(files: Sequence[LakeFile]) -> pa.Table:
    """The stat columns that reports look at; what is not known is null."""
    table = _together(files, ["customer_key", "active", *_STATS, *_WORDS, *_PRODUCTS])
    told = {"customer_key": table["customer_key"], "active": table["active"]}
    for column, name in (*_STATS.items(), *((each, each) for each in _PRODUCTS)):
        values = pc.cast(table[column], pa.float64())
        told[name] = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    return pa.table({**told, **{name: table[name] for name in _WORDS}})


def _dwell(files: Sequence[LakeFile], orgs: frozenset[str] | None) -> dict[str, pa.Table]:
    """Dwell by customer, place, slot and kind of day; on which days he was in a class of places; and on how many of
    them he was first there in which slot. File by file."""
    dwelt, seen, arrived = [], [], []
    names = ["customer_key", "org_id", "date", "workday", "slot", "place_id", "place_class", "secs"]
    for file in files:
        rows = _mine(read(file, names), orgs)
        keys = ["customer_key", "workday", "slot", "place_id", "place_class"]
        dwelt.append(rows.group_by(keys).aggregate([("secs", "sum"), ("date", "count_distinct")]))
        seen.append(rows.group_by(["customer_key", "place_class", "date"]).aggregate([]))
        numbered = rows.append_column("number", pc.index_in(rows["slot"], pa.array(_SLOTS)))
        first = numbered.group_by(["customer_key", "workday", "place_class", "date"]).aggregate([("number", "min")])
        kinds = ["customer_key", "workday", "place_class", "number_min"]
        arrived.append(first.group_by(kinds).aggregate([("date", "count")]))
    summed = pa.concat_tables(dwelt).rename_columns([*keys, "secs", "days"])
    whole = pa.concat_tables(arrived).rename_columns(["customer_key", "workday", "place_class", "number", "days"])
    return {"dwelt": summed, "seen": pa.concat_tables(seen), "arrived": whole}


def _named(names: Names) -> dict[str, pa.Table]:
    tags, classes = sorted(names.tags.items()), sorted(names.classes.items())
    return {
        "names": pa.table(
            {
                "code": pa.array([code for code, _ in tags], pa.string()),
                **{
                    title: pa.array([told[place] for _, told in tags], pa.string())
                    for place, title in enumerate(("name", "family", "kind"))
                },
            }
        ),
        "classes": pa.table(
            {
                "code": pa.array([code for code, _ in classes], pa.string()),
                "level1": pa.array([levels[0] for _, levels in classes], pa.string()),
                "level3": pa.array([levels[-1] for _, levels in classes], pa.string()),
            }
        ),
        "slots": pa.table({"code": list(_SLOTS), "name": list(_SLOT_NAMES), "number": list(range(len(_SLOTS)))}),
    }
