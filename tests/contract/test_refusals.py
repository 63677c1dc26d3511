"""Every expected "no" of a service is in its contract, and every reason of the contract is a "no" that exists."""

from __future__ import annotations

import importlib
import inspect

import pytest

from services.kit import errors
from tools.tidy import SERVICES


def refusals_of(module: object) -> set[str]:
    """Gives the reasons of a module: the upper-cased names of its public functions that are annotated to give one."""
    functions = inspect.getmembers(module, inspect.isfunction)
    mine = [(name, function) for name, function in functions if not name.startswith("_")]
    return {
        name.upper() for name, function in mine if function.__annotations__.get("return") in {"Refusal", errors.Refusal}
    }


@pytest.mark.parametrize("service", SERVICES)
def test_refusals_and_error_reasons_are_one_to_one(service: str) -> None:
    reasons = importlib.import_module(f"lifecircle.{service}.v1.error_reason_pb2").ErrorReason.keys()
    promised = {reason.removeprefix("ERROR_REASON_") for reason in reasons} - {"UNSPECIFIED"}
    own = refusals_of(importlib.import_module(f"services.{service}.refusals"))
    assert promised == own | refusals_of(errors)
