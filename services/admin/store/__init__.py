"""SQL of admin; never commits."""

from dataclasses import dataclass, field

from services.admin import tables
from services.admin.domain.organisation import Organisation
from services.admin.domain.principal import Principal
from services.admin.domain.role import Role
from services.admin.domain.setting import Entry, Parameter
from services.admin.store.holdings import Holdings
from services.admin.store.operations import Operations
from services.admin.store.records import Records, Versioned

__all__ = ["Records", "Store", "Versioned"]

_organisations = Records(tables.organisation, Organisation, ("org_id",))
_principals = Records(tables.principal, Principal, ("principal_id",), first={"secret": "", "wrong_secrets": 0})
_roles = Records(tables.role, Role, ("role_id",))
_parameters = Records(tables.parameter, Parameter, ("name",))
_entries = Records(tables.dictionary_entry, Entry, ("dictionary", "code"))


@dataclass(frozen=True)
class Store:
    """Everything admin keeps."""

    organisations: Records[Organisation] = _organisations
    principals: Records[Principal] = _principals
    roles: Records[Role] = _roles
    parameters: Records[Parameter] = _parameters
    entries: Records[Entry] = _entries
    holdings: Holdings = field(default_factory=Holdings)
    operations: Operations = field(default_factory=Operations)
