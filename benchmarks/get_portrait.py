"""GetPortrait by gRPC, from PostgreSQL and from the mapped pack, against a bare echo, each in a process of its own.

Asked is a replica that only serves, as in a cluster: another one does the background work.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from rich.console import Console

from benchmarks.echo import METHOD
from deploy.local import platform
from deploy.local.services import service_pid
from lifecircle.portrait.v1 import Anchor, GetPortraitRequest, GetPortraitResponse, Portrait, TagValue
from services.portrait.domain.pack import Encoded, packed_portrait
from services.portrait.lake.packing import write_pack

ROOT = Path(__file__).resolve().parent.parent
PORTRAITS, AT_ONCE, SECONDS, ROUNDS, SEED = 20_000, 32, 0.8, 24, 7
_SEEN_SECONDS = 3.0
PATH = "/lifecircle.portrait.v1.PortraitService/GetPortrait"


def body(key: int, dice: random.Random) -> bytes:
    """Makes a stored answer such as the demo's: two anchors, a dozen tags, two dozen features."""
    anchors = [
        Anchor(
            role=role,
            place_id=f"PL{dice.randrange(600):05d}",
            place_name="东城花园小区",
            place_class="res.house.community",
            town="东城",
            days=28,
            dwell_seconds=dice.randrange(10**6),
            confidence=dice.random(),
        )
        for role in (Anchor.ROLE_HOME, Anchor.ROLE_WORK)
    ]
    tags = [
        TagValue(code=f"TG{number:02d}", version=1, score=1.0, evidence="8 天, 每天 62 分钟", landmark="东城花园小区")
        for number in range(12)
    ]
    features = {f"feature_{number:02d}": dice.random() for number in range(24)}
    portrait = Portrait(
        customer_key=key, org_id="44190101", run_id="benchmark", anchors=anchors, tags=tags, features=features
    )
    return GetPortraitResponse(portrait=portrait).SerializeToString()


async def store(url: str, run_id: str, pack_in: Path | None) -> float:
    """Publishes 20,000 portraits as a run, with a pack in a folder if one is given; gives their mean size in bytes."""
    dice = random.Random(SEED)
    bodies = [body(key, dice) for key in range(1, PORTRAITS + 1)]
    connection = await asyncpg.connect(url)
    run_no = await connection.fetchval(
        "INSERT INTO portrait.run (run_id, job_id, from_date, to_date, customers, signalling_rows, visits, sha256,"
        " catalogue_version, catalogue_digest, percentiles, publish_time) VALUES ($2, 'benchmark',"
        " '2026-09-01', '2026-09-30', $1, 0, 0, '', '', '', '{}', now()) RETURNING run_no",
        PORTRAITS,
        run_id,
    )
    rows = [(run_no, key, "44190101", one, b"", b"") for key, one in enumerate(bodies, 1)]
    columns = ["run_no", "customer_key", "org_id", "body", "clear", "masked"]
    await connection.copy_records_to_table("portrait", schema_name="portrait", records=rows, columns=columns)
    if pack_in is not None:
        values = [(key, packed_portrait(Encoded(one, b"", b""))) for key, one in enumerate(bodies, 1)]
        pack = write_pack(pack_in.as_uri(), "portraits.pack", values)
        await connection.execute(
            "INSERT INTO portrait.run_file VALUES ($1, 'packed', -1, $2, $3, $4)",
            run_no,
            pack.uri,
            pack.rows,
            pack.sha256,
        )
    await connection.execute(
        "INSERT INTO portrait.current_run (one, run_no) VALUES (true, $1) ON CONFLICT (one) DO UPDATE SET run_no = $1",
        run_no,
    )
    await connection.execute("ANALYZE portrait.portrait")
    await connection.close()
    return statistics.mean(map(len, bodies))


def round_of(target: str, method: str, token: str, requests: list[str], pid: int) -> dict[str, float]:
    """Calls one server for some seconds; gives calls/s and the server's CPU microseconds per call."""
    server = psutil.Process(pid)
    before = server.cpu_times()
    order = {"target": target, "method": method, "token": token, "requests": requests}
    caller = subprocess.run(
        [sys.executable, "-m", "benchmarks.caller"],
        input=json.dumps({**order, "at_once": AT_ONCE, "seconds": SECONDS}) + "\n",
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    after = server.cpu_times()
    said = json.loads(caller.stdout)
    spent = after.user + after.system - before.user - before.system
    return {
        "calls_per_second": said["calls"] / said["seconds"],
        "server_cpu_us": 1e6 * spent / said["calls"],
        **{f"{name}_ms": value for name, value in said["milliseconds"].items()},
    }


def measure(console: Console) -> dict[str, Any]:
    """Measures both in turns and gives the medians and the ratio round by round."""
    state = Path(tempfile.mkdtemp(prefix="lifecircle-bench-"))
    dice = random.Random(SEED)
    try:
        run, _ = platform.up(state, chosen=("portrait",), replicas={"portrait": 2}, port=0, mutual=False)
        size = asyncio.run(store(run.database_url, "from_postgres", None))
        token = run.keys.token("viewer").read_text().strip()
        keys = [dice.randint(1, PORTRAITS) for _ in range(5000)]
        asked = [GetPortraitRequest(customer_key=key).SerializeToString().hex() for key in keys]
        echo = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.echo", str(int(size))], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        with echo:
            assert echo.stdout is not None
            bare = f"127.0.0.1:{echo.stdout.readline().strip()}"
            served = f"127.0.0.1:{run.replicas['portrait'][1]}"
            figures: dict[str, Any] = {}
            for source, floor in (("from_postgres", 0.4), ("from_pack", 0.8)):
                if source == "from_pack":
                    asyncio.run(store(run.database_url, source, state))
                    time.sleep(_SEEN_SECONDS)
                rounds: dict[str, list[dict[str, float]]] = {"echo": [], "get_portrait": []}
                for number in range(ROUNDS):
                    console.print(f"{source}: round {number + 1} of {ROUNDS}")
                    rounds["echo"].append(round_of(bare, METHOD, "", asked, echo.pid))
                    pid = service_pid(run, "portrait", 1)
                    rounds["get_portrait"].append(round_of(served, PATH, token, asked, pid))
                figures[source] = summary(rounds, size, floor)
            echo.kill()
        return figures
    finally:
        platform.down(state)
        shutil.rmtree(state, ignore_errors=True)


def summary(rounds: dict[str, list[dict[str, float]]], size: float, floor: float) -> dict[str, Any]:
    """Gives medians and the ratio of calls/s, pair by pair."""
    pairs = zip(rounds["get_portrait"], rounds["echo"], strict=True)
    ratios = sorted(portrait["calls_per_second"] / echo["calls_per_second"] for portrait, echo in pairs)
    medians = {
        name: {key: round(statistics.median(one[key] for one in found), 2) for key in found[0]}
        for name, found in rounds.items()
    }
    three = (ratios[0], statistics.median(ratios), ratios[-1])
    return {
        "data": f"{PORTRAITS} stored portraits of {size:.0f} bytes, {AT_ONCE} calls at once",
        "ratio_to_bare_echo": dict(zip(("low", "median", "high"), (round(one, 3) for one in three), strict=True)),
        "ratio_of_server_cpu": round(medians["echo"]["server_cpu_us"] / medians["get_portrait"]["server_cpu_us"], 3),
        "floor": floor,
        "medians": medians,
    }
