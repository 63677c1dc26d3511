"""`up` and `down` with a real PostgreSQL, a real Envoy and tiny services: nothing stays behind, nothing is doubled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from deploy.local import platform, processes
from deploy.local import run as runs
from deploy.local.keys import SERVICES
from deploy.local.run import Run
from deploy.local.services import ROOT, serving

SOME = ("points", "contact")


@dataclass(frozen=True)
class Tree:
    """A copy of deploy/ with tiny services beside it, as a checkout of the project would look."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    def call(self, *words: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs `python -m deploy.local` in a terminal-less process of its own."""
        kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        places = [str(self.root), str(ROOT / "clients" / "python" / "src"), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(place for place in places if place)
        more = {"TINY_NOTES": str(self.root), "PYTHONPATH": path, **(environ or {})}
        command = [sys.executable, "-m", "deploy.local", "--state", str(self.state), *words]
        return subprocess.run(
            command, cwd=self.root, env=kept | more, capture_output=True, text=True, check=False, timeout=90
        )

    def run(self) -> Run:
        found = runs.load(self.state)
        assert found is not None
        return found

    def notes(self, name: str) -> list[dict[str, Any]]:
        """What a tiny service was given, once for each time it was started with a verb."""
        path = self.root / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def planted(root: Path) -> Tree:
    """Makes a tree in `root`."""
    shutil.copytree(ROOT / "deploy", root / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (root / "services", *(root / "services" / name for name in SERVICES)):
        folder.mkdir()
        (folder / "__init__.py").touch()
    for name in SERVICES:
        shutil.copy(Path(__file__).with_name("tiny_service.py"), root / "services" / name / "__main__.py")
    return Tree(root)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A tree in which nothing is up yet."""
    tree = planted(tmp_path)
    yield tree
    if (tree.state / "run.json").exists():
        tree.call("down")


@pytest.fixture(scope="module")
def walking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """A tree that is up, with two replicas of points, and two of contact that both work; its tests only look."""
    tree = planted(tmp_path_factory.mktemp("walking"))
    many = "--replicas", "points=2", "--workers", "contact=2"
    up(tree, *many, environ={"ADMIN_DATABASE_URL": "postgresql://a/b", "LOG_LEVEL": "DEBUG"})
    yield tree
    tree.call("down")


def living(tree: Tree) -> list[str]:
    """Every process of this machine that works on the tree."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(tree.root) in word for word in words):
                found.append(" ".join(words))
        except psutil.Error:
            continue
    return found


def up(tree: Tree, *words: str, environ: Mapping[str, str] | None = None) -> str:
    done = tree.call("up", "--services", ",".join(SOME), "--port", "0", *words, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_up_starts_every_process_and_waits_until_the_front_door_answers(walking: Tree) -> None:
    """R001-145: database, interface and applications apart, and of an application as many as asked for."""
    run = walking.run()
    assert list(run.children) == ["postgres", "envoy", "points", "points.1", "contact", "contact.1"]
    assert all(processes.alive(child) for child in run.children.values())
    assert all(serving(run.port, service=service) for service in SOME)
    assert not serving(run.port, service="portrait")
    assert walking.call("status").returncode == 0
    assert stat.S_IMODE((walking.state / "run.json").stat().st_mode) == 0o600


def test_a_service_is_given_its_own_role_and_files_and_never_the_administrator(walking: Tree) -> None:
    run = walking.run()
    (migrated,), (served,) = walking.notes("points.migrate"), walking.notes("points.serve.--work")
    assert migrated["environ"]["ADMIN_DATABASE_URL"] == run.database_url
    given = served["environ"]
    assert "ADMIN_DATABASE_URL" not in given
    url = urlsplit(given["DATABASE_URL"])
    assert (url.username, url.password, url.path) == ("lc_points", run.keys.password("points"), "/lifecircle")
    assert {given[f"PEER_{name.upper()}"] for name in SERVICES} == {run.mesh}
    assert given["SERVICE_TOKEN_FILE"] == str(run.keys.token("points"))
    assert given["LOG_LEVEL"] == "DEBUG"
    assert "VAULT_KEYS" not in given
    assert walking.notes("contact.serve.--work")[0]["environ"]["OCRM_OUT"] == str(run.ocrm_out)


def test_a_further_replica_serves_without_working_unless_more_workers_were_asked_for(walking: Tree) -> None:
    assert (len(walking.notes("points.serve.--work")), len(walking.notes("points.serve"))) == (1, 1)
    assert (len(walking.notes("contact.serve.--work")), len(walking.notes("contact.serve"))) == (2, 0)
    assert walking.run().workers == {"contact": 2}


def test_env_prints_lines_for_a_shell(walking: Tree) -> None:
    script = walking.call("env").stdout + 'echo "$LIFECIRCLE_TARGET"; cat "$LIFECIRCLE_TOKEN_FILE"'
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [walking.run().front_door, walking.run().keys.token("operator").read_text()]


def test_down_leaves_only_the_data_and_touches_no_other_state(walking: Tree, tree: Tree) -> None:
    up(tree)
    run = tree.run()
    assert not {run.port, run.admin_port, run.postgres_port} & {walking.run().port, walking.run().postgres_port}
    assert tree.call("down").returncode == 0
    assert living(tree) == []
    assert runs.load(tree.state) is None
    assert "stopped in order" in run.log("points").read_text()
    assert (tree.state / "postgres" / "PG_VERSION").exists()
    assert tree.call("status").returncode == tree.call("env").returncode == 3
    assert "Nothing was up" in tree.call("down").stdout
    assert all(processes.alive(child) for child in walking.run().children.values())


def test_a_second_up_changes_nothing_but_what_died(tree: Tree) -> None:
    up(tree)
    before = tree.run()
    assert "nothing was changed" in up(tree)
    assert tree.run() == before
    for name in ("points", "envoy", "postgres"):
        os.kill(before.children[name].pid, signal.SIGKILL)
    assert "started again: postgres, envoy, points" in up(tree)
    after = tree.run()
    assert after.children["contact"] == before.children["contact"]
    assert (after.port, after.replicas, after.postgres_port) == (before.port, before.replicas, before.postgres_port)
    assert all(serving(after.port, service=service) for service in SOME)
    assert len(tree.notes("points.migrate")) == 1


@pytest.mark.parametrize(("verb", "words"), [("migrate", "cannot migrate"), ("serve", "ended")])
def test_a_first_up_that_fails_says_why_and_leaves_nothing(walking: Tree, tree: Tree, verb: str, words: str) -> None:
    environ = {"BREAK": f"points {verb}", "DATABASE_URL": walking.run().database_url}
    done = tree.call("up", "--services", "points", "--port", "0", environ=environ)
    assert done.returncode == 1
    assert words in done.stderr
    assert "points: the settings are wrong" in done.stderr
    assert living(tree) == []
    assert runs.load(tree.state) is None


def test_down_does_not_touch_a_process_that_took_over_a_pid(tmp_path: Path) -> None:
    stranger = processes.spawn([sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log")
    run = runs.plan(tmp_path, 8088, processes.free_ports(3), ["points"], {}, {})
    run.children["points"] = processes.Child(stranger.pid, stranger.started - 1000)
    run.save()
    assert platform.down(tmp_path) == []
    assert runs.load(tmp_path) is None
    assert processes.alive(stranger)
    processes.stop([stranger])


def test_a_database_of_ones_own_is_used_and_left_running(walking: Tree, tree: Tree) -> None:
    own = walking.run()
    up(tree, environ={"DATABASE_URL": own.database_url})
    assert list(tree.run().children) == ["envoy", *SOME]
    assert tree.notes("points.migrate")[0]["environ"]["ADMIN_DATABASE_URL"] == own.database_url
    assert tree.call("down").returncode == 0
    assert processes.alive(own.children["postgres"])


def test_a_database_that_does_not_answer_is_named(tree: Tree) -> None:
    url = f"postgresql://somebody:secret@127.0.0.1:{processes.free_port()}/lifecircle"
    refused = tree.call("up", environ={"DATABASE_URL": url})
    assert refused.returncode == 1
    assert "DATABASE_URL names cannot be reached" in refused.stderr
    assert "secret" not in refused.stdout + refused.stderr


def test_wrong_words_are_named(tree: Tree) -> None:
    assert "no such service: nobody" in tree.call("up", "--services", "nobody").stderr
    assert "--workers points=0" in tree.call("up", "--workers", "points=0").stderr
    assert "--replicas points=many" in tree.call("up", "--replicas", "points=many").stderr
    assert not tree.state.exists() or living(tree) == []
