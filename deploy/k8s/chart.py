"""The chart, rendered by a real Helm; `python -m deploy.k8s.chart` writes what its examples look like.

    examples/minimal/values.yaml  ──► helm template ──► examples/minimal/rendered/<template>.yaml

A change of a template thus shows in review as what it does to two whole installations.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.helm import HelmMissing, helm

CHART = Path(__file__).parent / "lifecircle"
EXAMPLES = tuple(sorted(folder.name for folder in (CHART / "examples").iterdir() if folder.is_dir()))
RELEASE = NAMESPACE = "lifecircle"


class ChartFailed(Exception):
    """Helm refuses the chart or the values; the message is Helm's."""


def values(example: str) -> Path:
    """The values of an example."""
    return CHART / "examples" / example / "values.yaml"


@functools.cache
def render(example: str, *sets: str) -> dict[str, str]:
    """Renders an example with further `--set` values: name of the template → its YAML. Raises ChartFailed."""
    options = [word for each in sets for word in ("--set-json", each)]
    with tempfile.TemporaryDirectory() as name:
        _run("template", RELEASE, CHART, "-n", NAMESPACE, "-f", values(example), "--output-dir", name, *options)
        found = sorted(Path(name).rglob("*.yaml"))
        return {path.name: path.read_text() for path in found}


def objects(example: str, *sets: str) -> list[dict[str, Any]]:
    """The same as objects of Kubernetes."""
    rendered = render(example, *sets)
    return [each for text in rendered.values() for each in yaml.safe_load_all(text) if each]


def lint(example: str) -> str:
    """What `helm lint --strict` says of the chart with an example's values. Raises ChartFailed."""
    return _run("lint", "--strict", CHART, "-f", values(example))


def golden(example: str) -> dict[str, str]:
    """What is committed as the rendering of an example."""
    return {path.name: path.read_text() for path in sorted((CHART / "examples" / example / "rendered").glob("*.yaml"))}


def write() -> None:
    """Writes the rendering of every example anew."""
    for example in EXAMPLES:
        folder = CHART / "examples" / example / "rendered"
        rendered = render(example)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, text in rendered.items():
            (folder / name).write_text(text)


def _run(*words: str | Path) -> str:
    command: Sequence[str | Path] = [helm(), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ChartFailed((done.stderr + done.stdout).strip())
    return done.stdout


if __name__ == "__main__":
    try:
        write()
    except (HelmMissing, ChartFailed) as problem:
        sys.exit(f"chart: {problem}")
