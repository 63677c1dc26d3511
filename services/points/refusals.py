"""Every expected "no" of points, one to one with `lifecircle/points/v1/error_reason.proto`."""

from services.kit.errors import Kind, Refusal


def rule_set_invalid(place: str, problem: str) -> Refusal:
    """The definition cannot be used. `place` names table, row (from 1) and column, e.g. `tables.sales[3].num`."""
    return Refusal(
        Kind.INVALID_ARGUMENT,
        "RULE_SET_INVALID",
        f"{place}: {problem}",
        metadata={"place": place},
        fields=[("rule_set.definition", f"{place}: {problem}")],
    )


def rule_set_not_found(rule_set_id: str) -> Refusal:
    """No rule set has this id."""
    message = f"no rule set has the id {rule_set_id}"
    return Refusal(Kind.NOT_FOUND, "RULE_SET_NOT_FOUND", message, metadata={"rule_set_id": rule_set_id})


def rule_set_not_draft(state: str) -> Refusal:
    """Only a draft can be published."""
    message = f"only a draft can be published; this version is {state}"
    return Refusal(Kind.FAILED_PRECONDITION, "RULE_SET_NOT_DRAFT", message, metadata={"state": state})


def rule_set_hash_changed(sha256: str) -> Refusal:
    """The draft is not the one that was reviewed; `sha256` is that of the draft as stored."""
    message = f"the draft's checksum is {sha256}, not the one that was reviewed"
    return Refusal(Kind.ABORTED, "RULE_SET_HASH_CHANGED", message, metadata={"sha256": sha256})


def author_cannot_publish(author: str) -> Refusal:
    """A second person must publish."""
    message = f"{author} wrote these rules, so another person must publish them"
    return Refusal(Kind.PERMISSION_DENIED, "AUTHOR_CANNOT_PUBLISH", message, metadata={"author": author})


def effective_date_taken(effective_date: str) -> Refusal:
    """Another version of the name takes effect on that day."""
    message = f"another version of this name takes effect on {effective_date}"
    return Refusal(Kind.ALREADY_EXISTS, "EFFECTIVE_DATE_TAKEN", message, metadata={"effective_date": effective_date})


def effective_date_scored(effective_date: str, scored_to: str) -> Refusal:
    """Events of that day or later are scored already; published rules do not change what was posted under others."""
    message = f"events up to {scored_to} are scored already, so {effective_date} is too early; choose a later day"
    metadata = {"effective_date": effective_date, "scored_to": scored_to}
    return Refusal(Kind.FAILED_PRECONDITION, "EFFECTIVE_DATE_SCORED", message, metadata=metadata)


def entry_not_found(entry_id: str) -> Refusal:
    """No entry has this id."""
    message = f"no entry has the id {entry_id}"
    return Refusal(Kind.NOT_FOUND, "ENTRY_NOT_FOUND", message, metadata={"entry_id": entry_id})


def event_id_reused(source: str, source_event_id: str) -> Refusal:
    """The source told another event under the same id before."""
    message = f"{source} told another event under the id {source_event_id} before"
    metadata = {"source": source, "source_event_id": source_event_id}
    return Refusal(Kind.ABORTED, "EVENT_ID_REUSED", message, metadata=metadata)


def period_not_found(period_id: str) -> Refusal:
    """The ledger has no such period."""
    message = f"the ledger has no period {period_id}"
    return Refusal(Kind.NOT_FOUND, "PERIOD_NOT_FOUND", message, metadata={"period_id": period_id})
