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


def period_state(period_id: str, state: str, verb: str) -> Refusal:
    """The period's state does not allow the verb."""
    message = f"{period_id} is {state}, so it cannot be {verb}"
    return Refusal(Kind.FAILED_PRECONDITION, "PERIOD_STATE", message, metadata={"period_id": period_id, "state": state})


def rule_set_state(state: str, needed: str) -> Refusal:
    """The version's state does not allow the verb."""
    message = f"this version is {state}; it must be {needed} first"
    return Refusal(Kind.FAILED_PRECONDITION, "RULE_SET_STATE", message, metadata={"state": state, "needed": needed})


def second_person(first: str) -> Refusal:
    """The same person may not do both."""
    return Refusal(
        Kind.PERMISSION_DENIED,
        "SECOND_PERSON",
        f"{first} began this, so another person must decide",
        metadata={"first": first},
    )


def event_not_found(source: str, source_event_id: str) -> Refusal:
    """No event has this id."""
    metadata = {"source": source, "source_event_id": source_event_id}
    return Refusal(Kind.NOT_FOUND, "EVENT_NOT_FOUND", f"{source} told no event {source_event_id}", metadata=metadata)


def run_not_found(run_id: str) -> Refusal:
    """No run has this id."""
    return Refusal(Kind.NOT_FOUND, "RUN_NOT_FOUND", f"no run has the id {run_id}", metadata={"run_id": run_id})


def run_state(state: str) -> Refusal:
    """The run is no recalculation with differences."""
    message = f"only a recalculation with differences can be posted; this run is {state}"
    return Refusal(Kind.FAILED_PRECONDITION, "RUN_STATE", message, metadata={"state": state})


def adjustment_not_found(adjustment_id: str) -> Refusal:
    """No adjustment has this id."""
    message = f"no adjustment has the id {adjustment_id}"
    return Refusal(Kind.NOT_FOUND, "ADJUSTMENT_NOT_FOUND", message, metadata={"adjustment_id": adjustment_id})


def adjustment_decided(state: str) -> Refusal:
    """The adjustment was decided before."""
    return Refusal(Kind.FAILED_PRECONDITION, "ADJUSTMENT_DECIDED", f"it is {state} already", metadata={"state": state})


def dispute_not_found(dispute_id: str) -> Refusal:
    """No dispute has this id."""
    message = f"no dispute has the id {dispute_id}"
    return Refusal(Kind.NOT_FOUND, "DISPUTE_NOT_FOUND", message, metadata={"dispute_id": dispute_id})


def dispute_state(state: str) -> Refusal:
    """The dispute's state does not allow the verb."""
    return Refusal(Kind.FAILED_PRECONDITION, "DISPUTE_STATE", f"the dispute is {state}", metadata={"state": state})


def staff_not_found(staff_id: str) -> Refusal:
    """No employee has this id."""
    message = f"no employee has the id {staff_id}"
    return Refusal(Kind.NOT_FOUND, "STAFF_NOT_FOUND", message, metadata={"staff_id": staff_id})


def fraud_case_not_found(case_id: str) -> Refusal:
    """No case has this id."""
    return Refusal(
        Kind.NOT_FOUND, "FRAUD_CASE_NOT_FOUND", f"no case has the id {case_id}", metadata={"case_id": case_id}
    )


def fraud_case_decided(state: str) -> Refusal:
    """The case was decided before."""
    return Refusal(Kind.FAILED_PRECONDITION, "FRAUD_CASE_DECIDED", f"it is {state} already", metadata={"state": state})


def nothing_published() -> Refusal:
    """No rules were published yet."""
    return Refusal(Kind.FAILED_PRECONDITION, "NOTHING_PUBLISHED", "no rules were published yet")
