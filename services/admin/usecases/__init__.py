"""What a caller, or time, can ask of admin; each opens its transaction."""

from services.admin.usecases.auditing import Audit
from services.admin.usecases.log import Log
from services.admin.usecases.organisations import Organisations
from services.admin.usecases.principals import Principals, Shown
from services.admin.usecases.roles import Roles
from services.admin.usecases.settings import Settings
from services.admin.usecases.telling import Telling
from services.admin.usecases.tokens import Tokens

__all__ = [
    "Audit", "Log", "Organisations", "Principals", "Roles", "Settings", "Shown", "Telling", "Tokens"
]  # fmt: skip
