"""A corpus of malformed files through the real process: no crash, no partial load, every reject with its reason.

Each kind is made from a seed, so that a full run has more than 500 files of more than 30 kinds.
"""

import asyncio
import gzip
import io
import json
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import polars as pl
import pytest

from tests.fixtures.counts import FULL, seeds
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Keys
from tests.ingest.made import control_of, drop
from tests.ingest.test_restart import Process, until

MOST_MEMORY = 512 << 20
ROWS = 200
LOADED, HELD = "LOADED", "QUARANTINED"


@dataclass
class Case:
    """One malformed file: what is put where, and what must become of it."""

    data: bytes
    state: str
    reasons: set[str]
    """Of a held file its problems, of a loaded one the reasons of its rejects."""
    control: bytes | None = None
    name: str = ""
    put: Callable[[Path], None] | None = None
    """Puts something else than a plain file under the name."""
    late: list[tuple[Path, bytes]] = field(default_factory=list)


def rows(dice: random.Random, day: date, count: int = ROWS) -> list[bytes]:
    """Good rows of signalling."""
    return [
        f"139{dice.randrange(10**8):08d}|{day:%Y%m%d}{dice.randrange(24):02d}{dice.randrange(60):02d}00|4|40976|"
        f"{dice.randrange(10**6)}".encode()
        for _ in range(count)
    ]


def text(lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


def spoiled(reason: str, change: Callable[[random.Random, list[bytes]], bytes]) -> Callable[..., Case]:
    """A file with three bad rows among good ones: it is loaded without them."""

    def make(dice: random.Random, name: str, day: date) -> Case:
        lines = rows(dice, day)
        for at in dice.sample(range(ROWS), 3):
            lines[at] = change(dice, lines[at].split(b"|"))
        return Case(text(lines), LOADED, {reason})

    return make


def held(reason: str, change: Callable[[random.Random, list[bytes]], bytes]) -> Callable[..., Case]:
    """A file that is held whole."""
    return lambda dice, name, day: Case(change(dice, rows(dice, day)), HELD, {reason})


def controlled(reasons: set[str], **wrong: Any) -> Callable[..., Case]:
    """A good file with a control file that says something else."""

    def make(dice: random.Random, name: str, day: date) -> Case:
        data = text(rows(dice, day))
        return Case(data, HELD, reasons, control_of(name, data, **wrong))

    return make


def field_of(number: int, value: bytes) -> Callable[[random.Random, list[bytes]], bytes]:
    return lambda dice, row: b"|".join([*row[:number], value, *row[number + 1 :]])


def whole_with(dice: random.Random, name: str, day: date) -> Case:
    data = b"\xef\xbb\xbf" + text(rows(dice, day)).replace(b"\n", b"\r\n")
    return Case(data, LOADED, set())


def cut(dice: random.Random, name: str, day: date) -> Case:
    data = text(rows(dice, day))
    short = data[: dice.randrange(len(data) // 2, len(data) - 30)]
    return Case(short, HELD, {"SIZE_WRONG", "ROW_COUNT_WRONG", "CHECKSUM_WRONG"}, control_of(name, data))


def compressed(reason: str, ending: str, pack: Callable[[bytes], bytes], size: int = 0) -> Callable[..., Case]:
    def make(dice: random.Random, name: str, day: date) -> Case:
        data = pack(b"0" * size if size else text(rows(dice, day)))
        return Case(data, HELD, {reason}, name=f"{name}.{ending}")

    return make


def zipped(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as whole:
        whole.writestr("../../etc/passwd", data)
    return made.getvalue()


def other_thing(make: Callable[[Path], None]) -> Callable[..., Case]:
    return lambda dice, name, day: Case(b"", HELD, {"NOT_A_FILE"}, b"x", put=make)


def named(pattern: str) -> Callable[..., Case]:
    return lambda dice, name, day: Case(
        text(rows(dice, day)), HELD, {"NAME_UNKNOWN"}, b"", name=pattern.format(day=day, n=dice.randrange(10**6))
    )


def alone(dice: random.Random, name: str, day: date) -> Case:
    return Case(b"x|1|2|3\n", HELD, {"DATA_FILE_MISSING"}, b"", name=name.replace(".TXT", ".CHK"))


def grown(dice: random.Random, name: str, day: date) -> Case:
    """Rewritten after the control file was made: what is read is not what was sent."""
    lines = rows(dice, day)
    sent, there = text(lines), text([*lines, *rows(dice, day, dice.randrange(1, 50))])
    return Case(there, HELD, {"SIZE_WRONG", "ROW_COUNT_WRONG", "CHECKSUM_WRONG"}, control_of(name, sent))


def late_control(dice: random.Random, name: str, day: date) -> Case:
    data = text(rows(dice, day))
    return Case(data, LOADED, set(), b"", late=[(Path(name).with_suffix(".CHK"), control_of(name, data))])


def another_kind(dice: random.Random, rows_of: list[bytes]) -> bytes:
    return dice.randbytes(5000).replace(b"\0", b"\1")


ENDLESS = b"1" * (100 << 20 if FULL else 8 << 20)
KINDS: dict[str, Callable[..., Case]] = {
    "byte order mark and CR LF": whole_with,
    "late control file": late_control,
    "cut character": spoiled("UNDECODABLE", lambda dice, row: b"|".join(row) + b"\xb0"),
    "UTF-8 among GB18030": spoiled("UNDECODABLE", lambda dice, row: b"|".join([*row[:4], b"\xff\xfe"])),
    "lost character": spoiled("UNDECODABLE", lambda dice, row: b"|".join([*row[:4], "\ufffd".encode("gb18030")])),
    "one column too many": spoiled("COLUMN_COUNT", lambda dice, row: b"|".join([*row, b"x"])),
    "one column too few": spoiled("COLUMN_COUNT", lambda dice, row: b"|".join(row[:-1])),
    "ten thousand columns": spoiled("COLUMN_COUNT", lambda dice, row: b"|" * 10_000),
    "quoted line end": spoiled("COLUMN_COUNT", lambda dice, row: b'"' + row[0] + b'\n"|' + b"|".join(row[1:4])),
    "empty line": spoiled("COLUMN_COUNT", lambda dice, row: b""),
    "carriage return within": spoiled("LINE_BROKEN", lambda dice, row: b"|".join(row).replace(b"|4|", b"|\r4|")),
    "no such day": spoiled("TYPE_WRONG", field_of(1, b"20260230120000")),
    "future day": spoiled("OUT_OF_PERIOD", field_of(1, b"20770101120000")),
    "LAC out of range": spoiled("OUT_OF_RANGE", field_of(3, b"16777216")),
    "negative cell": spoiled("OUT_OF_RANGE", field_of(4, b"-1")),
    "number too long for any column": spoiled("TYPE_WRONG", field_of(4, b"9" * 400)),
    "number in full-width digits": spoiled("TYPE_WRONG", field_of(0, "１３９００００００００".encode("gb18030"))),
    "unknown behaviour": spoiled("CODE_UNKNOWN", field_of(2, b"9")),
    "no number": spoiled("REQUIRED_MISSING", field_of(0, b"")),
    "formula for a spreadsheet": spoiled("TYPE_WRONG", field_of(4, b'=HYPERLINK("http://x")')),
    "empty": held("EMPTY_FILE", lambda dice, lines: b""),
    "NUL bytes": held("ENCODING_BROKEN", lambda dice, lines: text(lines).replace(b"|4|", b"|\0|", 1)),
    "another encoding": held("ENCODING_BROKEN", lambda dice, lines: text([line + b"\xff" for line in lines])),
    "comma for the bar": held("COLUMNS_MISSING", lambda dice, lines: text(lines).replace(b"|", b",")),
    "CR alone": held("LINE_TOO_LONG" if FULL else "REJECTS_OVER_THRESHOLD",
                     lambda dice, lines: b"\r".join(lines * (200 if FULL else 1)) + b"\n"),
    "another month": held("REJECTS_OVER_THRESHOLD", lambda dice, lines: text(lines).replace(b"|20", b"|19")),
    "a line without end": held("LINE_TOO_LONG", lambda dice, lines: ENDLESS),
    "cut in transfer": cut,
    "grown after sending": grown,
    "wrong checksum": controlled({"CHECKSUM_WRONG"}, md5="0" * 32),
    "wrong row count": controlled({"ROW_COUNT_WRONG"}, rows=ROWS + 1),
    "wrong size": controlled({"SIZE_WRONG"}, size=1),
    "control file of another path": controlled({"CONTROL_FILE_INVALID"}, file_name="../../etc/passwd"),
    "control file of rubbish": lambda dice, name, day: Case(
        text(rows(dice, day)), HELD, {"CONTROL_FILE_INVALID"}, dice.randbytes(300)
    ),
    "control file without end": lambda dice, name, day: Case(
        text(rows(dice, day)), HELD, {"CONTROL_FILE_INVALID"}, b"|" * (1 << 20)
    ),
    "no control file": lambda dice, name, day: Case(text(rows(dice, day)), HELD, {"CONTROL_FILE_MISSING"}, b""),
    "control file alone": alone,
    "gzip bomb": compressed("EXPANDS_TOO_MUCH", "gz", gzip.compress, 200 << 20),
    "zip bomb": compressed("EXPANDS_TOO_MUCH", "zip", zipped, 200 << 20),
    "gzip cut": compressed("COMPRESSION_BROKEN", "gz", lambda data: gzip.compress(data)[:-9]),
    "no gzip at all": compressed("COMPRESSION_BROKEN", "gz", lambda data: data),
    "symbolic link": other_thing(lambda path: path.symlink_to("/etc/passwd")),
    "pipe": other_thing(lambda path: os.mkfifo(path)),
    "path in the name": named("x..\\..\\SIGNAL_{day:%Y%m%d}_{n}.TXT"),
    "name that is no text": named("SIGNAL\udcff{n}.TXT"),
    "name with a number": named("13900000001_{n}.TXT"),
    "no such date in the name": named("SIGNAL_20260231_{n}.TXT"),
}  # fmt: skip


def corpus(seed: int) -> Iterator[tuple[str, tuple[str, Case]]]:
    """One file of every kind, by name."""
    for number, (kind, make) in enumerate(KINDS.items()):
        day = date(2026, 1, 1) + timedelta(days=number)
        plain = f"SIGNAL_{day:%Y%m%d}_{seed + 1:03}.TXT"
        case = make(random.Random(f"{kind} {seed}"), plain, day)
        yield case.name or plain, (kind, case)


def put(landing: Path, name: str, case: Case) -> None:
    """Lay one case into the landing folder."""
    if case.put:
        case.put(landing / name)
    elif name.endswith((".gz", ".zip")):
        (landing / f"{name.partition('.')[0]}.CHK").write_bytes(control_of(name, case.data))
        (landing / name).write_bytes(case.data)
    else:
        drop(landing, name, case.data, case.control)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_whatever_a_supplier_sends_is_loaded_whole_or_held_whole_with_its_reason(
    databases: Databases, keys: Keys, tmp_path: Path
) -> None:
    """R000-008, R001-096: the malformed corpus; at full count 12 seeds of every kind."""
    database = databases.fresh("ingest")
    process = Process(database, keys, tmp_path, CONTROL_GRACE="3", SETTLE_SECONDS="1")
    connection = await asyncpg.connect(database.admin_url, server_settings={"search_path": "ingest"})
    cases: dict[str, tuple[str, Case]] = {}
    try:
        for seed in seeds(1, 12):
            made = dict(corpus(seed))
            for name, (_, case) in made.items():
                put(process.landing, name, case)
            await asyncio.sleep(0.3)
            for control, content in (late for _, case in made.values() for late in case.late):
                (process.landing / control).write_bytes(content)
            cases |= {name.encode("utf-8", "backslashreplace").decode(): case for name, case in made.items()}
        assert len(cases) == len(KINDS) * len(seeds(1, 12))
        settled = "SELECT count(*) >= $1 FROM delivery WHERE state NOT IN ('RECEIVED', 'LOADING')"
        await until("all is decided", lambda: connection.fetchval(settled, len(cases)), patience=600 if FULL else 40)
        await check(connection, cases, tmp_path)
        assert process.is_alive()
        assert process.most_memory() < MOST_MEMORY
    finally:
        process.stop()
        await connection.close()


async def check(connection: Any, cases: dict[str, tuple[str, Case]], root: Path) -> None:
    """Every file became what its kind says, and every row is where the counts say."""
    deliveries = {row["file_name"]: row for row in await connection.fetch("SELECT * FROM delivery")}
    assert len(deliveries) == len(cases)
    for name, (kind, case) in cases.items():
        found = deliveries[name.replace("13900000001", "*" * 11)]
        rejects = await connection.fetch("SELECT * FROM reject WHERE delivery_id = $1", found["delivery_id"])
        paths = await connection.fetch("SELECT path FROM lake_file WHERE delivery_id = $1", found["delivery_id"])
        assert found["state"] == case.state, (kind, dict(found))
        assert all(row["message"] and row["raw"] for row in rejects), kind
        if case.state == HELD:
            problems = {each["reason"] for each in json.loads(found["problems"])}
            assert problems == case.reasons, (kind, problems)
            assert (len(rejects), len(paths), found["loaded_rows"]) == (0, 0, 0), kind
            continue
        assert {row["reason"] for row in rejects} == case.reasons, kind
        assert found["source_rows"] == found["loaded_rows"] + found["rejected_rows"] == case.data.count(b"\n"), kind
        assert found["rejected_rows"] == len(rejects), kind
        there = sum(pl.scan_parquet(root / "lake" / row["path"]).select(pl.len()).collect().item() for row in paths)
        assert there == found["loaded_rows"], kind
