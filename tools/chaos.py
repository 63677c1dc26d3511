"""The proofs at their full counts (`make chaos`): seeded, bounded, the result kept as dated JSON.

The same tests as in `make test`, with CHAOS set: simulations of death, freezing and late commits over every seed, the
ledger beside its auditor, random auctions against the exact optimum, and the whole platform with each service killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from benchmarks import record
from tools.tidy import ROOT

PROOFS = (
    "tests/kit/test_jobs_simulation.py",
    "tests/kit/test_cursors.py",
    "tests/kit/test_outbox.py",
    "tests/points/test_simulation.py",
    "tests/contact/test_arbitration.py",
    "tests/e2e/test_restart.py",
)


def main() -> int:
    """Runs the proofs and keeps what came of them; gives pytest's exit code."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *PROOFS]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "CHAOS": "1"}, check=False).returncode
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - our own file
    proofs = Counter(f"{case.get('classname')}::{(case.get('name') or '').split('[')[0]}" for case in cases)
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    figures = {"runs": dict(sorted(proofs.items())), "failed": failed, "seconds": round(time.monotonic() - started)}
    print(f"kept as {record.keep('chaos', figures).relative_to(ROOT)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
