"""What one service needs of the lock, and its bill of materials; the standard library is enough (it runs in a build).

    python deploy/images/lock.py needs points > needs.txt            for pip install --require-hashes -r
    python deploy/images/lock.py sbom points /app/venv > sbom.json    CycloneDX 1.6 of what of it is installed

The lock says of each package who asked for it (`# via`), so what a service needs is what its own extra, the kit's
dependencies and the client ask for, and whatever these ask for in turn.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distributions
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PIN = re.compile(r"(?m)^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"#\s+(?:via\s+)?([A-Za-z0-9_.-]+)")


@dataclass(frozen=True)
class Package:
    """One pinned package: its lines in the lock, and who asked for it."""

    name: str
    version: str
    text: str
    hashes: tuple[str, ...]
    asked_by: frozenset[str]


def packages(lock: str) -> list[Package]:
    """The packages of a lock; one that differs from Python to Python stands there once for each, and pip chooses."""
    starts = [*(match.start() for match in _PIN.finditer(lock)), len(lock)]
    found = []
    for begin, end in pairwise(starts):
        text = lock[begin:end]
        match = _PIN.match(text)
        assert match is not None, "a part of the lock begins with a pin"
        comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
        asked = frozenset(plain(each[1]) for line in comments for each in _VIA.finditer(line) if each[1] != "via")
        found.append(Package(plain(match[1]), match[2], text, tuple(_HASH.findall(text)), asked))
    return found


def needed(service: str, root: Path = ROOT) -> list[Package]:
    """What a service needs, by name. Raises KeyError for a service that has no extra."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    client = tomllib.loads((root / "clients" / "python" / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"][service], *client["dependencies"]]
    locked = packages((root / "requirements.lock").read_text())
    names = {plain(_named(each)) for each in asked}
    while True:
        more = {each.name for each in locked if each.name not in names and each.asked_by & names}
        if not more:
            return [each for each in locked if each.name in names]
        names |= more


def bill(service: str, version: str, parts: Iterable[Package]) -> dict[str, object]:
    """A CycloneDX 1.6 bill of materials."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "name": f"lifecircle-{service}", "version": version},
        },
        "components": [
            {
                "type": "library",
                "name": each.name,
                "version": each.version,
                "purl": f"pkg:pypi/{each.name}@{each.version}",
                "bom-ref": f"pkg:pypi/{each.name}@{each.version}",
            }
            for each in parts
        ],
    }


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _named(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert match is not None, requirement
    return match[0]


def main(words: list[str]) -> int:
    """Does what the command line says."""
    verb, service, *rest = words
    parts = needed(service)
    if verb == "needs":
        print("".join(each.text for each in parts))
        return 0
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    places = [str(path) for path in Path(rest[0]).glob("lib/*/site-packages")]
    there = {(plain(each.name), each.version) for each in distributions(path=places)}
    print(json.dumps(bill(service, version, [each for each in parts if (each.name, each.version) in there]), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
