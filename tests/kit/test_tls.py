"""Mutual TLS between services: who has no certificate does not come in, and a renewed one disturbs nobody."""

import asyncio
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.certificates import Certificates
from services.kit.channel import open_channel
from services.kit.tls import Tls
from tests.fixtures.serving import Serve

ASKED = health_pb2.HealthCheckRequest()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path)
    made.prepare()
    return made


def identity(certificates: Certificates, who: str) -> Tls:
    return Tls(certificates.certificate(who), certificates.key(who), certificates.authority)


def served_by(serving: Serve, certificates: Certificates, who: str, health: str = ""):  # type: ignore[no-untyped-def]
    return serving(
        who,
        register=None,
        rights={},
        tls_certificate=certificates.certificate(who),
        tls_key=certificates.key(who),
        tls_authorities=certificates.authority,
        health_listen=health,
    )


async def health(channel: grpc.aio.Channel) -> bool:
    answer = await health_pb2_grpc.HealthStub(channel).Check(ASKED, timeout=30)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_peers_with_certificates_of_one_authority_reach_one_another(
    serving: Serve, certificates: Certificates
) -> None:
    async with served_by(serving, certificates, "points") as served:
        channel = open_channel(served.target, token=lambda: "", tls=identity(certificates, "contact"))
        assert await health(channel)
        await channel.close()


async def test_a_caller_without_a_certificate_of_ours_does_not_come_in(
    serving: Serve, certificates: Certificates, tmp_path: Path
) -> None:
    """R002-094: nobody is served in plain text, nor with a certificate of another authority."""
    other = Certificates(tmp_path / "elsewhere")
    other.prepare()
    options = [("grpc.enable_http_proxy", 0)]
    async with served_by(serving, certificates, "points") as served:
        ours = certificates.authority.read_bytes()
        forged = grpc.ssl_channel_credentials(
            ours, other.key("contact").read_bytes(), other.certificate("contact").read_bytes()
        )
        for channel in (
            grpc.aio.insecure_channel(served.target, options=options),
            grpc.aio.secure_channel(served.target, grpc.ssl_channel_credentials(ours), options=options),
            grpc.aio.secure_channel(served.target, forged, options=options),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health(channel)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            await channel.close()


async def test_certificates_are_renewed_under_calls_without_an_error(
    serving: Serve, certificates: Certificates
) -> None:
    async with served_by(serving, certificates, "points") as served:
        tls = identity(certificates, "contact")
        channel = open_channel(served.target, token=lambda: "", tls=tls)
        before, calls = tls.material(), 0
        for _ in range(3):
            certificates.prepare(renew=True)
            for _ in range(15):
                assert await health(channel)
                calls += 1
                await asyncio.sleep(0.1)
        assert tls.material() is not before
        assert calls == 45
        fresh = open_channel(served.target, token=lambda: "", tls=identity(certificates, "contact"))
        assert await health(fresh)  # a new handshake, with the renewed certificates on both sides
        await fresh.close()
        await channel.close()


async def test_a_probe_that_knows_no_tls_has_a_port_of_its_own(
    serving: Serve, certificates: Certificates, unused_tcp_port: int
) -> None:
    async with served_by(serving, certificates, "points", f"127.0.0.1:{unused_tcp_port}"):
        options = [("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{unused_tcp_port}", options=options) as channel:
            assert await health(channel)


def test_a_certificate_and_a_key_that_do_not_belong_together_are_not_taken(certificates: Certificates) -> None:
    tls = identity(certificates, "contact")
    before = tls.material()
    certificates.key("contact").write_text(certificates.key("points").read_text())
    tls._files[0]._looked = 0.0
    assert tls.material() is before
