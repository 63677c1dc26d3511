"""R000-005, R001-129: every RPC of every service, called with every kind of bad credential, refuses with its code."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from joserfc import jwt
from joserfc.jwk import ECKey

from deploy.local.keys import Keys
from deploy.local.run import Run
from lifecircle import fault
from tests.e2e.conftest import running
from tools.permissions import descriptors, rights_of
from tools.tidy import SERVICES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

# How one comes by a token: what stands in for the token is in the request, and there is nothing in the public keys.
WITHOUT_A_TOKEN = {"IssueToken": grpc.StatusCode.INVALID_ARGUMENT, "GetKeys": grpc.StatusCode.OK}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with running(tmp_path_factory.mktemp("swept")) as up:
        yield up


def tokens(keys: Keys, elsewhere: Path) -> dict[str, tuple[str, grpc.StatusCode, str]]:
    """What is shown as authorization, and what must come back."""
    good = keys.mint("eve", ["operator", "viewer", "service", "administrator"])
    other = Keys(elsewhere)
    other.prepare()
    signed_by_us = ECKey.import_key(json.loads(keys.signing.read_text()))
    now = int(time.time())
    claims = {
        "iss": "lifecircle-local",
        "aud": "lifecircle",
        "sub": "eve",
        "exp": now + 60,
        "roles": ["operator"],
        "org": "",
    }

    def signed(**changed: object) -> str:
        made = {name: value for name, value in (claims | changed).items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": signed_by_us.kid}, made, signed_by_us)

    head, body, signature = good.split(".")
    more = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed = base64.urlsafe_b64encode(json.dumps(more | {"sub": "root"}).encode()).rstrip(b"=").decode()
    nothing = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    unknown, forbidden = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    return {
        "no token": ("", unknown, "STRANGER"),
        "no bearer": (f"Basic {good}", unknown, "STRANGER"),
        "nonsense": ("Bearer x.y.z", unknown, "STRANGER"),
        "expired": (f"Bearer {keys.mint('eve', ['operator'], life=60, now=now - 3600)}", unknown, "STRANGER"),
        "signed by another": (f"Bearer {other.mint('eve', ['operator'])}", unknown, "STRANGER"),
        "changed": (f"Bearer {head}.{changed}.{signature}", unknown, "STRANGER"),
        "alg none": (f"Bearer {nothing}.{body}.", unknown, "STRANGER"),
        "for another audience": (f"Bearer {signed(aud='elsewhere')}", unknown, "STRANGER"),
        "of another issuer": (f"Bearer {signed(iss='elsewhere')}", unknown, "STRANGER"),
        "of nobody": (f"Bearer {signed(sub='')}", unknown, "STRANGER"),
        "of no organisation": (f"Bearer {signed(org=None)}", unknown, "STRANGER"),
        "as a subject of another issuer": (f"Bearer {signed(sub='oidc:eve')}", unknown, "STRANGER"),
        "of no role": (f"Bearer {signed(roles=[])}", forbidden, "NOT_ALLOWED"),
        "of an unknown role": (f"Bearer {signed(roles=['nobody'])}", forbidden, "NOT_ALLOWED"),
        "of another domain, without a role there": (
            f"Bearer {signed(roles=[], org='NOWHERE')}",
            forbidden,
            "NOT_ALLOWED",
        ),
    }


def methods(service: str) -> list[MethodDescriptor]:
    return [method for each in descriptors(service) for method in each.methods]


async def answered(channel: grpc.aio.Channel, method: MethodDescriptor, shown: str) -> tuple[grpc.StatusCode, str]:
    path = f"/{method.containing_service.full_name}/{method.name}"
    metadata = [("authorization", shown)] if shown else []
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    # A stream says nothing: the refusal may come before what it would send, which gRPC then reports as a fault instead.
    request = () if method.client_streaming else (b"",)
    answer = getattr(channel, shape)(path)(*request, timeout=30, metadata=metadata)
    try:
        await (answer.read() if method.server_streaming else answer)
    except grpc.aio.AioRpcError as refused:
        return refused.code(), fault(refused).reason
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize("service", SERVICES)
async def test_every_method_refuses_every_bad_credential(run: Run, service: str, tmp_path: Path) -> None:
    async with grpc.aio.insecure_channel(run.front_door) as channel:
        for kind, (shown, code, reason) in tokens(run.keys, tmp_path).items():
            for method in methods(service):
                expected = (WITHOUT_A_TOKEN[method.name],) if method.name in WITHOUT_A_TOKEN else (code, reason)
                found = await answered(channel, method, shown)
                assert found[: len(expected)] == expected, f"{method.full_name} with a token {kind}: {found}"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_viewer_writes_nowhere(run: Run, service: str) -> None:
    """R000-002, R002-095, rights of R003-042: each RPC that a viewer's role does not name is refused to him, unread."""
    rights = rights_of(service)
    shown = f"Bearer {run.keys.mint('victor', ['viewer'])}"
    async with grpc.aio.insecure_channel(run.front_door) as channel:
        for method in methods(service):
            if method.name in WITHOUT_A_TOKEN or "viewer" in rights[method.name]:
                continue
            found = await answered(channel, method, shown)
            assert found == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"), method.full_name


async def test_the_mesh_is_closed_to_whoever_has_no_certificate(run: Run) -> None:
    service = methods("points")[0]
    for target in (run.mesh, f"127.0.0.1:{run.replicas['points'][0]}"):
        async with grpc.aio.insecure_channel(target) as channel:
            code, _ = await answered(channel, service, f"Bearer {run.keys.mint('eve', ['operator'])}")
            assert code == grpc.StatusCode.UNAVAILABLE
