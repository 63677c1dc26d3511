"""Over gRPC: who may administer whom, what is logged, and how tokens are come by."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from lifecircle.admin import v1
from lifecircle.admin.v1 import admin_service_pb2
from services.admin.api import RIGHTS, AdminApi
from services.admin.app import catalogue, compose
from services.admin.config import Config
from services.kit.config import ServerSettings
from services.kit.db import Database
from services.kit.domains import Directory, Known
from services.kit.ids import system_ids
from tests.fixtures.postgres import Fresh
from tests.fixtures.serving import Serve, Served, refused

TREE = {"P": "", "A": "P", "A1": "A", "B": "P", "B1": "B"}
LEVELS = {"P": 1, "A": 2, "A1": 4, "B": 2, "B1": 4}


@pytest.fixture
async def served(serving: Serve, db: Database, database: Fresh, tmp_path: Path) -> AsyncIterator[Served]:
    database.admin("TRUNCATE admin.organisation, admin.principal, admin.principal_role, admin.role, admin.parameter")
    database.admin("TRUNCATE admin.dictionary_entry, admin.request, admin.outbox")
    signing = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    path = tmp_path / "signing.json"
    path.write_text(json.dumps(signing.as_dict(private=True)))
    settings = Config(ServerSettings("postgresql://unused", tmp_path), path, "")
    known = Known(Directory(TREE))
    api = compose(db, settings, known, asyncio.Event())
    async with serving(
        "admin", register=lambda server: v1.add_AdminServiceServicer_to_server(api, server), rights=RIGHTS, known=known
    ) as served:
        root = stub(served)
        for org_id, parent in TREE.items():
            new = v1.Organisation(org_id=org_id, parent_org_id=parent, level=LEVELS[org_id], name=org_id)  # type: ignore[arg-type]
            await root.CreateOrganisation(v1.CreateOrganisationRequest(request_id=org_id, organisation=new))
        yield served


def stub(served: Served, subject: str = "root", org: str = "", *roles: str) -> v1.AdminServiceStub:
    held = set(roles or ("administrator", "auditor", "operator", "viewer"))
    return v1.AdminServiceStub(served.channel(subject=subject, org=org, roles=held))


def request_id() -> str:
    return system_ids()


async def principal(admin: v1.AdminServiceStub, name: str, org: str) -> v1.Principal:
    new = v1.Principal(principal_id=name, kind=v1.Principal.KIND_USER, display_name=name, org_id=org)
    made = await admin.CreatePrincipal(v1.CreatePrincipalRequest(request_id=request_id(), principal=new))
    return made.principal


async def grant(admin: v1.AdminServiceStub, name: str, role: str) -> v1.Grant:
    asked = v1.CreateGrantRequest(request_id=request_id(), principal_id=name, role_id=role)
    return (await admin.CreateGrant(asked)).grant


async def why(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refused(error.value)[:2]


async def test_a_stranger_is_refused(served: Served) -> None:
    stranger = v1.AdminServiceStub(served.channel())
    assert await why(stranger.ListPrincipals(v1.ListPrincipalsRequest())) == ("UNAUTHENTICATED", "STRANGER")


async def test_each_object_is_made_read_changed_disabled_and_listed_by_an_administrator_only(served: Served) -> None:
    """R000-002."""
    root, viewer = stub(served), stub(served, "eve", "", "viewer", "operator")
    role = v1.Role(role_id="seller", title="店员", permissions=["points.GetPeriod"])
    await root.CreateRole(v1.CreateRoleRequest(request_id="r1", role=role))
    entry = v1.DictionaryEntry(dictionary="kind", code="01", title="一")
    await root.CreateDictionaryEntry(v1.CreateDictionaryEntryRequest(request_id="d1", entry=entry))
    parameter = v1.Parameter(name="reports.k", value="10", title="最小组")
    await root.CreateParameter(v1.CreateParameterRequest(request_id="p1", parameter=parameter))
    await principal(root, "anna", "A")

    anna = (await root.GetPrincipal(v1.GetPrincipalRequest(principal_id="anna"))).principal
    anna.disabled = True
    changed = await root.UpdatePrincipal(v1.UpdatePrincipalRequest(request_id="u1", principal=anna))
    assert changed.principal.disabled
    assert await why(
        root.UpdatePrincipal(v1.UpdatePrincipalRequest(request_id="u2", principal=anna))
    ) == ("ABORTED", "ETAG_CHANGED")  # fmt: skip
    parameter.value = "20"
    await root.UpdateParameter(v1.UpdateParameterRequest(request_id="u3", parameter=parameter))
    assert [each.value for each in (await root.ListParameters(v1.ListParametersRequest())).parameters] == ["20"]
    entry.disabled = True
    updated = await root.UpdateDictionaryEntry(v1.UpdateDictionaryEntryRequest(request_id="u4", entry=entry))
    assert updated.entry.disabled
    assert [each.code for each in (await root.ListDictionaryEntries(v1.ListDictionaryEntriesRequest())).entries] == [
        "01"
    ]
    organisation = v1.Organisation(
        org_id="B1", parent_org_id="B", level=v1.Organisation.LEVEL_GRID, name="新", disabled=True
    )
    renamed = await root.UpdateOrganisation(v1.UpdateOrganisationRequest(request_id="u5", organisation=organisation))
    assert (renamed.organisation.name, renamed.organisation.disabled) == ("新", True)
    names = [each.role_id for each in (await root.ListRoles(v1.ListRolesRequest())).roles]
    assert {"seller", "administrator", "viewer"} <= set(names)
    assert await why(root.CreateRole(v1.CreateRoleRequest(request_id="r2", role=role))) == (
        "ALREADY_EXISTS",
        "ROLE_EXISTS",
    )

    for call in (
        viewer.CreateRole(v1.CreateRoleRequest(request_id="x", role=role)),
        viewer.GetPrincipal(v1.GetPrincipalRequest(principal_id="anna")),
        viewer.UpdateParameter(v1.UpdateParameterRequest(request_id="x", parameter=parameter)),
        viewer.ListOrganisations(v1.ListOrganisationsRequest()),
        viewer.ListOperations(v1.ListOperationsRequest()),
    ):
        assert await why(call) == ("PERMISSION_DENIED", "NOT_ALLOWED")


async def test_a_local_administrator_gives_what_he_holds_within_his_branch(served: Served) -> None:
    """R000-003: the refused ones are in the log."""
    root, local = stub(served), stub(served, "of_a", "A", "administrator", "viewer")
    await principal(local, "anna", "A1")
    await principal(root, "bert", "B1")
    assert (await grant(local, "anna", "viewer")).granted_by == "of_a"
    assert await why(grant(local, "anna", "operator")) == ("PERMISSION_DENIED", "NOT_HELD")
    assert await why(grant(local, "bert", "viewer")) == ("NOT_FOUND", "PRINCIPAL_NOT_FOUND")
    assert await why(principal(local, "clara", "B")) == ("PERMISSION_DENIED", "OUTSIDE_DOMAIN")
    assert await why(principal(local, "clara", "")) == ("PERMISSION_DENIED", "OUTSIDE_DOMAIN")
    assert await why(grant(local, "anna", "nothing")) == ("NOT_FOUND", "ROLE_NOT_FOUND")

    log = (await local.ListOperations(v1.ListOperationsRequest(caller="of_a", page_size=100))).operations
    refusals = [(each.action, each.detail["reason"]) for each in log if each.outcome == v1.Operation.OUTCOME_REFUSED]
    assert ("admin.CreateGrant", "NOT_HELD") in refusals
    assert ("admin.CreateGrant", "PRINCIPAL_NOT_FOUND") in refusals
    assert ("admin.CreatePrincipal", "OUTSIDE_DOMAIN") in refusals
    checked = await root.VerifyOperations(v1.VerifyOperationsRequest())
    assert checked.checked >= len(log)


async def test_a_local_administrator_cannot_make_himself_more_than_he_is(served: Served) -> None:
    root, local = stub(served), stub(served, "of_a", "A", "administrator")
    await principal(root, "boss", "A")
    await grant(root, "boss", "operator")
    secret = local.CreateSecret(v1.CreateSecretRequest(request_id=request_id(), principal_id="boss"))
    assert await why(secret) == ("PERMISSION_DENIED", "NOT_HELD")
    wide = v1.Role(role_id="mine", title="我", permissions=["points.PublishRuleSet"], org_id="A")
    assert await why(local.CreateRole(v1.CreateRoleRequest(request_id=request_id(), role=wide))) == (
        "PERMISSION_DENIED",
        "NOT_HELD",
    )
    renamed = v1.UpdateRoleRequest(request_id=request_id(), role=v1.Role(role_id="viewer", title="x"))
    assert await why(local.UpdateRole(renamed)) == ("FAILED_PRECONDITION", "ROLE_BUILT_IN")


async def test_the_lists_of_three_domains_are_disjoint_and_together_the_whole(served: Served) -> None:
    """R000-004; guessing an id across domains finds nothing."""
    root = stub(served)
    for name, org in {"a": "A", "a1": "A1", "b": "B", "b1": "B1", "p": "P"}.items():
        await principal(root, name, org)

    async def listed(org: str) -> list[str]:
        found = await stub(served, f"of_{org}", org).ListPrincipals(v1.ListPrincipalsRequest(page_size=100))
        return [each.principal_id for each in found.principals]

    assert await listed("A") == ["a", "a1"]
    assert await listed("B") == ["b", "b1"]
    assert await listed("P") == ["a", "a1", "b", "b1", "p"]
    guess = stub(served, "of_A", "A").GetPrincipal(v1.GetPrincipalRequest(principal_id="b1"))
    assert await why(guess) == ("NOT_FOUND", "PRINCIPAL_NOT_FOUND")
    other = stub(served, "of_A", "A").GetOrganisation(v1.GetOrganisationRequest(org_id="B"))
    assert await why(other) == ("NOT_FOUND", "ORGANISATION_NOT_FOUND")


async def test_a_persons_name_is_masked_until_it_is_revealed_and_whoever_reveals_it_is_logged(served: Served) -> None:
    """R000-006: names of users as well, 张三 shown as 张*."""
    root, privacy = stub(served), stub(served, "pia", "A", "privacy")
    for name, org in {"u1": "A1", "u2": "B1"}.items():
        new = v1.Principal(principal_id=name, kind=v1.Principal.KIND_USER, display_name="张三丰", org_id=org)
        made = await root.CreatePrincipal(v1.CreatePrincipalRequest(request_id=request_id(), principal=new))
        assert made.principal.display_name == "张**"
    listed = (await root.ListPrincipals(v1.ListPrincipalsRequest())).principals
    assert {each.display_name for each in listed} == {"张**"}
    seen = (await root.GetPrincipal(v1.GetPrincipalRequest(principal_id="u1"))).principal
    seen.staff_id = "S1"
    await root.UpdatePrincipal(v1.UpdatePrincipalRequest(request_id=request_id(), principal=seen))
    system = v1.Principal(principal_id="s", kind=v1.Principal.KIND_SERVICE_ACCOUNT, display_name="OCRM", org_id="A")
    made = await root.CreatePrincipal(v1.CreatePrincipalRequest(request_id=request_id(), principal=system))
    assert made.principal.display_name == "OCRM"

    asked = v1.RevealPrincipalsRequest(principal_ids=["u1", "u2", "nobody"], purpose="complaint of 13812345678")
    assert await why(root.RevealPrincipals(asked)) == ("PERMISSION_DENIED", "NOT_ALLOWED")
    told = (await privacy.RevealPrincipals(asked)).names
    assert [(each.principal_id, each.display_name) for each in told] == [("u1", "张三丰")], "the update kept the name"
    log = (await root.ListOperations(v1.ListOperationsRequest(action="admin.RevealPrincipals"))).operations
    assert [(each.caller, each.target) for each in log] == [("pia", "u1")]
    assert "13812345678" not in log[0].detail["purpose"]
    everything = (await root.ListOperations(v1.ListOperationsRequest(page_size=1000))).operations
    assert not any("张三丰" in value for each in everything for value in each.detail.values())


async def test_every_act_of_an_administrator_is_in_the_chained_log(served: Served) -> None:
    """R000-002, R000-003: each RPC of the contract that writes, once; a new one is wanted here."""
    root, a, b = stub(served), v1.Organisation.LEVEL_CITY, v1.Principal.KIND_USER
    organisation = v1.Organisation(org_id="C", parent_org_id="P", level=a, name="C")
    anna = v1.Principal(principal_id="anna", kind=b, display_name="安", org_id="A")
    role = v1.Role(role_id="seller", title="店员", permissions=["points.GetPeriod"])
    parameter, held = v1.Parameter(name="reports.k", value="10"), {"principal_id": "anna", "role_id": "viewer"}
    entry = v1.DictionaryEntry(dictionary="kind", code="01", title="一")
    acts: dict[str, dict[str, Any]] = {
        "CreateOrganisation": {"organisation": organisation},
        "UpdateOrganisation": {"organisation": organisation},
        "CreatePrincipal": {"principal": anna},
        "UpdatePrincipal": {"principal": anna},
        "CreateSecret": {"principal_id": "anna"},
        "CreateGrant": held,
        "DeleteGrant": held,
        "CreateRole": {"role": role},
        "UpdateRole": {"role": role},
        "CreateParameter": {"parameter": parameter},
        "UpdateParameter": {"parameter": parameter},
        "CreateDictionaryEntry": {"entry": entry},
        "UpdateDictionaryEntry": {"entry": entry},
    }
    methods = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].methods
    assert set(acts) == {each.name for each in methods if "request_id" in each.input_type.fields_by_name}
    caller = f"chief-{request_id()}"
    chief = stub(served, caller)
    for name, fields in acts.items():
        asked = getattr(v1, f"{name}Request")(request_id=request_id(), **fields)
        await getattr(chief, name)(asked)
    log = (await root.ListOperations(v1.ListOperationsRequest(caller=caller, page_size=100))).operations
    assert [each.action for each in reversed(log)] == [f"admin.{name}" for name in acts], "each once, in their order"
    assert {each.outcome for each in log} == {v1.Operation.OUTCOME_DONE}
    await root.VerifyOperations(v1.VerifyOperationsRequest())


async def test_pages_follow_one_another(served: Served) -> None:
    root, seen, token = stub(served), [], ""
    while True:
        page = await root.ListOrganisations(v1.ListOrganisationsRequest(page_size=2, page_token=token))
        seen += [each.org_id for each in page.organisations]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(TREE)


async def test_the_same_request_twice_is_once(served: Served) -> None:
    root = stub(served)
    new = v1.Principal(principal_id="zoe", kind=v1.Principal.KIND_USER, display_name="Zoe", org_id="A")
    asked = v1.CreatePrincipalRequest(request_id="same", principal=new)
    first, again = await root.CreatePrincipal(asked), await root.CreatePrincipal(asked)
    assert first == again
    log = (await root.ListOperations(v1.ListOperationsRequest(target="zoe"))).operations
    assert [each.action for each in log] == ["admin.CreatePrincipal"]


async def test_a_secret_gives_a_token_and_ten_wrong_ones_close_it(served: Served) -> None:
    root, stranger = stub(served), v1.AdminServiceStub(served.channel())
    await principal(root, "anna", "A")
    await grant(root, "anna", "viewer")
    asked = v1.CreateSecretRequest(request_id=request_id(), principal_id="anna")
    secret = (await root.CreateSecret(asked)).secret
    assert await why(root.CreateSecret(asked)) == ("ABORTED", "REQUEST_ID_REUSED")

    issued = await stranger.IssueToken(v1.IssueTokenRequest(principal_id="anna", secret=secret))
    keys = KeySet.import_key_set(json.loads((await stranger.GetKeys(v1.GetKeysRequest())).jwks))
    claims = jwt.decode(issued.token, keys, algorithms=["ES256"]).claims
    assert (claims["sub"], claims["org"], claims["roles"]) == ("anna", "A", ["viewer"])

    wrong = v1.IssueTokenRequest(principal_id="anna", secret="x" * 43)
    for _ in range(10):
        assert await why(stranger.IssueToken(wrong)) == ("UNAUTHENTICATED", "SECRET_WRONG")
    right = v1.IssueTokenRequest(principal_id="anna", secret=secret)
    assert await why(stranger.IssueToken(right)) == ("RESOURCE_EXHAUSTED", "TOO_MANY_TRIES")
    nobody = v1.IssueTokenRequest(principal_id="nobody", secret=secret)
    assert await why(stranger.IssueToken(nobody)) == ("UNAUTHENTICATED", "SECRET_WRONG")


async def test_what_other_services_tell_is_logged_once(served: Served) -> None:
    service, root = stub(served, "points", "", "service"), stub(served)
    told = v1.Operation(
        operation_id=request_id(), service="points", caller="li", org_id="B1", action="points.PublishRuleSet",
        target="R1", outcome=v1.Operation.OUTCOME_DONE,
    )  # fmt: skip
    told.time.GetCurrentTime()
    asked = v1.RecordOperationsRequest(operations=[told])
    assert (await service.RecordOperations(asked)).recorded == 1
    assert (await service.RecordOperations(asked)).recorded == 0
    assert (await root.ListOperations(v1.ListOperationsRequest(target="R1"))).operations[0].caller == "li"
    of_a = await stub(served, "of_A", "A").ListOperations(v1.ListOperationsRequest(target="R1"))
    assert not of_a.operations


async def test_a_log_that_was_changed_from_outside_is_found(served: Served, database: Fresh) -> None:
    root = stub(served)
    await root.VerifyOperations(v1.VerifyOperationsRequest())
    with pytest.raises(Exception, match="never changes"):
        database.admin("UPDATE admin.operation SET caller = 'nobody' WHERE sequence = 1")
    database.admin("ALTER TABLE admin.operation DISABLE TRIGGER operation_is_kept")
    try:
        was = database.admin("SELECT caller FROM admin.operation WHERE sequence = 1")[0][0]
        database.admin("UPDATE admin.operation SET caller = 'nobody' WHERE sequence = 1")
        assert await why(root.VerifyOperations(v1.VerifyOperationsRequest())) == ("FAILED_PRECONDITION", "CHAIN_BROKEN")
        database.admin("UPDATE admin.operation SET caller = $1 WHERE sequence = 1", was)
    finally:
        database.admin("ALTER TABLE admin.operation ENABLE TRIGGER operation_is_kept")
    await root.VerifyOperations(v1.VerifyOperationsRequest())


async def test_a_role_of_ones_own_opens_what_it_names(served: Served) -> None:
    """R003-008: a role that is not built in is known to every service by the directory."""
    known = Known(replace(Directory(), roles={"clerk": frozenset({"admin.ListRoles"})}))
    assert known.directory.permits(frozenset({"clerk"}), "admin.ListRoles")
    assert not known.directory.permits(frozenset({"clerk"}), "admin.ListGrants")


async def test_the_directory_tells_every_change_in_order(served: Served) -> None:
    root, service = stub(served), stub(served, "points", "", "service")
    await principal(root, "anna", "A")
    await grant(root, "anna", "viewer")
    seen: list[v1.WatchDirectoryResponse] = []
    async with asyncio.timeout(timedelta(seconds=20).total_seconds()):
        async for told in service.WatchDirectory(v1.WatchDirectoryRequest()):
            seen.append(told)
            if told.principal.roles:
                break
    assert [each.organisation.org_id for each in seen if each.HasField("organisation")] == list(TREE)
    assert list(seen[-1].principal.roles) == ["viewer"]


def test_every_permission_belongs_to_an_rpc() -> None:
    held = catalogue().built_in()
    assert "points.PublishRuleSet" in held["operator"]
    assert "admin.CreateGrant" in held["administrator"]
    assert "admin.CreateGrant" not in held["operator"]


def test_the_servicer_answers_every_rpc() -> None:
    assert all(name in vars(AdminApi) for name in RIGHTS)
