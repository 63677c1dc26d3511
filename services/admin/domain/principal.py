"""Whoever calls: people and service accounts."""

from dataclasses import dataclass
from datetime import datetime

KINDS = ("user", "service_account")


@dataclass(frozen=True)
class Principal:
    """A user or a service account; `org_id` "" is the whole. `principal_id` is the subject of his tokens."""

    principal_id: str
    kind: str
    display_name: str
    org_id: str
    staff_id: str = ""
    disabled: bool = False

    @property
    def shown_name(self) -> str:
        """His name for those who may not know it: of a person the first character (张*), of a system the whole."""
        return self.display_name if self.kind != "user" else masked(self.display_name)

    def renamed(self, name: str) -> str:
        """The name after an update that gives `name`: the masked one, given back, is no new name."""
        return self.display_name if name == self.shown_name else name


def masked(name: str) -> str:
    """A person's name with all but its first character starred (姓名脱敏); of one character nothing is left."""
    return name[:1] + "*" * (len(name) - 1) if len(name) > 1 else "*"


@dataclass(frozen=True)
class Grant:
    """A role that a principal holds."""

    principal_id: str
    role_id: str
    granted_by: str
    grant_time: datetime
