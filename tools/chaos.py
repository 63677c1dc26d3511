"""The proofs at their full counts (`make chaos`, or `python -m tools.chaos points` for one folder of tests): seeded,
bounded, the result kept as dated JSON.

The same tests as in `make test`, with CHAOS set: every test file that takes its counts from tests/fixtures/counts.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from benchmarks import record
from tools.tidy import ROOT

# A proof is a test file that takes its counts from tests/fixtures/counts.py.
PROOFS = tuple(
    sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "fixtures.counts import" in path.read_text("utf-8")
    )
)


def main(folders: Sequence[str]) -> int:
    """Runs the proofs, those of some folders of tests or all, and keeps what came of them; gives pytest's exit code."""
    proofs_of = [path for path in PROOFS if not folders or path.split("/")[1] in folders]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--randomly-seed=default", f"--junitxml={report}", *proofs_of]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "CHAOS": "1"}, check=False).returncode
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - our own file
    proofs = Counter(f"{case.get('classname')}::{(case.get('name') or '').split('[')[0]}" for case in cases)
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    figures = {"runs": dict(sorted(proofs.items())), "failed": failed, "seconds": round(time.monotonic() - started)}
    print(f"kept as {record.keep('-'.join(['chaos', *folders]), figures).relative_to(ROOT)}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
