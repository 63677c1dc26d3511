"""Proto in and out: values of the domain on one side, messages on the other."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.admin import v1
from services.admin.domain.operation import Line, Operation
from services.admin.domain.organisation import LEVELS, Organisation
from services.admin.domain.principal import KINDS, Grant, Principal
from services.admin.domain.role import Permission, Role
from services.admin.domain.setting import Entry, Parameter
from services.admin.store import Versioned
from services.admin.usecases import Shown
from services.kit.errors import invalid_field

_LEVELS = dict(zip(LEVELS, v1.Organisation.Level.values()[1:], strict=True))
_KINDS = dict(zip(KINDS, v1.Principal.Kind.values()[1:], strict=True))


def timestamp(moment: datetime) -> Timestamp:
    """An instant."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def one_of(names: Sequence[str], number: int, field: str) -> str:
    """The name of an enum value. Raises invalid_field for 0 and for what is not known."""
    if not 1 <= number <= len(names):
        raise invalid_field([(field, "must be given")])
    return names[number - 1]


def text(value: str, field: str, most: int, *, least: int = 1) -> str:
    """A text within its limits. Raises invalid_field."""
    if not least <= len(value) <= most:
        raise invalid_field([(field, f"must have {least} to {most} characters")])
    return value


def changes(mask: FieldMask, message: Any, can: Collection[str], noun: str) -> dict[str, object]:
    """What an update changes: the fields of the mask, or all that can be. Raises invalid_field."""
    wanted = list(mask.paths) or list(can)
    for path in wanted:
        if path not in can:
            raise invalid_field([("update_mask", f"{path} of {noun} cannot be changed; {', '.join(can)} can")])
    return {path: getattr(message, path) for path in wanted}


def organisation(message: v1.Organisation) -> Organisation:
    """An organisation to keep."""
    return Organisation(
        text(message.org_id, "organisation.org_id", 32),
        text(message.parent_org_id, "organisation.parent_org_id", 32, least=0),
        one_of(LEVELS, message.level, "organisation.level"),
        text(message.name, "organisation.name", 100),
        message.disabled,
    )


def organisation_out(record: Versioned[Organisation]) -> v1.Organisation:
    """An organisation as it stands."""
    each = record.value
    return v1.Organisation(
        org_id=each.org_id,
        parent_org_id=each.parent_org_id,
        level=_LEVELS[each.level],
        name=each.name,
        disabled=each.disabled,
        **_version(record),
    )


def principal(message: v1.Principal) -> Principal:
    """A principal to keep."""
    return Principal(
        text(message.principal_id, "principal.principal_id", 128),
        one_of(KINDS, message.kind, "principal.kind"),
        text(message.display_name, "principal.display_name", 100),
        text(message.org_id, "principal.org_id", 32, least=0),
        text(message.staff_id, "principal.staff_id", 64, least=0),
        message.disabled,
    )


def principal_out(shown: Shown) -> v1.Principal:
    """A principal as he stands."""
    each = shown.record.value
    return v1.Principal(
        principal_id=each.principal_id,
        kind=_KINDS[each.kind],
        display_name=each.shown_name,
        org_id=each.org_id,
        staff_id=each.staff_id,
        disabled=each.disabled,
        roles=shown.roles,
        has_secret=shown.has_secret,
        **_version(shown.record),
    )


def name_out(each: Principal) -> v1.RevealPrincipalsResponse.Name:
    """What a principal is called, in clear."""
    return v1.RevealPrincipalsResponse.Name(principal_id=each.principal_id, display_name=each.display_name)


def grant_out(grant: Grant) -> v1.Grant:
    """A grant."""
    return v1.Grant(
        principal_id=grant.principal_id,
        role_id=grant.role_id,
        granted_by=grant.granted_by,
        grant_time=timestamp(grant.grant_time),
    )


def role(message: v1.Role) -> Role:
    """A role to keep."""
    return Role(
        text(message.role_id, "role.role_id", 64),
        text(message.title, "role.title", 100),
        tuple(sorted(set(message.permissions))),
        text(message.org_id, "role.org_id", 32, least=0),
        message.disabled,
    )


def role_out(record: Versioned[Role]) -> v1.Role:
    """A role as it stands; version 0 is the platform's own."""
    each = record.value
    return v1.Role(
        role_id=each.role_id,
        title=each.title,
        permissions=each.permissions,
        org_id=each.owner_org_id,
        built_in=record.version == 0,
        disabled=each.disabled,
        **_version(record),
    )


def permission_out(each: Permission) -> v1.Permission:
    """A permission."""
    return v1.Permission(permission=each.permission, title=each.title, built_in_roles=sorted(each.roles))


def parameter(message: v1.Parameter) -> Parameter:
    """A parameter to keep."""
    return Parameter(
        text(message.name, "parameter.name", 128),
        text(message.value, "parameter.value", 4096, least=0),
        text(message.title, "parameter.title", 200, least=0),
    )


def parameter_out(record: Versioned[Parameter]) -> v1.Parameter:
    """A parameter as it stands."""
    each = record.value
    return v1.Parameter(name=each.name, value=each.value, title=each.title, **_version(record))


def entry(message: v1.DictionaryEntry) -> Entry:
    """An entry to keep."""
    return Entry(
        text(message.dictionary, "entry.dictionary", 64),
        text(message.code, "entry.code", 64),
        text(message.title, "entry.title", 200),
        message.position,
        message.disabled,
    )


def entry_out(record: Versioned[Entry]) -> v1.DictionaryEntry:
    """An entry as it stands."""
    each = record.value
    return v1.DictionaryEntry(
        dictionary=each.dictionary,
        code=each.code,
        title=each.title,
        position=each.position,
        disabled=each.disabled,
        **_version(record),
    )


def operation(message: v1.Operation) -> Operation:
    """An operation that another service tells of."""
    if message.outcome == v1.Operation.OUTCOME_UNSPECIFIED:
        raise invalid_field([("operations.outcome", "must be given")])
    return Operation(
        service=text(message.service, "operations.service", 32),
        operation_id=text(message.operation_id, "operations.operation_id", 128),
        time=message.time.ToDatetime(UTC),
        caller=text(message.caller, "operations.caller", 128),
        org_id=text(message.org_id, "operations.org_id", 32, least=0),
        action=text(message.action, "operations.action", 128),
        target=text(message.target, "operations.target", 256, least=0),
        refused=message.outcome == v1.Operation.OUTCOME_REFUSED,
        detail=dict(message.detail),
    )


def operation_out(line: Line) -> v1.Operation:
    """A line of the log."""
    each = line.operation
    return v1.Operation(
        sequence=line.sequence,
        operation_id=each.operation_id,
        service=each.service,
        time=timestamp(each.time),
        caller=each.caller,
        org_id=each.org_id,
        action=each.action,
        target=each.target,
        outcome=v1.Operation.OUTCOME_REFUSED if each.refused else v1.Operation.OUTCOME_DONE,
        detail=each.detail,
        hash=line.hash,
    )


def told(kind: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A change of the directory, as a field of WatchDirectoryResponse."""
    if kind == "organisation":
        return {"organisation": v1.Organisation(**{**body, "level": _LEVELS[body["level"]]})}
    if kind == "role":
        return {"role": v1.Role(role_id=key, permissions=body["permissions"])}
    shown = Principal(**{field: body[field] for field in ("principal_id", "kind", "display_name", "org_id")}).shown_name
    return {"principal": v1.Principal(**{**body, "kind": _KINDS[body["kind"]], "display_name": shown})}


def _version(record: Versioned[Any]) -> dict[str, Any]:
    return {"etag": str(record.version), "update_time": timestamp(record.update_time)}
