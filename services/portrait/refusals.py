"""Every expected "no" of portrait; one to one with lifecircle/portrait/v1/error_reason.proto."""

from collections.abc import Sequence
from datetime import date

from services.kit.errors import Kind, Refusal


def customer_not_found(customer_key: int) -> Refusal:
    """No portrait has this key."""
    message = f"no portrait has the key {customer_key}"
    return Refusal(Kind.NOT_FOUND, "CUSTOMER_NOT_FOUND", message, metadata={"customer_key": str(customer_key)})


def tag_not_found(code: str) -> Refusal:
    """The catalogue has no such tag, or the tag no such value."""
    return Refusal(Kind.NOT_FOUND, "TAG_NOT_FOUND", f"the catalogue has no tag {code}", metadata={"code": code})


def run_not_found(run_id: str) -> Refusal:
    """No run has this id, or none was published yet."""
    message = f"no run has the id {run_id}" if run_id else "no run was published yet"
    return Refusal(Kind.NOT_FOUND, "RUN_NOT_FOUND", message, metadata={"run_id": run_id})


def feeds_incomplete(missing: Sequence[str]) -> Refusal:
    """The feeds of the span are not all there; `missing` names them, for instance `signalling 2026-09-03`."""
    named = ", ".join(missing[:20]) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
    message = f"not loaded yet: {named}"
    return Refusal(Kind.FAILED_PRECONDITION, "FEEDS_INCOMPLETE", message, metadata={"missing": named})


def span_invalid(from_date: date, to_date: date, most_days: int) -> Refusal:
    """The span ends before it begins, or is too long."""
    message = f"a span ends on or after its first day and has at most {most_days} days"
    metadata = {"from_date": from_date.isoformat(), "to_date": to_date.isoformat()}
    fields = [("compute.to_date", message)]
    return Refusal(Kind.INVALID_ARGUMENT, "SPAN_INVALID", message, metadata=metadata, fields=fields)
