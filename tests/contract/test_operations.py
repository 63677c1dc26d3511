"""R000-006: whoever takes data out, or learns a number in clear, stands in the operation log."""

from __future__ import annotations

import re

import pytest

from tools.permissions import descriptors
from tools.tidy import ROOT, SERVICES

TAKES_OUT = ("Export", "Reveal")
LOOKS = [
    (service, method.name)
    for service in SERVICES
    for each in descriptors(service)
    for method in each.methods
    if method.name.startswith(TAKES_OUT)
]


@pytest.mark.parametrize(("service", "method"), LOOKS)
def test_an_export_and_an_unmasking_are_recorded_by_their_own_name(service: str, method: str) -> None:
    """In the use case, in a transaction; tests of the service look at what the log then says."""
    told = "\n".join(path.read_text("utf-8") for path in (ROOT / "services" / service / "usecases").rglob("*.py"))
    by_name = re.search(rf'operations\.record\(\s*tx,\s*"{service}\.{method}"', told)
    by_way = f'operations.record(tx, f"{service}.{{method}}"' in told and f'"{method}"' in told
    assert by_name or by_way
