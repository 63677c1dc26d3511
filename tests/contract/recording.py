"""Recorded messages of the last release; `python -m tests.contract.recording` writes them after `make proto-release`.

One JSON file per service maps each request and response of an RPC to its bytes (base64) as the release writes them,
with every field set; where fields exclude one another there is one recording per choice.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from tools.genproto import RELEASED
from tools.tidy import SERVICES

FOLDER = Path(__file__).parent / "recorded"
_DEEP = 5  # levels of messages in messages that are filled
_NUMBERS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


class Contract:
    """The messages and methods of a descriptor set, by name."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)
        self.services = [
            self.pool.FindServiceByName(f"{file.package}.{service.name}")
            for file in files.file
            for service in file.service
            if file.package.startswith("lifecircle.")
        ]

    @property
    def methods(self) -> dict[str, MethodDescriptor]:
        """Every method by its path."""
        return {f"/{each.full_name}/{method.name}": method for each in self.services for method in each.methods}

    def read(self, name: str, content: bytes) -> Message:
        """Decodes a message."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name)).FromString(content)

    def has(self, name: str) -> bool:
        """Whether a message is there."""
        try:
            self.pool.FindMessageTypeByName(name)
        except KeyError:
            return False
        return True


def released() -> Contract:
    """The contract of the last release."""
    return Contract(FileDescriptorSet.FromString(RELEASED.read_bytes()))


def whole(described: Descriptor) -> Iterator[Message]:
    """Gives a message with every field set, one for each choice where fields exclude one another."""
    choices = max((len(each.fields) for each in described.oneofs), default=1)
    for choice in range(choices):
        message = message_factory.GetMessageClass(described)()
        _fill(message, choice, _DEEP)
        yield message


def _fill(message: Message, choice: int, deep: int) -> None:
    for field in message.DESCRIPTOR.fields:
        one = field.containing_oneof
        if one is not None and one.fields[choice % len(one.fields)] != field:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _map(message, field)
        elif field.message_type is not None:
            if deep:
                held = getattr(message, field.name)
                inner = held.add() if field.is_repeated else held
                inner.SetInParent()
                _fill(inner, choice, deep - 1)
        elif field.is_repeated:
            getattr(message, field.name).extend([_value(field, 1), _value(field, 2)])
        else:
            setattr(message, field.name, _value(field, 1))


def _map(message: Message, field: Any) -> None:
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    held = getattr(message, field.name)
    if value.message_type is None:
        held[_value(key, 1)] = _value(value, 2)
    else:
        _fill(held[_value(key, 1)], 0, 1)


def _value(field: Any, number: int) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = f"{field.name} {number} 生活圈"
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return True
    return field.number * 100 + number + (0.5 if field.cpp_type in _NUMBERS else 0)


def record(contract: Contract, service: str) -> dict[str, list[str]]:
    """The recordings of one service."""
    mine = [method for path, method in contract.methods.items() if path.startswith(f"/lifecircle.{service}.")]
    described = {each.full_name: each for method in mine for each in (method.input_type, method.output_type)}
    return {
        name: [base64.b64encode(message.SerializeToString(deterministic=True)).decode() for message in whole(each)]
        for name, each in sorted(described.items())
    }


def recorded(service: str) -> dict[str, list[bytes]]:
    """Reads the recordings of one service."""
    kept = json.loads((FOLDER / f"{service}.json").read_text())
    return {name: [base64.b64decode(each) for each in messages] for name, messages in kept.items()}


if __name__ == "__main__":
    for word in SERVICES:
        (FOLDER / f"{word}.json").write_text(json.dumps(record(released(), word), indent=0) + "\n")
