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


@dataclass(frozen=True)
class Grant:
    """A role that a principal holds."""

    principal_id: str
    role_id: str
    granted_by: str
    grant_time: datetime
