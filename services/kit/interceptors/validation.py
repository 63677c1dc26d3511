"""Validation: the rules written on the fields in the protos (protovalidate), before any code of a service runs."""

from typing import Any, TypeVar

from google.protobuf.message import Message
from protovalidate import Validator, Violation

from services.kit.errors import invalid_field

_validator = Validator()
_Request = TypeVar("_Request", bound=Message)


def validated(request: _Request) -> _Request:
    """The request, which keeps the rules of its contract. Raises invalid_field with every field named."""
    violations = _validator.collect_violations(request)
    if violations:
        raise invalid_field([(_path(each), each.proto.message or each.proto.rule_id) for each in violations])
    return request


def _path(violation: Violation) -> str:
    """Path of the field as one writes it: `offers[2].product_id`, `prices["a"]`."""
    path = violation.proto.field
    return "".join(_step(element) for element in path.elements).lstrip(".") if path else ""


def _step(element: Any) -> str:
    subscript = element.subscript
    if subscript is None:
        return f".{element.field_name}"
    key = f'"{subscript.value}"' if isinstance(subscript.value, str) else str(subscript.value)
    return f".{element.field_name}[{key}]"
