"""R002-105, a rolling upgrade: for a while replicas of the last release and of this one answer side by side.

What the release writes is recorded (tests/contract/recorded); today's code reads it, and the release's contract reads
what today's code writes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from deploy.mesh import envoy
from tests.contract.recording import Contract, recorded, released, whole
from tools.tidy import SERVICES


@pytest.fixture(scope="module")
def before() -> Contract:
    return released()


@pytest.fixture(scope="module")
def now() -> Contract:
    files: FileDescriptorSet = envoy.contract(SERVICES)
    return Contract(files)


def parts(message: Message) -> Iterator[Message]:
    """The message and all that are in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for inner in value if field.is_repeated else [value]:
            yield from parts(inner)


def unknown(message: Message) -> set[str]:
    """Where bytes stand that the reader has no field for."""
    return {each.DESCRIPTOR.full_name for each in parts(message) if len(UnknownFieldSet(each))}


def shape(method: MethodDescriptor) -> tuple[str, str, bool, bool]:
    named = method.input_type.full_name, method.output_type.full_name
    return *named, method.client_streaming, method.server_streaming


def test_every_method_of_the_release_is_still_there(before: Contract, now: Contract) -> None:
    for path, method in before.methods.items():
        assert shape(now.methods[path]) == shape(method), path


@pytest.mark.parametrize("service", SERVICES)
def test_everything_that_the_release_says_is_recorded(before: Contract, service: str) -> None:
    mine = [method for path, method in before.methods.items() if path.startswith(f"/lifecircle.{service}.")]
    assert set(recorded(service)) == {each.full_name for one in mine for each in (one.input_type, one.output_type)}


@pytest.mark.parametrize("service", SERVICES)
def test_what_the_release_writes_is_read_and_written_back_whole(before: Contract, now: Contract, service: str) -> None:
    """N-1 to N and back: nothing is unknown, nothing is lost."""
    for name, messages in recorded(service).items():
        for content in messages:
            read = now.read(name, content)
            assert not unknown(read), name
            assert before.read(name, read.SerializeToString()) == before.read(name, content), name


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_written_today_is_read_by_the_release_which_keeps_what_it_does_not_know(
    before: Contract, now: Contract, service: str
) -> None:
    """N to N-1 and back: an old replica in the middle hands on fields that it has never heard of."""
    common = 0
    for path, method in now.methods.items():
        if not path.startswith(f"/lifecircle.{service}.") or path not in before.methods:
            continue
        for described in (method.input_type, method.output_type):
            for message in whole(described):
                content = message.SerializeToString()
                read = before.read(described.full_name, content)
                assert now.read(described.full_name, read.SerializeToString()) == message, described.full_name
                common += 1
    assert bool(common) == bool(recorded(service)), "only a service that is younger than the release has nothing"
