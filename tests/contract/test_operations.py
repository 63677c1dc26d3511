"""R000-006: whoever takes data out, learns what is masked, or changes something stands in the operation log."""

from __future__ import annotations

import ast
import re
from functools import cache

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
WRITES = [
    (service, method.name)
    for service in SERVICES
    for each in descriptors(service)
    for method in each.methods
    if "request_id" in method.input_type.fields_by_name
]
ONLINE = {"Decide", "ConfirmGrant", "CancelGrant", "Withdraw"}
"""What channels do for a customer, at their rate: contact keeps each as a decision, a grant or a consent of its own."""

ANSWER = "idempotency.answer("


@pytest.mark.parametrize(("service", "method"), LOOKS)
def test_an_export_and_an_unmasking_are_recorded_by_their_own_name(service: str, method: str) -> None:
    """In the use case, in a transaction; tests of the service look at what the log then says."""
    told = "\n".join(path.read_text("utf-8") for path in (ROOT / "services" / service / "usecases").rglob("*.py"))
    by_name = re.search(rf'operations\.record\(\s*tx,\s*"{service}\.{method}"', told)
    by_way = f'operations.record(tx, f"{service}.{{method}}"' in told and f'"{method}"' in told
    by_itself = service == "admin" and f'audit.done(tx, actor, "{method}"' in told
    assert by_name or by_way or by_itself


@pytest.mark.parametrize(("service", "method"), WRITES)
def test_what_writes_goes_by_its_request_id_and_so_into_the_log(service: str, method: str) -> None:
    """idempotency.answer() tells the log of a person's act; who has no key of the kit's is not told of."""
    there = dict(functions(service, "api"))
    said = there[method]
    said += "".join(there.get(name, "") for name in re.findall(r"self\.(_\w+)\(", said))
    assert bool(re.search(r"\b(key_of|request_key)\(", said)) is not (method in ONLINE)


@pytest.mark.parametrize("service", SERVICES)
def test_who_remembers_a_request_answers_it_and_tells_the_log_before(service: str) -> None:
    found = functions(service, "usecases")
    ways = [ANSWER, *(f"self.{name}(" for name, text in found if name[0] == "_" and ANSWER in text)]
    remembering = [text for _, text in found if "idempotency.remember(" in text]
    assert remembering
    for text in remembering:
        answered = max(map(text.rfind, ways))
        assert answered > text.find("idempotency.remember("), text
        assert max(text.rfind("operations.record("), text.rfind("audit.done(")) < answered, text


@cache
def functions(service: str, room: str) -> list[tuple[str, str]]:
    """Name and text of every function of a room, its comments left out."""
    house = ROOT / "services" / service
    paths = [path for path in (house / f"{room}.py", *(house / room).rglob("*.py")) if path.exists()]
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    kinds = (ast.AsyncFunctionDef, ast.FunctionDef)
    return [(node.name, ast.unparse(node)) for node in nodes if isinstance(node, kinds)]
