"""Inbound gRPC: proto in → plain values → use case → proto out. No rule, no SQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc.aio

from lifecircle.admin import v1
from services.admin.api import translate
from services.admin.domain.grant import Actor
from services.admin.domain.setting import Entry, Parameter
from services.admin.usecases import Log, Organisations, Principals, Roles, Settings, Telling, Tokens
from services.kit import interceptors, paging
from services.kit.errors import bad_page_token
from services.kit.idempotency import key_of
from services.kit.interceptors import ANYBODY
from services.kit.outbox import Checkpoint

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]

_ADMINISTRATORS = frozenset({"administrator"})
_AUDITORS = frozenset({"administrator", "auditor"})
_PRIVACY = frozenset({"privacy"})
_SERVICES = frozenset({"service"})
RIGHTS: Mapping[str, frozenset[str]] = {
    **{
        f"{verb}{noun}": _ADMINISTRATORS
        for noun in ("Organisation", "Principal", "Role", "Parameter", "DictionaryEntry")
        for verb in ("Create", "Get", "Update")
    },
    "ListOrganisations": _ADMINISTRATORS,
    "ListPrincipals": _ADMINISTRATORS,
    "ListRoles": _ADMINISTRATORS,
    "ListPermissions": _ADMINISTRATORS,
    "ListParameters": _ADMINISTRATORS,
    "ListDictionaryEntries": _ADMINISTRATORS,
    "RevealPrincipals": _PRIVACY,
    "CreateSecret": _ADMINISTRATORS,
    "CreateGrant": _ADMINISTRATORS,
    "DeleteGrant": _ADMINISTRATORS,
    "ListGrants": _ADMINISTRATORS,
    "IssueToken": ANYBODY,
    "GetKeys": ANYBODY,
    "RecordOperations": _SERVICES,
    "ListOperations": _AUDITORS,
    "VerifyOperations": _AUDITORS,
    "WatchDirectory": _SERVICES,
}
"""Who may call what; what an administrator may do to whom is decided in the use cases."""


@dataclass(frozen=True)
class AdminApi(v1.AdminServiceServicer):
    """The servicer of AdminService."""

    organisations: Organisations
    principals: Principals
    roles: Roles
    parameters: Settings[Parameter]
    entries: Settings[Entry]
    log: Log
    tokens: Tokens
    telling: Telling
    stop: asyncio.Event

    def _actor(self) -> Actor:
        caller = interceptors.caller()
        return self.roles.actor(caller.subject, caller.org, caller.domain, caller.roles)

    async def CreateOrganisation(
        self, request: v1.CreateOrganisationRequest, context: Context
    ) -> v1.CreateOrganisationResponse:
        """Add one."""
        new = translate.organisation(request.organisation)
        made = await self.organisations.create(key_of(request, context), self._actor(), new)
        return v1.CreateOrganisationResponse(organisation=translate.organisation_out(made))

    async def GetOrganisation(self, request: v1.GetOrganisationRequest, context: Context) -> v1.GetOrganisationResponse:
        """Give one."""
        return v1.GetOrganisationResponse(
            organisation=translate.organisation_out(await self.organisations.get(request.org_id))
        )

    async def UpdateOrganisation(
        self, request: v1.UpdateOrganisationRequest, context: Context
    ) -> v1.UpdateOrganisationResponse:
        """Change one."""
        told, key = request.organisation, key_of(request, context)
        changes = translate.changes(
            request.update_mask,
            translate.organisation(told),
            ("parent_org_id", "level", "name", "disabled"),
            "organisation",
        )
        made = await self.organisations.update(key, self._actor(), told.org_id, changes, told.etag)
        return v1.UpdateOrganisationResponse(organisation=translate.organisation_out(made))

    async def ListOrganisations(
        self, request: v1.ListOrganisationsRequest, context: Context
    ) -> v1.ListOrganisationsResponse:
        """A page, in order."""
        size, after = paging.clamp(request.page_size), _place(request.page_token, 1)
        found = await self.organisations.page(after, size + 1, request.parent_org_id)
        page, token = _page(found, size, lambda last: [last.value.org_id])
        return v1.ListOrganisationsResponse(organisations=map(translate.organisation_out, page), next_page_token=token)

    async def CreatePrincipal(self, request: v1.CreatePrincipalRequest, context: Context) -> v1.CreatePrincipalResponse:
        """Add one."""
        new = translate.principal(request.principal)
        made = await self.principals.create(key_of(request, context), self._actor(), new)
        return v1.CreatePrincipalResponse(principal=translate.principal_out(made))

    async def GetPrincipal(self, request: v1.GetPrincipalRequest, context: Context) -> v1.GetPrincipalResponse:
        """Give one."""
        return v1.GetPrincipalResponse(
            principal=translate.principal_out(await self.principals.get(request.principal_id))
        )

    async def UpdatePrincipal(self, request: v1.UpdatePrincipalRequest, context: Context) -> v1.UpdatePrincipalResponse:
        """Change one."""
        told, key = request.principal, key_of(request, context)
        changes = translate.changes(
            request.update_mask,
            translate.principal(told),
            ("display_name", "org_id", "staff_id", "disabled"),
            "principal",
        )
        made = await self.principals.update(key, self._actor(), told.principal_id, changes, told.etag)
        return v1.UpdatePrincipalResponse(principal=translate.principal_out(made))

    async def ListPrincipals(self, request: v1.ListPrincipalsRequest, context: Context) -> v1.ListPrincipalsResponse:
        """A page, in order."""
        size, after = paging.clamp(request.page_size), _place(request.page_token, 1)
        found = await self.principals.page(after, size + 1, request.org_id)
        page, token = _page(found, size, lambda last: [last.record.value.principal_id])
        return v1.ListPrincipalsResponse(principals=map(translate.principal_out, page), next_page_token=token)

    async def RevealPrincipals(
        self, request: v1.RevealPrincipalsRequest, context: Context
    ) -> v1.RevealPrincipalsResponse:
        """Names in clear, logged first."""
        found = await self.principals.reveal(self._actor(), request.principal_ids, request.purpose)
        return v1.RevealPrincipalsResponse(names=map(translate.name_out, found))

    async def CreateSecret(self, request: v1.CreateSecretRequest, context: Context) -> v1.CreateSecretResponse:
        """A new secret, shown once."""
        made = await self.principals.create_secret(key_of(request, context), self._actor(), request.principal_id)
        return v1.CreateSecretResponse(secret=made)

    async def CreateGrant(self, request: v1.CreateGrantRequest, context: Context) -> v1.CreateGrantResponse:
        """Give a role."""
        key = key_of(request, context)
        grant = await self.principals.grant(key, self._actor(), request.principal_id, request.role_id)
        return v1.CreateGrantResponse(grant=translate.grant_out(grant))

    async def DeleteGrant(self, request: v1.DeleteGrantRequest, context: Context) -> v1.DeleteGrantResponse:
        """Take a role."""
        key = key_of(request, context)
        await self.principals.withdraw(key, self._actor(), request.principal_id, request.role_id)
        return v1.DeleteGrantResponse()

    async def ListGrants(self, request: v1.ListGrantsRequest, context: Context) -> v1.ListGrantsResponse:
        """A page, in order."""
        size, after = paging.clamp(request.page_size), _place(request.page_token, 2)
        found = await self.principals.grants(after, size + 1, request.principal_id)
        page, token = _page(found, size, lambda last: [last.principal_id, last.role_id])
        return v1.ListGrantsResponse(grants=map(translate.grant_out, page), next_page_token=token)

    async def CreateRole(self, request: v1.CreateRoleRequest, context: Context) -> v1.CreateRoleResponse:
        """Add one."""
        new = translate.role(request.role)
        made = await self.roles.create(key_of(request, context), self._actor(), new)
        return v1.CreateRoleResponse(role=translate.role_out(made))

    async def GetRole(self, request: v1.GetRoleRequest, context: Context) -> v1.GetRoleResponse:
        """Give one."""
        return v1.GetRoleResponse(role=translate.role_out(await self.roles.get(self._actor(), request.role_id)))

    async def UpdateRole(self, request: v1.UpdateRoleRequest, context: Context) -> v1.UpdateRoleResponse:
        """Change one."""
        told, key = request.role, key_of(request, context)
        changes = translate.changes(
            request.update_mask, translate.role(told), ("title", "permissions", "disabled"), "role"
        )
        made = await self.roles.update(key, self._actor(), told.role_id, changes, told.etag)
        return v1.UpdateRoleResponse(role=translate.role_out(made))

    async def ListRoles(self, request: v1.ListRolesRequest, context: Context) -> v1.ListRolesResponse:
        """A page, in order."""
        size, after = paging.clamp(request.page_size), _place(request.page_token, 1)
        found = await self.roles.page(self._actor(), after, size + 1)
        page, token = _page(found, size, lambda last: [last.value.role_id])
        return v1.ListRolesResponse(roles=map(translate.role_out, page), next_page_token=token)

    async def ListPermissions(self, request: v1.ListPermissionsRequest, context: Context) -> v1.ListPermissionsResponse:
        """A page, in order."""
        size, after = paging.clamp(request.page_size), _place(request.page_token, 1)
        found = await _now(self.roles.permissions_page(after, size + 1, request.service))
        page, token = _page(found, size, lambda last: [last.permission])
        return v1.ListPermissionsResponse(permissions=map(translate.permission_out, page), next_page_token=token)

    async def CreateParameter(self, request: v1.CreateParameterRequest, context: Context) -> v1.CreateParameterResponse:
        """Add one."""
        new = translate.parameter(request.parameter)
        made = await self.parameters.create(key_of(request, context), self._actor(), (new.name,), new)
        return v1.CreateParameterResponse(parameter=translate.parameter_out(made))

    async def GetParameter(self, request: v1.GetParameterRequest, context: Context) -> v1.GetParameterResponse:
        """Give one."""
        return v1.GetParameterResponse(parameter=translate.parameter_out(await self.parameters.get((request.name,))))

    async def UpdateParameter(self, request: v1.UpdateParameterRequest, context: Context) -> v1.UpdateParameterResponse:
        """Change one."""
        told, key = request.parameter, key_of(request, context)
        changes = translate.changes(request.update_mask, translate.parameter(told), ("value", "title"), "parameter")
        made = await self.parameters.update(key, self._actor(), (told.name,), changes, told.etag)
        return v1.UpdateParameterResponse(parameter=translate.parameter_out(made))

    async def ListParameters(self, request: v1.ListParametersRequest, context: Context) -> v1.ListParametersResponse:
        """A page, in order."""
        size, after = paging.clamp(request.page_size), _place(request.page_token, 1)
        found = await self.parameters.page(after, size + 1, prefix=request.prefix)
        page, token = _page(found, size, lambda last: [last.value.name])
        return v1.ListParametersResponse(parameters=map(translate.parameter_out, page), next_page_token=token)

    async def CreateDictionaryEntry(
        self, request: v1.CreateDictionaryEntryRequest, context: Context
    ) -> v1.CreateDictionaryEntryResponse:
        """Add one."""
        new = translate.entry(request.entry)
        made = await self.entries.create(
            key_of(request, context),
            self._actor(),
            (
                new.dictionary,
                new.code,
            ),
            new,
        )
        return v1.CreateDictionaryEntryResponse(entry=translate.entry_out(made))

    async def GetDictionaryEntry(
        self, request: v1.GetDictionaryEntryRequest, context: Context
    ) -> v1.GetDictionaryEntryResponse:
        """Give one."""
        return v1.GetDictionaryEntryResponse(
            entry=translate.entry_out(
                await self.entries.get(
                    (
                        request.dictionary,
                        request.code,
                    )
                )
            )
        )

    async def UpdateDictionaryEntry(
        self, request: v1.UpdateDictionaryEntryRequest, context: Context
    ) -> v1.UpdateDictionaryEntryResponse:
        """Change one."""
        told, key = request.entry, key_of(request, context)
        changes = translate.changes(
            request.update_mask, translate.entry(told), ("title", "position", "disabled"), "entry"
        )
        made = await self.entries.update(
            key,
            self._actor(),
            (
                told.dictionary,
                told.code,
            ),
            changes,
            told.etag,
        )
        return v1.UpdateDictionaryEntryResponse(entry=translate.entry_out(made))

    async def ListDictionaryEntries(
        self, request: v1.ListDictionaryEntriesRequest, context: Context
    ) -> v1.ListDictionaryEntriesResponse:
        """A page, in order."""
        size, after = paging.clamp(request.page_size), _place(request.page_token, 2)
        found = await self.entries.page(
            after, size + 1, {"dictionary": request.dictionary} if request.dictionary else None
        )
        page, token = _page(found, size, lambda last: [last.value.dictionary, last.value.code])
        return v1.ListDictionaryEntriesResponse(entries=map(translate.entry_out, page), next_page_token=token)

    async def IssueToken(self, request: v1.IssueTokenRequest, context: Context) -> v1.IssueTokenResponse:
        """A token for a secret."""
        token, expires = await self.tokens.issue(request.principal_id, request.secret)
        return v1.IssueTokenResponse(token=token, expire_time=translate.timestamp(expires))

    async def GetKeys(self, request: v1.GetKeysRequest, context: Context) -> v1.GetKeysResponse:
        """The public keys."""
        return v1.GetKeysResponse(jwks=json.dumps(self.tokens.jwks()))

    async def RecordOperations(
        self, request: v1.RecordOperationsRequest, context: Context
    ) -> v1.RecordOperationsResponse:
        """Append what another service tells."""
        recorded = await self.log.record([translate.operation(each) for each in request.operations])
        return v1.RecordOperationsResponse(recorded=recorded)

    async def ListOperations(self, request: v1.ListOperationsRequest, context: Context) -> v1.ListOperationsResponse:
        """The log, the latest first."""
        size, place = paging.clamp(request.page_size), _place(request.page_token, 1)
        wanted = {"caller": request.caller, "action": request.action, "target": request.target}
        where = {name: value for name, value in wanted.items() if value}
        found = await self.log.page(int(place[0]) if place else None, size + 1, where)
        page, token = _page(found, size, lambda last: [str(last.sequence)])
        return v1.ListOperationsResponse(operations=map(translate.operation_out, page), next_page_token=token)

    async def VerifyOperations(
        self, request: v1.VerifyOperationsRequest, context: Context
    ) -> v1.VerifyOperationsResponse:
        """Check the chain."""
        checked, head = await self.log.verify()
        return v1.VerifyOperationsResponse(checked=checked, head=head)

    async def WatchDirectory(
        self, request: v1.WatchDirectoryRequest, context: Context
    ) -> AsyncIterator[v1.WatchDirectoryResponse]:
        """Every change from the beginning on."""
        async for item in self.telling.watch(request.cursor, self.stop):
            if isinstance(item, Checkpoint):
                yield v1.WatchDirectoryResponse(cursor=item.cursor)
            else:
                told = translate.told(item.kind, item.key, item.payload)
                yield v1.WatchDirectoryResponse(cursor=item.cursor, traceparent=item.traceparent, **told)


def _place(page_token: str, count: int) -> Sequence[str]:
    """The key after which a page begins."""
    if not page_token:
        return ()
    place = paging.decode(page_token).get("after")
    if not isinstance(place, list) or len(place) != count or not all(isinstance(each, str) for each in place):
        raise bad_page_token()
    return place


def _page(found: Sequence[T], size: int, key: Callable[[T], Sequence[str]]) -> tuple[Sequence[T], str]:
    """The page of `size`, and the token of the next one when more was found."""
    return found[:size], paging.encode({"after": list(key(found[size - 1]))}) if len(found) > size else ""


async def _now(found: Sequence[T]) -> Sequence[T]:
    """What is at hand without waiting."""
    return found
