"""zen-engine on the same decision tables: reads events.parquet and rules.json of a folder, says its CPU time."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import zen

COLUMNS = ("type", "category", "channel")


def decision(table: list[dict]) -> dict:
    """Makes one decision table: the first row that matches gives fixed, num and den."""
    inputs = [{"id": name, "name": name, "field": name} for name in (*COLUMNS, "amount_fen")]
    outputs = [{"id": name, "name": name, "field": name} for name in ("fixed", "num", "den")]
    rules = []
    for number, row in enumerate(table):
        cells = {
            name: ", ".join(json.dumps(v, ensure_ascii=False) for v in row["sets"].get(name, [])) for name in COLUMNS
        }
        numbers = {name: str(row[name]) for name in ("fixed", "num", "den")}
        rules.append({"_id": f"r{number}", **cells, "amount_fen": f">= {row['low']}", **numbers})
    content = {"hitPolicy": "first", "inputs": inputs, "outputs": outputs, "rules": rules}
    nodes = [
        {"id": "in", "name": "in", "type": "inputNode", "position": {"x": 0, "y": 0}},
        {"id": "t", "name": "t", "type": "decisionTableNode", "content": content, "position": {"x": 0, "y": 0}},
        {"id": "out", "name": "out", "type": "outputNode", "position": {"x": 0, "y": 0}},
    ]
    edges = [
        {"id": "a", "sourceId": "in", "targetId": "t", "type": "edge"},
        {"id": "b", "sourceId": "t", "targetId": "out", "type": "edge"},
    ]
    return {"nodes": nodes, "edges": edges}


def main() -> None:
    """Evaluates every table on every event, in batches."""
    folder = Path(sys.argv[1])
    rows = pq.read_table(folder / "events.parquet", columns=[*COLUMNS, "amount_fen"]).to_pylist()
    tables = json.loads((folder / "rules.json").read_text())
    contents = {str(number): json.dumps(decision(table)) for number, table in enumerate(tables)}
    engine = zen.ZenEngine({"loader": contents.__getitem__})
    for key in contents:
        engine.evaluate(key, rows[0])
    began = time.process_time()
    points = 0
    for key in contents:
        answers = engine.evaluate_batch([{"key": key, "context": row} for row in rows])
        for row, answer in zip(rows, answers, strict=True):
            found = answer["data"]["result"]
            if found:
                points += int(found["fixed"]) + row["amount_fen"] * int(found["num"]) // int(found["den"])
    print(json.dumps({"cpu_seconds": time.process_time() - began, "milli_points": points}))


if __name__ == "__main__":
    main()
