"""A machine apart for `podman kube play`: Debian 13's podman in a root, a network and processes of its own.

Playing Kubernetes objects needs a newer podman than many machines have, one cgroup2 tree and a network nobody else
uses. All of it is made here by namespaces and gone with the first process in them: nothing of the machine is changed.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.images.engine import NoEngine, apt_sources, run

_PACKAGES = "podman,crun,netavark,aardvark-dns,catatonit,iproute2,nftables,ca-certificates"
_ENTER = """
set -e
root=$1; shift
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
while [ $# -gt 0 ]; do mkdir -p ".$2"; mount --bind "$1" ".$2"; shift 2; done
mkdir -p old
pivot_root . old
umount -l /old
ip link set lo up
printf '[storage]\\ndriver = "overlay"\\nrunroot = "/run/storage"\\ngraphroot = "/play/podman"\\n' > /etc/containers/storage.conf
printf '[storage.options]\\nadditionalimagestores = ["/images"]\\n' >> /etc/containers/storage.conf
printf '[containers]\\npids_limit = 0\\n[network]\\nnetwork_config_dir = "/play/networks"\\n[engine]\\ncgroup_manager = "cgroupfs"\\nevents_logger = "file"\\n' > /etc/containers/containers.conf
touch /run/ready
exec sleep infinity
"""  # noqa: E501


@dataclass(frozen=True)
class Apart:
    """The machine apart, by its first process."""

    pid: int

    def podman(self, *words: str | Path, check: bool = True) -> str:
        """Runs podman there; gives what it says. Raises NoEngine when it fails and `check` holds."""
        done = subprocess.run(self._within("podman", *map(str, words)), capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise NoEngine(f"podman {words[0]} failed: {(done.stderr or done.stdout).strip()[-800:]}")
        return done.stdout.strip()

    def said(self, container: str, *options: str) -> str:
        """What a container has written, on either stream; a container that is not there says podman's own words."""
        words = self._within("podman", "logs", *options, container)
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout

    def reaching(self, words: list[str]) -> list[str]:
        """A command of this machine, with its files, that sees the network there and nothing else of it."""
        return ["nsenter", f"--target={self.pid}", "--net", *words]

    def _within(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", *words]


@contextmanager
def entered(store: Path, images: Path, play: Path, seen: Mapping[Path, str]) -> Iterator[Apart]:
    """Makes the machine apart and ends all that runs in it.

    Its root is kept at `store`; `images` is where buildah keeps images, `play` an empty folder which it sees as /play
    and keeps its own containers and volumes in, `seen` are more folders by where it sees them. Raises NoEngine.
    """
    if not (store / "usr" / "bin" / "podman").exists():
        half = store.with_suffix(".new")
        run(["rm", "-rf", half])
        told = ["--quiet", "--variant=minbase", f"--include={_PACKAGES}"]
        with apt_sources("trixie") as sources:
            run(["mmdebstrap", *told, "--format=directory", "trixie", half, *sources])
        half.rename(store)
    mounts = [
        word for source, target in {images: "/images", play: "/play", **seen}.items() for word in (source, target)
    ]
    apart = [
        "setpriv",
        "--pdeathsig=KILL",
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--propagation=private",
    ]
    child = subprocess.Popen([*apart, "sh", "-c", _ENTER, "sh", store, *mounts], stderr=subprocess.PIPE, text=True)
    try:
        yield Apart(_first(child))
    finally:
        child.kill()
        child.communicate()


def _first(child: subprocess.Popen[str]) -> int:
    """Waits until the machine apart is furnished and gives its first process."""
    deadline = time.monotonic() + 30
    while child.poll() is None and time.monotonic() < deadline:
        born = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        if born and Path("/proc", born[0], "root", "run", "ready").exists():
            return int(born[0])
        time.sleep(0.05)
    child.kill()
    said = re.sub(r"\s+", " ", child.communicate()[1] or "")
    raise NoEngine(f"namespaces of their own are not to be had here: {said[-400:]}")
