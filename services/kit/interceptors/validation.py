"""Validation: the rules written on the fields in the protos (protovalidate), before any code of a service runs.

A request whose rules are bounds of numbers and lengths of texts is held against them first, in a microsecond and
not ten; what does not lie within is protovalidate's to judge, as is every other request.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from protovalidate import Validator, Violation

from services.kit.errors import invalid_field

_validator = Validator()
_Request = TypeVar("_Request", bound=Message)

_RULES = "buf.validate.field"
_INTEGERS = frozenset({"int32", "int64", "uint32", "uint64", "sint32", "sint64"})
_LEAST, _MOST = -(2**63), 2**64

Bound = tuple[str, int, int]
"""A field, and the least and the most that it may be, or that its text may be long."""
Bounds = tuple[tuple[Bound, ...], tuple[Bound, ...]]
"""Of numbers, and of the lengths of texts."""

_found: dict[type[Message], Bounds | None] = {}


def validated(request: _Request) -> _Request:
    """The request, which keeps the rules of its contract. Raises invalid_field with every field named."""
    bounds = bounds_of(type(request))
    if bounds is not None and within(request, *bounds):
        return request
    violations = _validator.collect_violations(request)
    if violations:
        raise invalid_field([(_path(each), each.proto.message or each.proto.rule_id) for each in violations])
    return request


def within(request: Message, numbers: tuple[Bound, ...], texts: tuple[Bound, ...]) -> bool:
    """Whether all fields lie within; if they do, no rule is broken."""
    for name, least, most in numbers:
        if not least <= getattr(request, name) <= most:
            return False
    return not texts or all(least <= len(getattr(request, name)) <= most for name, least, most in texts)


def bounds_of(kind: type[Message]) -> Bounds | None:
    """The bounds that are all the rules of a class of messages; None when it has others. Looked for once."""
    if kind not in _found:
        _found[kind] = _bounds(kind)
    return _found[kind]


def _bounds(kind: type[Message]) -> Bounds | None:
    message = kind.DESCRIPTOR
    numbers: list[Bound] = []
    texts: list[Bound] = []
    if message.GetOptions().ListFields() or any(one.GetOptions().ListFields() for one in message.oneofs):
        return None
    for field in message.fields:
        rules = {option.full_name: value for option, value in field.GetOptions().ListFields()}.get(_RULES)
        if field.message_type is not None:
            return None  # it may have rules of its own
        if rules is None:
            continue
        told = _bound(field.name, {option.name: value for option, value in rules.ListFields()})
        if told is None or field.is_repeated:
            return None
        (texts if field.type == FieldDescriptor.TYPE_STRING else numbers).append(told)
    return tuple(numbers), tuple(texts)


def _bound(field: str, rules: Mapping[str, Any]) -> Bound | None:
    """The rules of one field as a bound; None when they are others, or leave a gap in the middle."""
    if len(rules) != 1:
        return None
    [(kind, told)] = rules.items()
    limits = {option.name: value for option, value in told.ListFields()}
    if kind in _INTEGERS and limits.keys() <= {"gt", "gte", "lt", "lte"}:
        least = max(limits.get("gte", _LEAST), limits.get("gt", _LEAST) + 1)
        most = min(limits.get("lte", _MOST), limits.get("lt", _MOST) - 1)
    elif kind == "string" and limits.keys() <= {"min_len", "max_len"}:
        least, most = limits.get("min_len", 0), limits.get("max_len", _MOST)
    else:
        return None
    return (field, least, most) if least <= most else None


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
