"""The city plants fraud in an operator's files; ingest and points as processes catch every case, and explain it."""

import asyncio
import csv
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.type.date_pb2 import Date

from deploy.local import platform
from deploy.local.run import Run
from lifecircle.ingest.v1 import IngestServiceStub, ResolveIdentitiesRequest
from lifecircle.points import v1
from services.kit.channel import open_channel
from tests.fixtures.counts import FULL
from tools.tidy import ROOT

FEEDS = ("ORG", "STAFF", "PRODUCT", "CUST", "FIELD", "BIZEVT")
MONTH = "2026-09"
T = TypeVar("T")

pytestmark = [
    pytest.mark.slow, pytest.mark.timeout(600),
    pytest.mark.skipif(not FULL, reason="starts two services: runs in `make chaos`; test_fraud.py has the patterns"),
]  # fmt: skip


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """Files and truth of 300 customers over 30 days, fraud planted."""
    folder = tmp_path / "city"
    where = ["--out", str(folder / "files"), "--truth", str(folder / "truth")]
    for arguments in (
        ["city", "--customers", "300", "--days", "30", "--seed", "11", *where],
        ["city.fraud", "--files", str(folder / "files"), "--truth", str(folder / "truth")],
    ):
        subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    state = tmp_path / "state"
    try:
        up, _ = platform.up(state, chosen=("ingest", "points"), port=0, mutual=False)
        yield up
    finally:
        platform.down(state)


def stub(run: Run, service: str, kind: Callable[[Any], T], role: str, subject: str) -> T:
    token = run.keys.mint(subject, [role])
    return kind(open_channel(f"127.0.0.1:{run.replicas[service][0]}", token=lambda: token, default_deadline=60))


def drop(files: Path, landing: Path) -> int:
    """Drops the files as an operator does, each control file last; gives how many business events they hold."""
    landing.mkdir(exist_ok=True)
    events = 0
    for path in sorted(files.glob("*.TXT")):
        if path.name.split("_")[0] in FEEDS:
            events += path.read_bytes().count(b"\n") if path.name.startswith("BIZEVT") else 0
            for suffix in (".TXT", ".CHK"):
                shutil.copy(path.with_suffix(suffix), landing / f".{path.stem}")
                (landing / f".{path.stem}").rename(landing / f"{path.stem}{suffix}")
    return events


async def publish(run: Run) -> None:
    """The rules of the example, by two persons."""
    author, publisher = (stub(run, "points", v1.PointsServiceStub, "operator", who) for who in ("li.lei", "han.mei"))
    text = (ROOT / "services" / "points" / "examples" / "full_business.yaml").read_text()
    rules = v1.RuleSet(name="full_business", definition=text)
    draft = (await author.CreateRuleSet(v1.CreateRuleSetRequest(rule_set=rules, request_id="1"))).rule_set
    of = {"rule_set_id": draft.rule_set_id, "request_id": "2"}
    await publisher.ValidateRuleSet(v1.ValidateRuleSetRequest(**of))
    await publisher.SimulateRuleSet(v1.SimulateRuleSetRequest(**of))
    await publisher.ApproveRuleSet(v1.ApproveRuleSetRequest(sha256=draft.sha256, **of))
    since = Date(year=2026, month=1, day=1)
    await publisher.PublishRuleSet(v1.PublishRuleSetRequest(sha256=draft.sha256, effective_date=since, **of))


async def until(ask: Callable[[], Awaitable[bool]], what: str) -> None:
    async with asyncio.timeout(240):
        while not await ask():
            await asyncio.sleep(0.25)


async def test_every_planted_case_of_fraud_is_caught_and_explained_by_the_running_services(
    run: Run, city: Path
) -> None:
    """R002-102: from the operator's files to the case that a second person confirms."""
    await publish(run)
    assert drop(city / "files", run.landing) > 0
    with (city / "truth" / "fraud.csv").open(encoding="utf-8") as file:
        planted = list(csv.DictReader(file))
    desk = stub(run, "points", v1.PointsServiceStub, "operator", "wang.fang")
    own = {row["staff_id"]: row["own_msisdn"] for row in planted if row["own_msisdn"]}
    ask = ResolveIdentitiesRequest(msisdns=list(own.values()), purpose="employees' own numbers, for fraud")
    wanted = {(row["pattern"], row["event_id"]) for row in planted}
    found: dict[tuple[str, str], v1.FraudCase] = {}
    tried = iter(range(10_000))

    async def caught() -> bool:
        keys = (await stub(run, "ingest", IngestServiceStub, "privacy", "auditor").ResolveIdentities(ask)).customer_keys
        own_keys = {name: key for name, key in zip(own, keys, strict=True) if key}
        request = v1.FindFraudRequest(period_id=MONTH, own_customers=own_keys, request_id=f"find-{next(tried)}")
        await desk.FindFraud(request)
        cases = (await desk.ListFraudCases(v1.ListFraudCasesRequest(period_id=MONTH, page_size=1000))).cases
        found.update({(case.pattern, case.source_event_id.rpartition("|")[2]): case for case in cases})
        return wanted <= set(found)

    await until(caught, "every case")
    assert all(found[each].explanation for each in wanted)
    case = next(found[each] for each in sorted(wanted) if found[each].milli_points > 0)
    decide = v1.DecideFraudCaseRequest(case_id=case.case_id, confirm=True, request_id="decide")
    decided = await desk.DecideFraudCase(decide)
    assert sum(each.milli_points for each in decided.adjustments) == -case.milli_points  # one for each component
    bystanders = {row for row in found if row not in wanted}
    assert len(bystanders) <= 3, bystanders
