"""Latent models with their graphs, labels, and what was said of customers by the live models."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text

from services.kit.db import Read, Write

_COLUMNS = (
    "model_id, target, version, state, algorithm, reason, classes, features, rows, metrics, run_id, lead_days, sha256, "
    "author, approver, create_time"
)
_BY_ID = f"SELECT {_COLUMNS} FROM latent_model WHERE model_id = :model_id"
_PAGE = text(
    f"SELECT {_COLUMNS} FROM latent_model WHERE (:target = '' OR target = :target) AND (:after = '' OR "
    "(create_time, model_id) < (SELECT m.create_time, m.model_id FROM latent_model m WHERE m.model_id = :after)) "
    "ORDER BY create_time DESC, model_id DESC LIMIT :size"
)
_LIVE = text(f"SELECT {_COLUMNS} FROM latent_model WHERE state = 'LIVE' ORDER BY target")
_GRAPH = text("SELECT graph FROM latent_model WHERE model_id = :model_id")
_PUT = text(
    "INSERT INTO latent_model (model_id, target, version, state, algorithm, reason, classes, features, rows, metrics, "
    "run_id, lead_days, sha256, graph, author, create_time) SELECT :model_id, :target, COALESCE((SELECT max(version) "
    "FROM latent_model WHERE target = :target), 0) + 1, 'CANDIDATE', :algorithm, :reason, CAST(:classes AS jsonb), "
    "CAST(:features AS jsonb), :rows, CAST(:metrics AS jsonb), :run_id, :lead_days, :sha256, :graph, :author, "
    ":create_time"
)
_RETIRE = text("UPDATE latent_model SET state = 'RETIRED' WHERE state = 'LIVE' AND target = :target")
_GO_LIVE = text("UPDATE latent_model SET state = 'LIVE', approver = :approver, note = :note WHERE model_id = :model_id")
_PUT_LABEL = text(
    "INSERT INTO latent_label (target, customer_key, org_id, label, author, time) SELECT :target, p.customer_key, "
    "p.org_id, :label, :author, :time FROM current_run c JOIN portrait p ON p.run_no = c.run_no AND p.customer_key = "
    ":customer_key ON CONFLICT (target, customer_key) DO UPDATE SET label = EXCLUDED.label, author = EXCLUDED.author, "
    "time = EXCLUDED.time"
)
_LABELS = text("SELECT customer_key, label FROM latent_label WHERE target = :target ORDER BY customer_key")
_DISAGREEMENTS = text(
    "SELECT l.customer_key, l.label, l.author, v.value AS predicted, v.probability FROM latent_label l "
    "JOIN latent_value v ON v.customer_key = l.customer_key AND v.target = l.target "
    "WHERE l.target = :target AND v.value <> l.label ORDER BY v.probability DESC, l.customer_key "
    "OFFSET :skip LIMIT :size"
)
_SCORED = text("SELECT run_id, to_date, models, score_time FROM latent_score")
_PUT_SCORED = text(
    "INSERT INTO latent_score (run_id, to_date, models, score_time) "
    "VALUES (:run_id, :to_date, CAST(:models AS jsonb), :now) ON CONFLICT (one) DO UPDATE SET "
    "run_id = EXCLUDED.run_id, to_date = EXCLUDED.to_date, models = EXCLUDED.models, score_time = EXCLUDED.score_time"
)
_TABLES: Mapping[str, tuple[str, ...]] = {
    "latent_value": ("customer_key", "target", "org_id", "value", "probability", "danger", "model_id"),
    "inferred_attribute": ("customer_key", "feature", "org_id", "value", "confidence"),
    "customer_warning": ("customer_key", "kind", "org_id", "score", "lead_days", "evidence", "since_date"),
}
_WITHOUT_ERASED = [
    text(f"DELETE FROM {table} t USING erased_customer e WHERE t.customer_key = e.customer_key") for table in _TABLES
]
_VALUES = text(
    "SELECT v.target, v.value, v.probability, v.model_id, m.version AS model_version, "
    "COALESCE((m.metrics ->> 'calibration_error')::float8, 0) AS calibration_error "
    "FROM latent_value v JOIN latent_model m USING (model_id) WHERE v.customer_key = :customer_key ORDER BY v.target"
)
_INFERRED = text(
    "SELECT feature, value, confidence FROM inferred_attribute WHERE customer_key = :customer_key ORDER BY feature"
)
_WARNINGS = text(
    "SELECT customer_key, kind, score, lead_days, evidence FROM customer_warning WHERE (:kind = '' OR kind = :kind) "
    "AND score >= :least ORDER BY score DESC, customer_key, kind OFFSET :skip LIMIT :size"
)
_SINCE = text("SELECT customer_key, kind, since_date FROM customer_warning WHERE since_date IS NOT NULL")
_MATRIX = text(
    "SELECT CASE WHEN c.danger >= 0.5 THEN 'high' WHEN c.danger >= 0.2 THEN 'middle' ELSE 'low' END AS churn, v.value, "
    "count(*) AS customers, sum(c.danger) AS danger FROM latent_value c JOIN latent_value v "
    "ON v.customer_key = c.customer_key AND v.target = 'VALUE' WHERE c.target = 'CHURN' GROUP BY 1, 2"
)


@dataclass(frozen=True)
class Model:
    """A version of what was learnt of a target."""

    model_id: str
    target: str
    version: int
    state: str
    algorithm: str
    reason: str
    classes: Sequence[str]
    features: Sequence[str]
    rows: int
    metrics: Mapping[str, float]
    run_id: str
    lead_days: int
    sha256: str
    author: str
    approver: str
    create_time: datetime


class Latent:
    """By model, target and customer."""

    async def model(self, read: Read, model_id: str) -> Model | None:
        """A model."""
        row = await read.row(text(_BY_ID), {"model_id": model_id})
        return _model(row) if row is not None else None

    async def for_update(self, tx: Write, model_id: str) -> Model | None:
        """A model, locked until the transaction ends."""
        row = await tx.row(text(f"{_BY_ID} FOR UPDATE"), {"model_id": model_id})
        return _model(row) if row is not None else None

    async def page(self, read: Read, target: str, after: str, size: int) -> list[Model]:
        """Models, the latest first."""
        return [_model(row) for row in await read.rows(_PAGE, {"target": target, "after": after, "size": size})]

    async def live(self, read: Read) -> list[Model]:
        """The live models by target."""
        return [_model(row) for row in await read.rows(_LIVE)]

    async def graph(self, read: Read, model_id: str) -> bytes:
        """The ONNX graph of a model."""
        return bytes(await read.value(_GRAPH, {"model_id": model_id}))

    async def put(self, tx: Write, told: Mapping[str, Any], graph: bytes) -> None:
        """Keep a candidate, as the next version of its target."""
        plain = {name: json.dumps(told[name], ensure_ascii=False) for name in ("classes", "features", "metrics")}
        await tx.execute(_PUT, {**told, **plain, "graph": graph})

    async def go_live(self, tx: Write, model: Model, approver: str, note: str) -> None:
        """Put it in the place of the live one."""
        await tx.execute(_RETIRE, {"target": model.target})
        await tx.execute(_GO_LIVE, {"model_id": model.model_id, "approver": approver, "note": note})

    async def put_labels(self, tx: Write, target: str, labels: Mapping[int, str], author: str, now: datetime) -> int:
        """Keep labels of customers of the current run; gives how many were kept."""
        kept = 0
        for key, label in labels.items():
            row = {"target": target, "customer_key": key, "label": label, "author": author, "time": now}
            kept += await tx.execute(_PUT_LABEL, row)
        return kept

    async def labels(self, read: Read, target: str) -> dict[int, str]:
        """Labels by customer."""
        return {row.customer_key: row.label for row in await read.rows(_LABELS, {"target": target})}

    async def disagreements(self, read: Read, target: str, skip: int, size: int) -> list[Row[Any]]:
        """Labelled customers whom the live model sees otherwise."""
        return await read.rows(_DISAGREEMENTS, {"target": target, "skip": skip, "size": size})

    async def scored(self, read: Read) -> tuple[str, date, list[str], datetime | None] | None:
        """Run, its last day, the models of what is said now, and when they said it."""
        row = await read.row(_SCORED)
        return (row.run_id, row.to_date, list(row.models), row.score_time) if row is not None else None

    async def replace(
        self,
        tx: Write,
        run_id: str,
        to_date: date,
        models: Sequence[str],
        rows: Mapping[str, Iterable[Sequence[Any]]],
        now: datetime,
    ) -> None:
        """Put what is said of everybody in the place of what was said; who was erased is not spoken of."""
        told = {"run_id": run_id, "to_date": to_date, "models": json.dumps(list(models)), "now": now}
        await tx.execute(_PUT_SCORED, told)
        for table, columns in _TABLES.items():
            await tx.execute(text(f"DELETE FROM {table}"))
            await tx.copy(table, columns, rows[table])
        for statement in _WITHOUT_ERASED:
            await tx.execute(statement)

    async def warned_since(self, read: Read) -> dict[tuple[int, str], date]:
        """Since when each customer has been warned of each kind of event."""
        rows = await read.rows(_SINCE)
        return {(row.customer_key, row.kind): row.since_date for row in rows}

    async def values(self, read: Read, customer_key: int) -> tuple[list[Row[Any]], list[Row[Any]]]:
        """A customer's latent values and inferred attributes."""
        told = {"customer_key": customer_key}
        return await read.rows(_VALUES, told), await read.rows(_INFERRED, told)

    async def warnings(self, read: Read, kind: str, least: float, skip: int, size: int) -> list[Row[Any]]:
        """A page of warnings, the highest score first."""
        return await read.rows(_WARNINGS, {"kind": kind, "least": least, "skip": skip, "size": size})

    async def matrix(self, read: Read) -> dict[tuple[str, str], tuple[int, float]]:
        """Customers and summed danger by (churn grade, value)."""
        rows = await read.rows(_MATRIX)
        return {(row.churn, row.value): (row.customers, row.danger) for row in rows}


def scoring(scored: tuple[str, date, list[str], datetime | None] | None) -> str:
    """Which scoring it was, "" before the first: a run is scored anew when another model is in force."""
    return f"{scored[0]} {scored[3]}" if scored is not None else ""


def _model(row: Row[Any]) -> Model:
    return Model(**{name.strip(): getattr(row, name.strip()) for name in _COLUMNS.split(",")})
