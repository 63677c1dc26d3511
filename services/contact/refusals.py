"""Every expected "no" of contact, one to one with lifecircle/contact/v1/error_reason.proto (the kit's own apart)."""

from collections.abc import Sequence

from services.kit.errors import Kind, Refusal


def campaign_not_found(campaign_id: str) -> Refusal:
    """No campaign has this id."""
    message = f"no campaign has the id {campaign_id}"
    return Refusal(Kind.NOT_FOUND, "CAMPAIGN_NOT_FOUND", message, metadata={"campaign_id": campaign_id})


def campaign_invalid(field: str, problem: str) -> Refusal:
    """The campaign cannot be used; `field` is the path of the field at fault."""
    fields = [(f"campaign.{field}", problem)]
    return Refusal(
        Kind.INVALID_ARGUMENT, "CAMPAIGN_INVALID", f"{field} {problem}", metadata={"field": field}, fields=fields
    )


def campaign_state(campaign_id: str, state: str, needed: str) -> Refusal:
    """The verb is not allowed in the campaign's state."""
    message = f"campaign {campaign_id} is {state}, it has to be {needed}"
    metadata = {"campaign_id": campaign_id, "state": state, "needed": needed}
    return Refusal(Kind.FAILED_PRECONDITION, "CAMPAIGN_STATE", message, metadata=metadata)


def campaign_changed(campaign_id: str) -> Refusal:
    """The campaign has a newer revision than the etag given."""
    message = f"campaign {campaign_id} was changed since it was read"
    return Refusal(Kind.ABORTED, "CAMPAIGN_CHANGED", message, metadata={"campaign_id": campaign_id})


def policy_invalid(field: str, problem: str) -> Refusal:
    """The policy cannot be used; `field` is the path of the field at fault."""
    fields = [(f"policy.{field}", problem)]
    return Refusal(
        Kind.INVALID_ARGUMENT, "POLICY_INVALID", f"{field} {problem}", metadata={"field": field}, fields=fields
    )


def plan_not_found(plan_id: str) -> Refusal:
    """No plan has this id; an empty id asked for the latest, and there is none yet."""
    message = f"no plan has the id {plan_id}" if plan_id else "there is no plan yet"
    return Refusal(Kind.NOT_FOUND, "PLAN_NOT_FOUND", message, metadata={"plan_id": plan_id})


def plan_not_ready(plan_id: str, state: str) -> Refusal:
    """The plan is not in the state that the work needs."""
    message = f"plan {plan_id} is {state}"
    return Refusal(Kind.FAILED_PRECONDITION, "PLAN_NOT_READY", message, metadata={"plan_id": plan_id, "state": state})


def plan_infeasible(rows: Sequence[str], *, proven: bool) -> Refusal:
    """A campaign's minimum cannot be met; `rows` are the limits that block it, `proven` that no plan at all can."""
    named = ", ".join(rows)
    how = "no plan can meet" if proven else "no plan was found that meets"
    message = f"{how} these together: {named}"
    metadata = {"rows": named, "proven": str(proven).lower()}
    return Refusal(Kind.FAILED_PRECONDITION, "PLAN_INFEASIBLE", message, metadata=metadata)


def inputs_incomplete(missing: str) -> Refusal:
    """Something that an auction needs is not there yet."""
    message = f"missing: {missing}"
    return Refusal(Kind.FAILED_PRECONDITION, "INPUTS_INCOMPLETE", message, metadata={"missing": missing})


def outcome_unmatched(contact_id: str) -> Refusal:
    """No contact has this id."""
    message = f"no contact has the id {contact_id}"
    return Refusal(Kind.NOT_FOUND, "OUTCOME_UNMATCHED", message, metadata={"contact_id": contact_id})


def order_not_found(order_id: str) -> Refusal:
    """No marketing order has this id."""
    return Refusal(
        Kind.NOT_FOUND, "ORDER_NOT_FOUND", f"no order has the id {order_id}", metadata={"order_id": order_id}
    )


def order_state(order_id: str, state: str, verb: str) -> Refusal:
    """The verb is not allowed in the order's state."""
    message = f"order {order_id} is {state}: {verb} is not possible"
    metadata = {"order_id": order_id, "state": state, "verb": verb}
    return Refusal(Kind.FAILED_PRECONDITION, "ORDER_STATE", message, metadata=metadata)


def order_changed(order_id: str) -> Refusal:
    """The order has moved since it was read with the etag given."""
    message = f"order {order_id} has moved since it was read"
    return Refusal(Kind.ABORTED, "ORDER_CHANGED", message, metadata={"order_id": order_id})


def order_invalid(field: str, problem: str) -> Refusal:
    """The order cannot be made; `field` is the path of the field at fault."""
    return Refusal(
        Kind.INVALID_ARGUMENT,
        "ORDER_INVALID",
        f"{field} {problem}",
        metadata={"field": field},
        fields=[(field, problem)],
    )


def nobody_responsible(customer_key: int) -> Refusal:
    """No employee is given, and none answers for the customer."""
    message = f"nobody answers for customer {customer_key}, and no employee is given"
    metadata = {"customer_key": str(customer_key)}
    return Refusal(Kind.FAILED_PRECONDITION, "NOBODY_RESPONSIBLE", message, metadata=metadata)


def pilot_invalid(field: str, problem: str) -> Refusal:
    """The pilot or its sample size cannot be used; `field` names the field at fault."""
    return Refusal(
        Kind.INVALID_ARGUMENT,
        "PILOT_INVALID",
        f"{field} {problem}",
        metadata={"field": field},
        fields=[(field, problem)],
    )


def pilot_blocks(campaign_id: str, blocks: Sequence[str]) -> Refusal:
    """The pilot's finding stands against the roll-out; `blocks` say what."""
    named = "; ".join(blocks)
    metadata = {"campaign_id": campaign_id, "blocks": named}
    return Refusal(Kind.FAILED_PRECONDITION, "PILOT_BLOCKS", f"the pilot stands against it: {named}", metadata=metadata)


def not_four_eyes(name: str, actor: str) -> Refusal:
    """The author may not approve his own work."""
    message = f"{name} was written by {actor}: another person has to approve it"
    return Refusal(Kind.PERMISSION_DENIED, "NOT_FOUR_EYES", message, metadata={"actor": actor})


def slot_not_found(slot_id: str) -> Refusal:
    """No slot has this id."""
    return Refusal(Kind.NOT_FOUND, "SLOT_NOT_FOUND", f"no slot has the id {slot_id}", metadata={"slot_id": slot_id})


def slot_invalid(field: str, problem: str) -> Refusal:
    """A slot, picture, content, schedule or push cannot be made; `field` is the path of the field at fault."""
    return Refusal(
        Kind.INVALID_ARGUMENT,
        "SLOT_INVALID",
        f"{field} {problem}",
        metadata={"field": field},
        fields=[(field, problem)],
    )


def slot_state(kind: str, name: str, state: str) -> Refusal:
    """The verb is not allowed in the state of a content, schedule or push."""
    message = f"{kind} {name} is {state}"
    return Refusal(Kind.FAILED_PRECONDITION, "SLOT_STATE", message, metadata={"kind": kind, "id": name, "state": state})


def schedule_overlaps(schedule_ids: Sequence[str]) -> Refusal:
    """Only one schedule may be in the span, and there are others."""
    named = ", ".join(schedule_ids)
    message = f"the span is taken by {named}"
    return Refusal(Kind.FAILED_PRECONDITION, "SCHEDULE_OVERLAPS", message, metadata={"schedules": named})


def page_not_pushed(slot_id: str) -> Refusal:
    """A slot of page form is only called for in real time."""
    message = f"slot {slot_id} is of page form: it cannot be pushed"
    return Refusal(Kind.FAILED_PRECONDITION, "PAGE_NOT_PUSHED", message, metadata={"slot_id": slot_id})


def thing_not_found(kind: str, name: str) -> Refusal:
    """No content, schedule, push or picture has this id."""
    message = f"no {kind} has the id {name}"
    return Refusal(Kind.NOT_FOUND, "THING_NOT_FOUND", message, metadata={"kind": kind, "id": name})


def kpi_not_found(name: str) -> Refusal:
    """The catalogue has no KPI of this name."""
    return Refusal(Kind.NOT_FOUND, "KPI_NOT_FOUND", f"no KPI has the name {name}", metadata={"name": name})


def grant_not_found(grant_id: str) -> Refusal:
    """No grant has this id."""
    message = f"no grant has the id {grant_id}"
    return Refusal(Kind.NOT_FOUND, "GRANT_NOT_FOUND", message, metadata={"grant_id": grant_id})


def grant_state(grant_id: str, state: str) -> Refusal:
    """The grant cannot be used: it is not reserved any more, or what it rests on is gone."""
    message = f"grant {grant_id} is {state}"
    return Refusal(Kind.FAILED_PRECONDITION, "GRANT_STATE", message, metadata={"grant_id": grant_id, "state": state})


def benefits_exhausted(campaign_id: str, kind: str) -> Refusal:
    """The campaign has issued as many benefits of the kind as it may."""
    message = f"campaign {campaign_id} has no {kind} left"
    metadata = {"campaign_id": campaign_id, "kind": kind}
    return Refusal(Kind.RESOURCE_EXHAUSTED, "BENEFITS_EXHAUSTED", message, metadata=metadata)


def benefit_state(benefit_id: str, state: str) -> Refusal:
    """The benefit is redeemed, or has run out."""
    message = f"benefit {benefit_id} is {state}"
    return Refusal(Kind.FAILED_PRECONDITION, "BENEFIT_STATE", message, metadata={"id": benefit_id, "state": state})
