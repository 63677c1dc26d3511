"""Roles: named sets of permissions, those of the platform and those that administrators make."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from services.admin import refusals


@dataclass(frozen=True)
class Role:
    """A set of permissions (`service.Method`); `owner_org_id` may change and grant it, those below may grant it."""

    role_id: str
    title: str
    permissions: tuple[str, ...]
    owner_org_id: str
    disabled: bool = False


@dataclass(frozen=True)
class Permission:
    """The right to call one RPC, and the platform's own roles that hold it."""

    permission: str
    title: str
    roles: frozenset[str]


@dataclass(frozen=True)
class Catalogue:
    """Every permission there is, by name."""

    permissions: Mapping[str, Permission]

    def built_in(self) -> dict[str, frozenset[str]]:
        """The platform's own roles with what they allow."""
        names = {role for each in self.permissions.values() for role in each.roles}
        return {
            name: frozenset(code for code, each in self.permissions.items() if name in each.roles)
            for name in sorted(names)
        }

    def check(self, role: Role) -> None:
        """Refuse a role that takes a built-in name or holds what does not exist."""
        if role.role_id in self.built_in():
            raise refusals.role_built_in(role.role_id)
        for permission in role.permissions:
            if permission not in self.permissions:
                raise refusals.permission_not_found(permission)


def visible(role: Role, above: Collection[str], domain: frozenset[str] | None) -> bool:
    """Whether a caller sees a role: it is the whole's, or of an organisation above (`above`), in or below his own."""
    return not role.owner_org_id or domain is None or role.owner_org_id in domain or role.owner_org_id in above
