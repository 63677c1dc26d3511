"""`make images-test`: builds every service's image, runs each hardened, and plays the campaign journey on all six.

Twice: on a platform of one machine, where each service's process is replaced by a container of its image under the same
settings, and, without Docker, on the chart's rendered `minimal` example by `podman kube play`. Outside of CI; the
figures are kept in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import record
from deploy.images import apart, kube
from deploy.images.engine import USER, Engine, NoEngine, found
from deploy.local import platform, processes, services
from deploy.local.keys import SERVICES
from deploy.local.run import Run, process_name
from tools.tidy import ROOT

_INSIDE = """
import importlib.util, json, os, pathlib
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
def writes(path):
    try:
        pathlib.Path(path).write_text("x")
        return True
    except OSError:
        return False
bill = json.load(open("/app/share/sbom.cdx.json"))
print(json.dumps({
    "uid": os.getuid(), "capabilities": int(status["CapEff"], 16), "seccomp": int(status["Seccomp"]),
    "no_new_privileges": int(status["NoNewPrivs"]), "root_writable": writes("/app/x") or writes("/x"),
    "tmp_writable": writes("/tmp/x"), "components": len(bill["components"]),
    "services": sorted(each.parent.name for each in pathlib.Path("/app/services").glob("*/__init__.py")),
}))
"""


def main() -> int:
    """Does it all; 0 also where images cannot be had, with a clear message."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images", description=__doc__)
    parser.add_argument("--store", type=Path, default=ROOT / ".tools" / "images", help="where buildah keeps images")
    parser.add_argument("--built", action="store_true", help="take images that are there; build only what is missing")
    parser.add_argument("--customers", type=int, default=1500, help="of the city that the journey is played in")
    parser.add_argument("--play", action="store_true", help="only play the chart's example, not the one machine")
    arguments = parser.parse_args()
    try:
        with found(arguments.store) as engine:
            try:
                figures = _measure(engine, built=arguments.built, customers=arguments.customers, alone=arguments.play)
            except NoEngine as failure:  # the engine was there: what fails now is ours
                print(f"images: {failure}", file=sys.stderr)
                return 1
    except NoEngine as reason:
        print(f"images are not tested: {reason}")
        return 0
    print(f"kept in {record.keep('images', figures)}")
    journeys = [figures.get("journey"), figures.get("kube_play", {}).get("journey")]
    return 0 if all(each["passed"] for each in journeys if each) else 1


def _measure(engine: Engine, *, built: bool, customers: int, alone: bool) -> dict[str, Any]:
    revision = _output(["git", "rev-parse", "HEAD"])
    images = {service: f"localhost/lifecircle-{service}:0.1.0" for service in SERVICES}
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", name], input=archive.stdout, check=True)
        engine.base_image()
        figures: dict[str, Any] = {"engine": engine.name, "base": engine.base, "images": {}}
        for service, tag in images.items():
            began = time.monotonic()
            if not (built and engine.has(tag)):
                engine.build(service, context, tag, revision)
            inside = json.loads(
                _output(engine.command(tag, ["-c", _INSIDE], {}, context, entry="python")).splitlines()[-1]
            )
            seconds = round(time.monotonic() - began, 1)
            figures["revision"] = engine.revision(tag)
            figures["images"][service] = {"megabytes": engine.megabytes(tag), "seconds": seconds, **inside}
            _judge(service, inside)
            print(f"{service}: {figures['images'][service]}", flush=True)
    if not alone:
        with _state(customers) as state:
            figures["journey"] = _journey(engine, images, state, customers)
    if engine.name != "docker":  # whose users have kind for this
        with _state(customers) as state, tempfile.TemporaryDirectory(dir=engine.store.parent) as play:
            machine = apart.entered(engine.store.parent / "apart", engine.store, Path(play), kube.PROGRAMS)
            with machine as there:
                figures["kube_play"] = kube.measure(there, Path(play), state, customers)
            print(f"kube play: {figures['kube_play']}", flush=True)
    return figures


def _judge(service: str, inside: dict[str, Any]) -> None:
    """Raises NoEngine when an image is not as hardened as the chart runs it."""
    wanted: dict[str, Any] = {
        "uid": 10001,
        "capabilities": 0,
        "seccomp": 2,
        "no_new_privileges": 1,
        "root_writable": False,
    }
    wanted |= {"root_writable": False, "tmp_writable": True, "services": sorted(["kit", service])}
    wrong = {key: inside[key] for key, value in wanted.items() if inside[key] != value}
    if wrong:
        raise NoEngine(f"the image of {service} is not as it should be: {wrong}")


@contextmanager
def _state(customers: int) -> Iterator[Path]:
    """A state folder with a city in it."""
    with tempfile.TemporaryDirectory(prefix="lifecircle-images-") as name:
        state = Path(name) / "state"
        city = ["--customers", str(customers), "--days", "30", "--seed", "7"]
        where = ["--out", str(state / "city" / "files"), "--truth", str(state / "city" / "truth")]
        subprocess.run([sys.executable, "-m", "city", *city, *where], cwd=ROOT, check=True, capture_output=True)
        yield state


def _journey(engine: Engine, images: dict[str, str], state: Path, customers: int) -> dict[str, Any]:
    """The campaign journey on a platform whose services are containers."""
    run, _ = platform.up(state, port=0)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for service, tag in images.items():
            running[service] = _replace(engine, run, service, tag)
            print(f"{service}: a container answers its health by gRPC", flush=True)
        began = time.monotonic()
        played = subprocess.run(
            [sys.executable, "clients/python/examples/journey.py", "--state", str(state)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = round(time.monotonic() - began, 1)
        if played.returncode != 0:
            print(played.stdout[-3000:], played.stderr[-2000:], sep="\n")
        ended = {service: _stopped(child) for service, child in running.items()}
        return {"passed": played.returncode == 0, "seconds": seconds, "customers": customers, "exit_status": ended}
    finally:
        for child in running.values():
            if child.poll() is None:
                child.terminate()
        platform.down(state)


def _replace(engine: Engine, run: Run, service: str, tag: str) -> subprocess.Popen[bytes]:
    """Stops the process of a service and starts a container of its image on the same port. Raises NoEngine."""
    processes.stop([run.children[process_name(service, 0)]], patience=30)
    # As fsGroup does in a cluster: what the services write to, and what they read as secrets, is their own.
    ours_alone = [
        run.landing,
        run.ocrm_out,
        run.lake,
        *(run.state / each for each in ("keys", "tokens", "certificates")),
    ]
    subprocess.run(["chown", "-R", USER, *ours_alone], check=True)
    run.state.chmod(0o755)
    ours = services.environment(run, service, 0)
    names = {"DATABASE_URL", "LISTEN", "JWT_KEYS", "SERVICE_TOKEN_FILE", "LAKE_URL", "LANDING", "VAULT_KEYS"}
    names |= {"SIGNING_KEYS", "OCRM_OUT", "TLS_CERTIFICATE", "TLS_KEY", "TLS_AUTHORITIES"}
    environ = {key: value for key, value in ours.items() if key in names or key.startswith("PEER_")}
    log = run.log(process_name(service, 0)).with_suffix(".container.log")
    with log.open("wb") as output:
        command = engine.command(tag, ["serve", "--work"], environ, run.state)
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 90
    while not services.serving(run.replicas[service][0], secure=run.secure):
        if child.poll() is not None or time.monotonic() > deadline:
            raise NoEngine(f"the container of {service} does not serve:\n{processes.tail(log, lines=15)}")
        time.sleep(0.2)
    return child


def _stopped(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    return child.wait(timeout=60)


def _output(words: list[str]) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoEngine(f"{words[0]} failed: {done.stderr.strip()[-800:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
