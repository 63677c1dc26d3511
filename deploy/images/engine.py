"""What builds and runs images here: Docker where it runs, else buildah and podman as root on a bare machine.

Without an engine the official Python image cannot be had either, so a base of the machine's own Debian is made by
mmdebstrap and stands under its name; the result says so. Resource limits are not looked at there (no cgroups).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BASE = "docker.io/library/python:3.11-slim"
USER = "10001:10001"
HARDENED = (
    "--network=host --read-only --tmpfs=/tmp:rw,noexec,nosuid,mode=1777 --cap-drop=ALL --security-opt=no-new-privileges"
)
_NEEDED = ("buildah", "podman", "crun", "mmdebstrap", "unshare")
_TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
_SETUP = (
    "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv"
    " && ln -sf /usr/bin/python3 /usr/local/bin/python && rm -rf /var/lib/apt/lists/*"
)


class NoEngine(Exception):
    """Images can neither be built nor run here; the message says what is missing."""


@dataclass(frozen=True)
class Engine:
    """How images are built and run; `store` is where buildah and podman keep theirs."""

    name: str
    base: str
    store: Path

    def build(self, service: str, context: Path, tag: str, revision: str) -> None:
        """Builds the image of a service from `context`, which holds what is committed."""
        told: list[str | Path] = [
            f"--build-arg=SERVICE={service}",
            f"--build-arg=REVISION={revision}",
            "-f",
            context / "deploy/Dockerfile",
        ]
        if self.name == "docker":
            run(["docker", "build", "--quiet", *told, "-t", tag, context])
            return
        options = [
            "bud",
            "--quiet",
            "--layers",
            "--isolation=chroot",
            "--pull-never",
            f"--volume={_TRUSTED}:{_TRUSTED}:ro",
        ]
        run([*self._buildah(), *options, *told, "-t", tag, context])

    def base_image(self) -> None:
        """Makes sure of the base image."""
        if self.name == "docker" or self.has(BASE):
            return
        tar = self.store.parent / "base.tar"
        what = "--include=python3,ca-certificates,libgomp1"
        with apt_sources(_suite()) as sources:
            run(["mmdebstrap", "--quiet", "--variant=minbase", what, _suite(), tar, *sources])
        made = _output([*self._buildah(), "from", "--pull-never", "scratch"])
        run([*self._buildah(), "add", "--quiet", made, tar, "/"])
        inside = ["run", "--isolation=chroot", f"--volume={_TRUSTED}:{_TRUSTED}:ro", made, "sh", "-c", _SETUP]
        run([*self._buildah(), *inside])
        run([*self._buildah(), "commit", "--quiet", "--rm", made, BASE])
        tar.unlink()

    def has(self, tag: str) -> bool:
        """Whether an image is there."""
        words = ["docker", "image", "inspect", tag] if self.name == "docker" else [*self._buildah(), "inspect", tag]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def revision(self, tag: str) -> str:
        """The commit that an image was built from, as its label says."""
        return self._inspected(tag, '{{index .Config.Labels "org.opencontainers.image.revision"}}')

    def megabytes(self, tag: str) -> float:
        """How large an image is."""
        return round(int(self._inspected(tag, "{{.Size}}")) / 1e6, 1)

    def command(
        self, tag: str, words: Sequence[str], environ: Mapping[str, str], mount: Path, entry: str = ""
    ) -> list[str]:
        """The command that runs a container, hardened, until it ends; `mount` is seen under its own path."""
        options = [*HARDENED.split(), f"--user={USER}", f"--volume={mount}:{mount}", "--rm"]
        options += [f"--env={name}={value}" for name, value in environ.items()]
        options += [f"--entrypoint={entry}"] if entry else []
        if self.name == "docker":
            return ["docker", "run", "--init", *options, tag, *words]
        limits = [
            "--cgroups=disabled",
            "--ulimit=nofile=4096:4096",
            "--ulimit=nproc=4096:4096",
            "--read-only-tmpfs=false",
        ]
        kept = [f"--root={self.store}", f"--runroot={self.store}.run"]
        podman = ["podman", *kept, "--runtime=crun", "run", *limits, *options, tag, *words]
        # In a mount namespace of its own, without the half cgroup2 that some machines have beside cgroup1.
        apart = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
        return ["unshare", "-m", "--propagation=private", "sh", "-c", apart, "sh", *podman]

    def _inspected(self, tag: str, what: str) -> str:
        kept = [] if self.name == "docker" else [f"--root={self.store}", f"--runroot={self.store}.run"]
        return _output(["docker" if self.name == "docker" else "podman", *kept, "image", "inspect", "-f", what, tag])

    def _buildah(self) -> list[str]:
        return ["buildah", f"--root={self.store}", f"--runroot={self.store}.run"]


@contextmanager
def found(store: Path) -> Iterator[Engine]:
    """The engine of this machine. Raises NoEngine."""
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        yield Engine("docker", BASE, store)
        return
    missing = [name for name in _NEEDED if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        lack = f"{', '.join(missing)} not found (apt-get install buildah podman crun mmdebstrap catatonit netavark)"
        raise NoEngine(f"no Docker engine runs, and {lack if missing else 'buildah and podman need root here'}")
    store.mkdir(parents=True, exist_ok=True)
    yield Engine("buildah and podman", "Debian's Python by mmdebstrap, not the official image", store)


@contextmanager
def apt_sources(suite: str) -> Iterator[list[Path]]:
    """Gives copies of the machine's own apt sources, saying `suite` where they name the machine's release."""
    found = [path for path in Path("/etc/apt").rglob("*") if path.suffix in (".list", ".sources")]
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for number, path in enumerate(path for path in found if path.is_file() and path.stat().st_size):
            copies.append(Path(folder) / f"{number}{path.suffix}")
            copies[-1].write_text(path.read_text().replace(_suite(), suite))
        yield copies


def _suite() -> str:
    """The name of this machine's Debian."""
    return _output(["sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME"])


def run(words: Sequence[str | Path]) -> None:
    """Runs a command to its end. Raises NoEngine with what it said last."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoEngine(f"{words[0]} failed: {(done.stderr or done.stdout).strip()[-800:]}")


def _output(words: Sequence[str | Path]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip()
