"""Replay: whoever has the events, the rules and the fields proves a period by himself."""

import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.kit.db import Database
from services.kit.errors import Refusal
from services.points import offline
from services.points.domain.event import Event
from services.points.domain.period import State
from services.points.domain.reference import FEEDS, PLACE_FIELDS
from services.points.lake.replay import ENGINES
from tests.fixtures.postgres import Fresh
from tests.points import ingest
from tests.points.desk import Desk, forget
from tests.points.made import PRODUCTS, RULES, STAFF, event, placed, refund
from tests.points.test_periods import CAPPED, work
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


def foldered(tmp_path: Path) -> None:
    """A folder of rules whose file has no date."""
    definition = (tmp_path / "rules.yaml").read_text()
    (tmp_path / "rules.yaml").unlink()
    (tmp_path / "rules.yaml").mkdir()
    (tmp_path / "rules.yaml" / "main.yaml").write_text(definition)


async def exported(desk: Desk, folder: Path) -> list[str]:
    """The arguments of a replay over what the service exports of September."""
    data = b"".join([part async for part in desk.periods.export("2026-09")])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
    assert (await desk.period()).accrual_sha256 in (folder / "README.txt").read_text()
    return [f"--rules={folder / 'rules'}", f"--out={folder / 'entries.parquet'}"] + [
        f"--{name}={folder / name}.parquet" for name in ("events", "fields", "adjustments")
    ]


async def test_anybody_proves_a_closed_period_from_its_export(
    db: Database, database: Fresh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two names, a version that takes over in mid month, places, a correction by hand, late and early refunds."""
    forget(database)
    desk = Desk(db)
    desk.told.place_rows = [placed("grid", "G1", "S1", until=12), placed("grid", "G1", "S3", 4000, since=12)]
    await desk.learn(*FEEDS, PLACE_FIELDS)
    await desk.publish(CAPPED)
    await desk.publish(CAPPED.replace("fixed: 1001", "fixed: 1777"), date(2026, 9, 13))
    await desk.publish(RULES.replace("fixed: 700", "fixed: 70"), date(2026, 9, 11), "second")
    early = [replace(each, occur_time=each.occur_time - timedelta(days=20)) for each in business(30)]
    events = [replace(each, source="shop", event_id=f"shop-{each.line}") for each in early]
    for one in business(400):
        when = one.occur_time + timedelta(minutes=20 * one.line)  # over six days
        events.append(replace(one, occur_time=when, receive_time=when, grid_id="G1" if one.line % 3 else ""))
    events.append(refund(900, 11, source="shop"))
    await desk.take(*events)
    made = await desk.corrections.propose(desk.key(), "S2", "stock", -700, "told twice", "li.lei")
    await desk.corrections.decide(desk.key(), made.adjustment_id, "han.mei", post=True)
    await desk.periods.begin(desk.key(), "calculate", "2026-09", "li.lei")
    await work(desk)
    await desk.periods.move(desk.key(), "2026-09", State.LOCKED, "li.lei")
    await desk.take(event(5000, grid_id="G1"))  # late: posted in October
    period = await desk.period()
    assert period.sha256 != period.accrual_sha256
    arguments = await exported(desk, tmp_path)
    for engine in ENGINES:
        assert offline.replay([*arguments, f"--engine={engine}"]) == 0
        assert f"sha256 {period.accrual_sha256}" in capsys.readouterr().out
    with pytest.raises(Refusal, match="PERIOD_NOT_FOUND"):
        [part async for part in desk.periods.export("2031-01")]


@pytest.mark.parametrize(
    ("spoil", "about"),
    [
        (lambda tmp: (tmp / "rules.yaml").write_text("tables: 1"), "tables: is not a mapping"),
        (lambda tmp: (tmp / "rules.yaml").unlink(), "rules.yaml: "),
        (lambda tmp: (tmp / "rules.yaml").rename(tmp / "r") and (tmp / "rules.yaml").mkdir(), "holds no rules"),
        (lambda tmp: foldered(tmp), "is not called NAME@DATE.yaml"),
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
