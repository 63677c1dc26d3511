"""Our own proto rules, over the descriptors that are really served."""

from __future__ import annotations

import re

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from tools.genproto import PROTOS
from tools.permissions import descriptors, rights_of
from tools.tidy import SERVICES

READS = (
    "Get", "List", "BatchGet", "Watch", "Export", "Count", "Recommend", "Explain", "Resolve", "Reveal", "Verify",
    "Issue",
)  # fmt: skip
# A write whose natural key stands in for a request id, with what the key is.
NATURAL_KEYS = {
    "PublishEvent": "(source, source_event_id)",
    "PublishEvents": "(source, source_event_id)",
    "RecordOperations": "(service, operation_id)",
    "ScoreEvents": "(source, source_event_id)",
    "ReleaseSnapshot": "lease_id",
    "AppendUpload": "(upload_id, offset)",
    "ScoreEvent": "(source, source_event_id)",
}
# Publish…s: ingest's event lane, one acknowledgement per batch.
STREAMS = ("Watch", "Export", "Reveal", "PublishEvents")


def methods_of(service: str) -> list[MethodDescriptor]:
    return [method for each in descriptors(service) for method in each.methods]


def methods() -> list[MethodDescriptor]:
    return [method for service in SERVICES for method in methods_of(service)]


def test_the_client_knows_every_service_of_the_contract() -> None:
    written = {
        f"{'.'.join(path.relative_to(PROTOS).parts[:-1])}.{name}"
        for path in (PROTOS / "lifecircle").rglob("*.proto")
        for name in re.findall(r"(?m)^service (\w+) \{", path.read_text("utf-8"))
    }
    assert written == {each.full_name for service in SERVICES for each in descriptors(service)}


def by_name(method: MethodDescriptor) -> str:
    return method.full_name


def messages_of(message: Descriptor, seen: set[str]) -> list[Descriptor]:
    if message.full_name in seen or not message.full_name.startswith("lifecircle."):
        return []
    seen.add(message.full_name)
    inner = [field.message_type for field in message.fields if field.message_type is not None]
    return [message, *(found for child in inner for found in messages_of(child, seen))]


@pytest.mark.parametrize("method", methods(), ids=by_name)
def test_every_method_has_a_request_and_a_response_of_its_own(method: MethodDescriptor) -> None:
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"


@pytest.mark.parametrize("method", methods(), ids=by_name)
def test_every_write_carries_a_request_id_or_a_natural_key(method: MethodDescriptor) -> None:
    if not method.name.startswith(READS) and method.name not in NATURAL_KEYS:
        assert "request_id" in method.input_type.fields_by_name


@pytest.mark.parametrize("method", methods(), ids=by_name)
def test_every_list_is_paged_from_the_first_day(method: MethodDescriptor) -> None:
    if method.name.startswith("List"):
        assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
        assert "next_page_token" in method.output_type.fields_by_name


@pytest.mark.parametrize("method", methods(), ids=by_name)
def test_only_logs_and_large_results_are_streamed(method: MethodDescriptor) -> None:
    if method.server_streaming or method.client_streaming:
        assert method.name.startswith(STREAMS)
    if method.name.startswith("Watch"):
        assert "cursor" in method.input_type.fields_by_name
        assert "cursor" in method.output_type.fields_by_name


@pytest.mark.parametrize("service", SERVICES)
def test_points_and_money_are_integers(service: str) -> None:
    seen: set[str] = set()
    for method in methods_of(service):
        for message in messages_of(method.input_type, seen) + messages_of(method.output_type, seen):
            for field in message.fields:
                if field.name.endswith("milli_points") or field.name in {
                    "amount_fen",
                    "fee_fen",
                    "worth_fen",
                    "cost_fen",
                }:
                    assert field.type == FieldDescriptor.TYPE_INT64, field.full_name


@pytest.mark.parametrize("service", SERVICES)
def test_every_method_is_mapped_to_the_roles_that_may_call_it(service: str) -> None:
    rights = rights_of(service)
    assert sorted(rights) == sorted(method.name for method in methods_of(service))
    assert all(rights.values())


def test_who_is_asked_about_is_a_key_with_slots_and_never_a_number() -> None:
    """R003-079: a channel passes customer key and slot ids; numbers become keys in ingest, and stand nowhere else."""
    for service in set(SERVICES) - {"ingest"}:
        seen: set[str] = set()
        for method in methods_of(service):
            for message in messages_of(method.input_type, seen) + messages_of(method.output_type, seen):
                for field in message.fields:
                    assert not re.search(r"msisdn|phone|mobile", field.name), field.full_name
    asked = {method.name: method.input_type for method in methods_of("contact")}
    assert asked["Decide"].fields_by_name["customer_key"].type == FieldDescriptor.TYPE_INT64
    place = asked["Decide"].fields_by_name["places"].message_type
    assert place is not None
    assert "slot_id" in place.fields_by_name
    assert "slot_ids" in asked["GetShowings"].fields_by_name
    resolving = next(method for method in methods_of("ingest") if method.name == "ResolveIdentities")
    assert "customer_keys" in resolving.output_type.fields_by_name
