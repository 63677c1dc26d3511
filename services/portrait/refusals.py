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


def audience_invalid(at: str, why: str) -> Refusal:
    """An expression or its text is wrong; `at` is a character of the text from 0, or a path into the expression."""
    message = f"the audience is wrong at {at}: {why}"
    return Refusal(Kind.INVALID_ARGUMENT, "AUDIENCE_INVALID", message, metadata={"at": at, "why": why})


def audience_not_found(audience_id: str) -> Refusal:
    """No saved or frozen audience and no customer list has this id."""
    message = f"no audience or list has the id {audience_id}"
    return Refusal(Kind.NOT_FOUND, "AUDIENCE_NOT_FOUND", message, metadata={"audience_id": audience_id})


def audience_sensitive(code: str) -> Refusal:
    """The audience names a sensitive tag, which the caller's roles may not see."""
    message = f"{code} is a sensitive tag; only roles that see it may ask who bears it"
    return Refusal(Kind.PERMISSION_DENIED, "AUDIENCE_SENSITIVE", message, metadata={"code": code})


def moment_rule_invalid(at: str, why: str) -> Refusal:
    """A rule that can never or would always match, or is too large; `at` is a path into the rule."""
    message = f"the rule is wrong at {at}: {why}"
    return Refusal(Kind.INVALID_ARGUMENT, "MOMENT_RULE_INVALID", message, metadata={"at": at, "why": why})


def moment_rule_not_found(rule_id: str, version: int) -> Refusal:
    """No rule has this id and version; version 0 is the latest."""
    metadata = {"rule_id": rule_id, "version": str(version)}
    return Refusal(
        Kind.NOT_FOUND, "MOMENT_RULE_NOT_FOUND", f"no rule is {rule_id} version {version}", metadata=metadata
    )


def moment_rule_retired(rule_id: str, version: int) -> Refusal:
    """A version that was retired is not published again."""
    message = f"version {version} of {rule_id} was retired; write a new one"
    metadata = {"rule_id": rule_id, "version": str(version)}
    return Refusal(Kind.FAILED_PRECONDITION, "MOMENT_RULE_RETIRED", message, metadata=metadata)


def pages_changed() -> Refusal:
    """What the first page rested on was made anew before the last one was asked for."""
    message = (
        "what is paged through was made anew since the first page (a run was published, or a segmentation, list or "
        "saved audience replaced): begin again, or freeze the audience and page through that"
    )
    return Refusal(Kind.ABORTED, "PAGES_CHANGED", message)


def index_loading() -> Refusal:
    """The tags of the first run are still being read into memory."""
    return Refusal(Kind.UNAVAILABLE, "INDEX_LOADING", "the tags are being read into memory; ask again")


def tag_invalid(path: str, problem: str) -> Refusal:
    """The definition cannot be used; `path` is where its first problem is."""
    message = f"{path}: {problem}"
    fields = [("definition", message)]
    return Refusal(Kind.INVALID_ARGUMENT, "TAG_INVALID", message, metadata={"path": path}, fields=fields)


def tag_not_approved(missing: str) -> Refusal:
    """Regularity or business sense is not approved, or not by other people than the author."""
    message = f"{missing} is not approved yet, or not by somebody else"
    return Refusal(Kind.FAILED_PRECONDITION, "TAG_NOT_APPROVED", message, metadata={"missing": missing})


def tag_version_closed(code: str, state: str) -> Refusal:
    """The version is not in review any more."""
    metadata = {"code": code, "state": state}
    message = f"{code} is not in review but {state.lower()}"
    return Refusal(Kind.FAILED_PRECONDITION, "TAG_VERSION_CLOSED", message, metadata=metadata)


def run_not_held(run_id: str) -> Refusal:
    """The run is not held."""
    message = f"the run {run_id} is not held"
    return Refusal(Kind.FAILED_PRECONDITION, "RUN_NOT_HELD", message, metadata={"run_id": run_id})


def place_class_unknown(class_code: str) -> Refusal:
    """The tree has no such class."""
    message = f"no place class is named {class_code}"
    fields = [("class_code", message)]
    metadata = {"class_code": class_code}
    return Refusal(Kind.INVALID_ARGUMENT, "PLACE_CLASS_UNKNOWN", message, metadata=metadata, fields=fields)


def segment_not_found(segment_id: str) -> Refusal:
    """No segmentation or segment has this id; "" when nothing was clustered yet."""
    message = f"no segment is named {segment_id}" if segment_id else "nothing was clustered yet"
    return Refusal(Kind.NOT_FOUND, "SEGMENT_NOT_FOUND", message, metadata={"segment_id": segment_id})


def segmentation_unfit(why: str) -> Refusal:
    """The run cannot be clustered as asked."""
    message = f"the run cannot be clustered: {why}"
    return Refusal(Kind.FAILED_PRECONDITION, "SEGMENTATION_UNFIT", message, metadata={"why": why})


def latent_model_not_found(model_id: str) -> Refusal:
    """No model has this id."""
    message = f"no latent model has the id {model_id}"
    return Refusal(Kind.NOT_FOUND, "LATENT_MODEL_NOT_FOUND", message, metadata={"model_id": model_id})


def latent_labels_unfit(why: str) -> Refusal:
    """The labels are too few or of one class."""
    message = f"the labels cannot be learnt from: {why}"
    return Refusal(Kind.FAILED_PRECONDITION, "LATENT_LABELS_UNFIT", message, metadata={"why": why})


def latent_model_not_approved(why: str) -> Refusal:
    """The model is no candidate, or its author approves it himself."""
    message = f"the model does not go live: {why}"
    return Refusal(Kind.FAILED_PRECONDITION, "LATENT_MODEL_NOT_APPROVED", message, metadata={"why": why})


def latent_override_unexplained() -> Refusal:
    """An algorithm was asked for without a reason."""
    message = "an algorithm that is asked for needs a reason"
    fields = [("reason", message)]
    return Refusal(Kind.INVALID_ARGUMENT, "LATENT_OVERRIDE_UNEXPLAINED", message, metadata={}, fields=fields)


def report_not_found(report_id: str) -> Refusal:
    """No report has this id."""
    message = f"no report has the id {report_id}"
    return Refusal(Kind.NOT_FOUND, "REPORT_NOT_FOUND", message, metadata={"report_id": report_id})


def report_period_not_found(period: str) -> Refusal:
    """No run of this period was published."""
    message = f"no run of {period} was published"
    return Refusal(Kind.NOT_FOUND, "REPORT_PERIOD_NOT_FOUND", message, metadata={"period": period})


def report_schedule_not_found(schedule_id: str) -> Refusal:
    """No schedule of the caller's organisations has this id."""
    message = f"no schedule has the id {schedule_id}"
    return Refusal(Kind.NOT_FOUND, "REPORT_SCHEDULE_NOT_FOUND", message, metadata={"schedule_id": schedule_id})
