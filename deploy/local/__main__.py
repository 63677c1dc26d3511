"""`python -m deploy.local up | down | status | env | rotate | backup | restore`: the platform on this machine."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local import backup, platform, processes, services
from deploy.local import run as runs
from deploy.local.backup import BackupFailed
from deploy.local.certificates import Certificates
from deploy.local.keys import SERVICES, KeysLost
from deploy.local.platform import PlatformFailed, Step
from deploy.local.postgres import PostgresFailed
from deploy.local.run import ENVOY, POSTGRES, Run
from deploy.local.services import ROOT, ServiceFailed

_NOT_UP = 3  # status: not everything serves


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line says: 0 done, 1 failed, 2 wrong usage, 3 (status) not everything is up."""
    arguments = _parser().parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    state = Path(arguments.state).absolute()
    verbs = {"up": _up, "down": _down, "status": _status, "env": _env, "rotate": _rotate}
    verbs |= {"backup": _backup, "restore": _restore}
    try:
        return verbs[arguments.verb](state, arguments, console)
    except (PlatformFailed, PostgresFailed, ServiceFailed, KeysLost, BackupFailed) as failure:
        print(f"{arguments.verb}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{arguments.verb}: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    default = os.environ.get("LIFECIRCLE_STATE") or str(ROOT / ".lifecircle")
    parser.add_argument(
        "--state", default=default, help="folder of data, keys and logs (LIFECIRCLE_STATE, .lifecircle)"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="start what does not run; DATABASE_URL names a PostgreSQL of your own")
    up.add_argument("--services", default=",".join(SERVICES), help="only these, by commas")
    up.add_argument("--replicas", action="append", default=[], metavar="SERVICE=N", help="more than one of a service")
    up.add_argument(
        "--workers",
        action="append",
        default=[],
        metavar="SERVICE=N",
        help="so many replicas of it work too, not only one",
    )
    up.add_argument("--port", type=int, help="of the front door: 8088 or a free one; 0 takes a free one")
    verbs.add_parser("down", help="stop everything; the data stay")
    verbs.add_parser("status", help="what runs, where, and where to look")
    verbs.add_parser("env", help='what a client needs, as lines for a shell: eval "$(… env)"')
    verbs.add_parser("rotate", help="renew the certificates between the services; nothing is interrupted")
    save = verbs.add_parser("backup", help="save database, lake and keys; with --follow every change after it")
    save.add_argument("--to", required=True, type=Path, help="folder of the backup; on another disk")
    save.add_argument("--follow", action="store_true", help="go on receiving changes until Ctrl-C")
    back = verbs.add_parser("restore", help="make --state anew from a backup; then `up`")
    back.add_argument("--from", required=True, type=Path, dest="source", help="folder of the backup")
    back.add_argument("--until", type=datetime.fromisoformat, help="the moment to go back to, with its zone")
    return parser


def _up(state: Path, arguments: argparse.Namespace, console: Console) -> int:
    with _steps(console) as step:
        run, started = platform.up(
            state,
            chosen=[name for name in arguments.services.split(",") if name],
            replicas=_counts("--replicas", arguments.replicas),
            workers=_counts("--workers", arguments.workers),
            port=arguments.port,
            database_url=os.environ.get("DATABASE_URL", ""),
            step=step,
        )
    everything = set(started) >= set(run.children) - {POSTGRES}
    if not started:
        console.print("It was up already; nothing was changed.")
    elif not everything:
        console.print(f"It was up already; started again: {', '.join(started)}.")
    _show(run, console)
    return 0


def _counts(option: str, words: Sequence[str]) -> dict[str, int]:
    found = {}
    for each in words:
        service, _, count = each.partition("=")
        if not count.isdecimal() or int(count) < 1:
            raise PlatformFailed(f"{option} {each}: write a service and a number from 1, such as points=2")
        found[service] = int(count)
    return found


def _down(state: Path, _: argparse.Namespace, console: Console) -> int:
    with _steps(console) as step:
        stopped = platform.down(state, step=step)
    console.print(f"Stopped: {', '.join(stopped)}. The data stay in {state}." if stopped else "Nothing was up.")
    return 0


def _rotate(state: Path, _: argparse.Namespace, console: Console) -> int:
    made = Certificates(state).prepare(renew=True)
    console.print(f"Renewed: {', '.join(made)}. Every process takes up its own within seconds.")
    return 0


def _backup(state: Path, arguments: argparse.Namespace, console: Console) -> int:
    run = runs.load(state)
    if run is None:
        raise BackupFailed("nothing is up: start it first, and then take the backup")
    if not arguments.follow:
        console.print(f"Saved: {backup.take(run, arguments.to)}")
        return 0
    console.print(f"Following into {arguments.to}; Ctrl-C ends it.")
    backup.follow(run, arguments.to, lambda: True, console.print)
    return 0


def _restore(state: Path, arguments: argparse.Namespace, console: Console) -> int:
    if arguments.until is not None and arguments.until.tzinfo is None:
        raise BackupFailed("--until needs its zone, for instance 2026-03-01T08:00:00+08:00")
    restored = backup.restore(arguments.source, state, arguments.until)
    console.print(f"Restored from {restored.base.name} in {restored.seconds:.1f} s. Start it with `up`.")
    return 0


def _status(state: Path, _: argparse.Namespace, console: Console) -> int:
    run = runs.load(state)
    if run is None:
        console.print("Nothing is up.")
        return _NOT_UP
    return 0 if _show(run, console) else _NOT_UP


def _env(state: Path, _: argparse.Namespace, console: Console) -> int:
    run = runs.load(state)
    if run is None:
        print("env: nothing is up", file=sys.stderr)
        return _NOT_UP
    lines = {
        "LIFECIRCLE_STATE": str(run.state),
        "LIFECIRCLE_TARGET": run.front_door,
        "LIFECIRCLE_TOKEN_FILE": str(run.keys.token("operator")),
        "LIFECIRCLE_LANDING": str(run.landing),
        "LIFECIRCLE_OCRM_OUT": str(run.ocrm_out),
        "LIFECIRCLE_LAKE": f"file://{run.lake}",
    }
    for name, value in lines.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _show(run: Run, console: Console) -> bool:
    """Prints the table of processes and where to look; says whether all of them are well."""
    table = Table(box=None, pad_edge=False)
    for column in ("process", "state", "address", "pid", "memory"):
        table.add_column(column)
    rows = _rows(run)
    for name, well, word, port in rows:
        child = run.children.get(name)
        pid = str(child.pid) if child else ""
        colour = "green" if well else "red"
        table.add_row(name, f"[{colour}]{word}[/]", f"127.0.0.1:{port}", pid, _memory(child))
    console.print(table)
    console.print(f"\nfront door   {run.front_door}   (gRPC, and JSON by POST at /<package>.<Service>/<Method>)")
    console.print(f"drop files   {os.path.relpath(run.landing)}")
    console.print(f"hand-over    {os.path.relpath(run.ocrm_out)}")
    console.print(f"tokens       {os.path.relpath(run.keys.token('operator'))} and its neighbours")
    console.print(f"logs         {os.path.relpath(run.state / 'logs')}")
    return all(well for _, well, _, _ in rows)


def _rows(run: Run) -> list[tuple[str, bool, str, int]]:
    """Gives name, whether it is well, a word for it, and its port, of every process that should run."""
    rows = []
    if run.postgres_port:
        alive = POSTGRES in run.children and processes.alive(run.children[POSTGRES])
        rows.append((POSTGRES, alive, "runs" if alive else "ended", run.postgres_port))
    for service, replica in run.processes:
        name, port = runs.process_name(service, replica), run.replicas[service][replica]
        alive = name in run.children and processes.alive(run.children[name])
        serves = alive and services.serving(port, secure=run.secure)
        rows.append((name, serves, "serves" if serves else "does not serve" if alive else "ended", port))
    alive = ENVOY in run.children and processes.alive(run.children[ENVOY])
    return [*rows, (ENVOY, alive, "runs" if alive else "ended", run.port)]


def _memory(child: processes.Child | None) -> str:
    if child is None or not processes.alive(child):
        return ""
    return f"{psutil.Process(child.pid).memory_info().rss / 2**20:.0f} MiB"


@contextmanager
def _steps(console: Console) -> Iterator[Step]:
    """Shows the steps as a bar on a terminal, and as lines anywhere else."""
    if not console.is_terminal:
        yield lambda what, done, total: console.print(f"[{done}/{total}] {what}", markup=False)
        return
    columns = (SpinnerColumn(), BarColumn(24), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
