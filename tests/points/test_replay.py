"""Replay: whoever has the events, the rules and the fields proves a period by himself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.kit.db import Database
from services.points import offline
from services.points.domain.event import Event
from tests.fixtures.postgres import Fresh
from tests.points import ingest
from tests.points.desk import Desk, forget
from tests.points.made import PRODUCTS, RULES, STAFF
from tests.points.test_process import business


def files(tmp_path: Path, events: list[Event]) -> list[str]:
    """The arguments of a replay over files that say what the desk knows."""
    names = ("source", "source_event_id", "type", "customer_key", "product_id", "staff_id", "channel", "amount_fen",
             "origin_event_id", "occur_time")  # fmt: skip
    columns: dict[str, Any] = {name: [getattr(event, name) for event in events] for name in names}
    columns["occur_time"] = pa.array(columns["occur_time"], pa.timestamp("us", tz="UTC"))
    columns["category"] = [PRODUCTS.get(event.product_id, "") for event in events]
    columns["staff_role"] = [STAFF[event.staff_id][1] if event.staff_id else "" for event in events]
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    fields = {name: pa.array(values, ingest.TYPES.get(name)) for name, values in ingest.FIELDS.items()}
    pq.write_table(pa.table(fields), tmp_path / "fields.parquet")
    (tmp_path / "rules.yaml").write_text(RULES)
    return [f"--{name}={tmp_path / name}.{kind}" for name, kind in (("events", "parquet"), ("fields", "parquet"))] + [
        f"--rules={tmp_path / 'rules.yaml'}",
        f"--out={tmp_path / 'entries.parquet'}",
    ]


async def test_replay_reproduces_the_checksum_of_the_period(
    db: Database, database: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [event for event in business(300) if event.product_id != "P9"]
    forget(database)
    desk = Desk(db)
    await desk.publish()
    await desk.learn()
    await desk.take(*events)
    period = await desk.period()
    assert offline.replay(files(tmp_path, events)) == 0
    assert f"{period.milli_points:,} milli-points  sha256 {period.accrual_sha256}" in capsys.readouterr().out
    out = pq.read_table(tmp_path / "entries.parquet")
    assert sum(out.column("milli_points").to_pylist()) == period.milli_points
    for engine in ("sql", "reference"):
        assert offline.replay([*files(tmp_path, events), f"--engine={engine}"]) == 0
        assert period.sha256 in capsys.readouterr().out
    # Any order of the rows, and rows that stand twice, say the same.
    assert offline.replay(files(tmp_path, events[::-1] + events[:50])) == 0
    assert period.sha256 in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "about"),
    [
        (lambda tmp: (tmp / "rules.yaml").write_text("tables: 1"), "tables: is not a mapping"),
        (lambda tmp: (tmp / "rules.yaml").unlink(), "rules.yaml: "),
        (lambda tmp: (tmp / "events.parquet").write_text("no"), "events.parquet: "),
        (lambda tmp: pq.write_table(pa.table({"source": ["x"]}), tmp / "events.parquet"), "source_event_id is missing"),
    ],
)
def test_bad_input_ends_with_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, about: str
) -> None:
    arguments = files(tmp_path, business(3))
    spoil(tmp_path)
    assert offline.replay(arguments) == 2
    said = capsys.readouterr().err
    assert about in said
    assert said.startswith("replay: ")
    assert len(said.strip().splitlines()) == 1


def test_the_verb_stands(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.points", "replay", *files(tmp_path, business(30))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sha256" in done.stdout
