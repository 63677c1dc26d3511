"""Every alert fires when its fault is injected and clears when it is mended; metrics, runbooks and panels agree."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.k8s.chart import CHART
from deploy.local.keys import SERVICES
from deploy.mesh import envoy
from tests.deploy import promql
from tests.fixtures.postgres import Databases
from tools.tidy import ROOT

RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
HELD = {"KIT": "sample", "INGEST": "ingest", "POINTS": "points", "CONTACT": "contact", "RECOMMEND": "recommend"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
START = float(int(time.time()) // 60 * 60)
FAULTS = {
    "LifecirclePodDown": ("", "call well"),
    "LifecircleCallsFail": ("call fault", "call well"),
    "LifecircleCallsSlow": ("call slow", "call well"),
    "LifecircleBackgroundDies": ("background dies", "background well"),
    "LifecircleFollowerFails": ("follower fails", "follower well"),
    "LifecircleFollowerLags": ("follower silent", "follower well"),
    "LifecircleJobsFail": ("job fails", "job well"),
    "LifecircleFilesLate": ("file late", "file well"),
    "LifecircleSupplyWrong": ("file broken", "file well"),
    "LifecircleRowsRejected": ("rows rejected", "rows well"),
    "LifecircleModelRefused": ("model refused", "model well"),
    "LifecircleModelOld": ("model old", "model well"),
    "LifecirclePlanGap": ("plan gap", "plan well"),
    "LifecircleCapsRefuse": ("caps refuse", "caps well"),
    "LifecirclePointsWait": ("points wait", "points well"),
}
"""Alert → what is said to the process while the fault lasts ("": it does not answer), and before and afterwards."""


@cache
def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((CHART / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def seconds(length: str) -> float:
    return float(length[:-1]) * UNITS[length[-1]]


@dataclass
class Patient:
    """The process in which things go wrong, as Prometheus sees it: a scrape every so often, on a clock of its own."""

    child: subprocess.Popen[str]
    port: int
    store: promql.Store = field(default_factory=promql.Store)
    now: float = START

    def do(self, word: str) -> None:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{word}\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == "done\n", word

    def text(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def live(self, word: str, rule: dict[str, Any], step: float, until: float) -> list[bool]:
        """Lives until then; says after each scrape whether the alert's expression holds."""
        held = []
        while self.now < until:
            self.now += step
            if word:
                self.do(word)
            self.store.scrape(self.now, self.text() if word else "", service="tests", part="serve")
            held.append(bool(promql.evaluate(self.store, rule["expr"], self.now)))
        return held


@pytest.fixture(scope="module")
def child(
    unused_tcp_port_factory: Callable[[], int], databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """One process for all: importing every service takes longer than all its faults."""
    port, folder = unused_tcp_port_factory(), tmp_path_factory.mktemp("faults")
    urls = {f"{name}_URL": databases.fresh(of).url for name, of in HELD.items()}
    command = [sys.executable, "-m", "tests.deploy.faults", str(port), str(folder)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **urls}
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"
        yield child, port
    finally:
        child.kill()
        child.communicate()


@pytest.fixture
def patient(child: tuple[subprocess.Popen[str], int]) -> Patient:
    return Patient(*child)


def test_every_alert_has_a_fault() -> None:
    assert list(FAULTS) == list(rules())


@pytest.mark.parametrize("alert", FAULTS)
def test_an_alert_fires_at_its_fault_and_clears_when_it_is_mended(alert: str, patient: Patient, tmp_path: Path) -> None:
    """R001-133, R002-099: nothing before the fault, firing after the rule's own patience, quiet again afterwards."""
    rule = rules()[alert]
    fault, well = FAULTS[alert]
    window = max([300.0, *map(seconds, re.findall(r"\[(\d+[smhd])\]", rule["expr"]))])
    patience = seconds(rule.get("for", "0s"))
    step = 60.0 * math.ceil(max(60.0, window / 5, patience / 6) / 60)
    assert not any(patient.live(well, rule, step, START + 3 * step))
    struck = patient.now
    held = patient.live(fault, rule, step, struck + patience + 4 * step)
    lasting = held[held.index(True) :]
    assert all(lasting), "it flaps while the fault lasts"
    assert (len(lasting) - 1) * step >= patience, "it holds for as long as the rule waits"
    mended = patient.now
    held = patient.live(well, rule, step, mended + window + 3 * step)
    assert not held[-1], "it does not clear"
    if shutil.which("promtool"):
        agree(patient, rule, tmp_path, step, mended)


def agree(patient: Patient, rule: dict[str, Any], folder: Path, step: float, fired: float) -> None:
    """Prometheus' own promtool says the same of the same samples: firing then, quiet at the end."""
    minutes = round(step / 60)
    ticks = [START + step * n for n in range(round((patient.now - START) / step) + 1)]
    series = []
    wanted = set(re.findall(r"[a-z][a-z_]+", rule["expr"]))
    for labels, samples in patient.store.series.items():
        known = dict(labels)
        name = known.pop("__name__")
        if name in wanted:
            at = dict(samples)
            said = ",".join(f"{key}={json.dumps(value)}" for key, value in known.items())
            series.append(
                {"series": f"{name}{{{said}}}", "values": " ".join(repr(at[t]) if t in at else "_" for t in ticks)}
            )
    shown = {"expr": rule["expr"].replace("time()", f"(time() + {START})"), "eval_time": ""}
    cases = []
    for moment, number in ((fired, 1), (patient.now, 0)):
        found = promql.evaluate(patient.store, rule["expr"], moment)
        assert bool(found) is bool(number)
        expected = [
            {"labels": "{" + ",".join(f"{k}={json.dumps(v)}" for k, v in sorted(labels)) + "}"} for labels in found
        ]
        cases.append(shown | {"eval_time": f"{round((moment - START) / 60)}m", "exp_samples": expected})
    assert minutes >= 1
    counted = [
        {"expr": f"count({each['expr']}) or vector(0)", "eval_time": each["eval_time"],
         "exp_samples": [{"labels": "{}", "value": float(len(each["exp_samples"]))}]}
        for each in cases
    ]  # fmt: skip
    test = {"tests": [{"interval": f"{minutes}m", "input_series": series, "promql_expr_test": counted}]}
    (folder / "unit.yaml").write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": f"{minutes}m", **test}))
    done = subprocess.run(
        ["promtool", "test", "rules", folder / "unit.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        # A second opinion only: no wheel carries promtool, and the rules are read and fired here without it.
        pytest.skip("promtool is not on PATH; the evaluator of tests/deploy/promql.py read every rule")
    done = subprocess.run(
        ["promtool", "check", "rules", CHART / "alerts.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """R002-104: whoever is on call finds what it means, where to look and how to mend it."""
    named = {Path(rule["annotations"]["runbook"]).name for rule in rules().values()}
    assert named == {path.name for path in RUNBOOKS.glob("*.md")}
    for alert, rule in rules().items():
        text = (ROOT / rule["annotations"]["runbook"]).read_text()
        assert alert in text
        assert all(f"**{part}**" in text for part in ("What it means", "Look", "Mend")), alert


INSTRUMENT = re.compile(r'telemetry\.(counter|gauge|histogram)\(\s*"([a-z_.]+)",\s*"([^"]*)",\s*"([^"]*)"', re.DOTALL)


def in_code() -> dict[str, tuple[str, str, str]]:
    """Name → kind, unit and description of every instrument that a service has."""
    found = {}
    for path in sorted((ROOT / "services").rglob("*.py")):
        for kind, name, unit, about in INSTRUMENT.findall(path.read_text()):
            assert name not in found, f"{name} is made twice"
            found[name] = (kind, unit, about)
    return found


def fetched(kind: str, name: str, unit: str) -> str:
    """The name under which Prometheus finds it."""
    return name.replace(".", "_") + ("_seconds" if unit == "s" else "") + ("_total" if kind == "counter" else "")


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "operations" / "metrics.md").read_text()
    rows = re.findall(r"(?m)^\| `([a-z_]+)` \| `([a-z_.]+)` \| (\w+) \| ([^|]*) \|", page)
    expected = [(fetched(kind, name, unit), name, kind, about) for name, (kind, unit, about) in in_code().items()]
    assert sorted(rows) == sorted(expected)


def used(text: str) -> set[str]:
    return set(re.findall(r"\b(?:lifecircle|rpc)_[a-z_]+", text))


def test_alerts_and_dashboards_use_metrics_that_exist() -> None:
    there = {fetched(kind, name, unit) for name, (kind, unit, _) in in_code().items()}
    there |= {f"{each}{part}" for each in there for part in ("_bucket", "_count", "_sum")} | {"rpc_method"}
    there |= {"rpc_response_status_code"}
    for rule in rules().values():
        assert used(rule["expr"]) <= there, rule["alert"]
    boards = sorted((CHART / "dashboards").glob("*.json"))
    assert boards
    for board in boards:
        panels = json.loads(board.read_text())["panels"]
        for panel in panels:
            assert used(json.dumps(panel.get("targets", []))) <= there, panel["title"]


def test_the_pages_for_operators_name_rpcs_that_exist() -> None:
    there = {
        f"{file.package.split('.')[1]}.{method.name}"
        for file in envoy.contract(SERVICES).file
        if file.package.startswith("lifecircle.")
        for service in file.service
        for method in service.method
    }
    for page in sorted((ROOT / "docs" / "operations").rglob("*.md")):
        named = set(re.findall(rf"`((?:{'|'.join(SERVICES)})\.[A-Z]\w+)`", page.read_text()))
        assert named <= there, page.name
