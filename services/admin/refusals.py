"""Every expected "no" of admin, one to one with `lifecircle/admin/v1/error_reason.proto`."""

from collections.abc import Iterable

from services.kit.errors import Kind, Refusal


def organisation_not_found(org_id: str) -> Refusal:
    """No organisation has this id, or it is outside of the caller's domain."""
    return Refusal(
        Kind.NOT_FOUND, "ORGANISATION_NOT_FOUND", f"no organisation has the id {org_id}", metadata={"org_id": org_id}
    )


def organisation_exists(org_id: str) -> Refusal:
    """An organisation has this id already."""
    message = f"an organisation has the id {org_id} already"
    return Refusal(Kind.ALREADY_EXISTS, "ORGANISATION_EXISTS", message, metadata={"org_id": org_id})


def organisation_misplaced(org_id: str, parent_org_id: str, why: str) -> Refusal:
    """It cannot stand below that parent."""
    message = f"{org_id} cannot stand below {parent_org_id or 'nothing'}: {why}"
    metadata = {"org_id": org_id, "parent_org_id": parent_org_id}
    return Refusal(Kind.FAILED_PRECONDITION, "ORGANISATION_MISPLACED", message, metadata=metadata)


def principal_not_found(principal_id: str) -> Refusal:
    """No principal has this id, or he is outside of the caller's domain."""
    message = f"no principal has the id {principal_id}"
    return Refusal(Kind.NOT_FOUND, "PRINCIPAL_NOT_FOUND", message, metadata={"principal_id": principal_id})


def principal_exists(principal_id: str) -> Refusal:
    """A principal has this id already."""
    message = f"a principal has the id {principal_id} already"
    return Refusal(Kind.ALREADY_EXISTS, "PRINCIPAL_EXISTS", message, metadata={"principal_id": principal_id})


def role_not_found(role_id: str) -> Refusal:
    """No role has this id, or the caller does not see it."""
    return Refusal(Kind.NOT_FOUND, "ROLE_NOT_FOUND", f"no role has the id {role_id}", metadata={"role_id": role_id})


def role_exists(role_id: str) -> Refusal:
    """A role has this id already."""
    message = f"a role has the id {role_id} already"
    return Refusal(Kind.ALREADY_EXISTS, "ROLE_EXISTS", message, metadata={"role_id": role_id})


def role_built_in(role_id: str) -> Refusal:
    """The role comes with the platform."""
    message = f"the role {role_id} comes with the platform; make a role of your own instead"
    return Refusal(Kind.FAILED_PRECONDITION, "ROLE_BUILT_IN", message, metadata={"role_id": role_id})


def permission_not_found(permission: str) -> Refusal:
    """The contract has no such RPC."""
    message = f"there is no permission {permission}; ListPermissions names them all"
    fields = [("role.permissions", message)]
    metadata = {"permission": permission}
    return Refusal(Kind.INVALID_ARGUMENT, "PERMISSION_NOT_FOUND", message, metadata=metadata, fields=fields)


def not_held(permissions: Iterable[str]) -> Refusal:
    """The caller gives what he does not hold himself."""
    missing = sorted(permissions)
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    message = f"you can give only what you hold yourself, and you do not hold {shown}"
    return Refusal(Kind.PERMISSION_DENIED, "NOT_HELD", message, metadata={"permissions": shown})


def outside_domain(org_id: str) -> Refusal:
    """The caller acts on an organisation outside of his own."""
    message = f"the organisation {org_id or '(the whole)'} is outside of yours"
    return Refusal(Kind.PERMISSION_DENIED, "OUTSIDE_DOMAIN", message, metadata={"org_id": org_id})


def grant_not_found(principal_id: str, role_id: str) -> Refusal:
    """He does not hold the role."""
    message = f"{principal_id} does not hold the role {role_id}"
    metadata = {"principal_id": principal_id, "role_id": role_id}
    return Refusal(Kind.NOT_FOUND, "GRANT_NOT_FOUND", message, metadata=metadata)


def setting_not_found(name: str) -> Refusal:
    """No parameter or dictionary entry has this name."""
    return Refusal(Kind.NOT_FOUND, "SETTING_NOT_FOUND", f"there is no {name}", metadata={"name": name})


def setting_exists(name: str) -> Refusal:
    """A parameter or dictionary entry has this name already."""
    return Refusal(Kind.ALREADY_EXISTS, "SETTING_EXISTS", f"there is a {name} already", metadata={"name": name})


def etag_changed(etag: str) -> Refusal:
    """Somebody changed it in between; `etag` is how it stands."""
    message = "it was changed in between; read it again and repeat your change"
    return Refusal(Kind.ABORTED, "ETAG_CHANGED", message, metadata={"etag": etag})


def secret_wrong() -> Refusal:
    """Principal and secret do not belong together; it is not said which of the two is wrong."""
    return Refusal(Kind.UNAUTHENTICATED, "SECRET_WRONG", "principal and secret do not belong together")


def too_many_tries(seconds: int) -> Refusal:
    """Too many wrong secrets for this principal."""
    message = f"too many wrong secrets; wait {seconds} seconds"
    return Refusal(Kind.RESOURCE_EXHAUSTED, "TOO_MANY_TRIES", message, metadata={"seconds": str(seconds)})


def chain_broken(sequence: int) -> Refusal:
    """The operation log was changed from outside."""
    message = f"the operation log does not fit from line {sequence} on: it was changed from outside"
    return Refusal(Kind.FAILED_PRECONDITION, "CHAIN_BROKEN", message, metadata={"sequence": str(sequence)})
