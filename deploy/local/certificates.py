"""The mesh's own certificates on one machine: an authority, and short-lived ones for each service and for Envoy.

certificates/authority.pem .key   who signs; its key leaves this folder nowhere
certificates/<who>.pem .key       one identity each: spiffe://lifecircle/<who>, and 127.0.0.1 for those that are called
certificates/sds/                 Envoy's own as it reads them (SDS, one secret a file): moved into place, which it sees

In the cluster cert-manager makes them, or a mesh does without (docs/operations/mesh.md).
"""

from __future__ import annotations

import datetime
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local import private
from deploy.local.keys import SERVICES

TRUST_DOMAIN = "lifecircle"
ENVOY = "envoy"
LIFE = datetime.timedelta(days=30)
_AUTHORITY_LIFE = datetime.timedelta(days=3650)
_RENEW = LIFE / 2
_SKEW = datetime.timedelta(minutes=5)


def spiffe(who: str) -> str:
    """The identity of a service, as its certificate says it."""
    return f"spiffe://{TRUST_DOMAIN}/{who}"


@dataclass(frozen=True)
class Certificates:
    """The certificates below one state folder."""

    state: Path

    @property
    def authority(self) -> Path:
        """The authority's certificate: what everybody believes."""
        return self._folder / "authority.pem"

    def certificate(self, who: str) -> Path:
        """The certificate of `who`."""
        return self._folder / f"{who}.pem"

    def key(self, who: str) -> Path:
        """The private key of `who`."""
        return self._folder / f"{who}.key"

    @property
    def sds(self) -> Path:
        """The folder with Envoy's secrets: identity.json and authorities.json."""
        return self._folder / "sds"

    def prepare(self, *, now: datetime.datetime | None = None, renew: bool = False) -> list[str]:
        """Makes what is missing and renews what is past half its life, or all of it; gives whose were made."""
        moment = now or datetime.datetime.now(datetime.UTC)
        if not self.authority.exists():
            self._make_authority(moment)
        made = [who for who in (*SERVICES, ENVOY) if renew or not self._lasts(who, moment)]
        for who in made:
            self._make(who, moment)
        return made

    @property
    def _folder(self) -> Path:
        return self.state / "certificates"

    def _lasts(self, who: str, moment: datetime.datetime) -> bool:
        if not (self.certificate(who).exists() and self.key(who).exists()):
            return False
        end = x509.load_pem_x509_certificate(self.certificate(who).read_bytes()).not_valid_after_utc
        return end - moment > _RENEW

    def _make_authority(self, moment: datetime.datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lifecircle local authority")])
        made = (
            _begin(name, name, key.public_key(), moment, _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        private.write(self._folder / "authority.key", _pem(key))
        private.write(self.authority, made.public_bytes(serialization.Encoding.PEM).decode())

    def _make(self, who: str, moment: datetime.datetime) -> None:
        signer = x509.load_pem_x509_certificate(self.authority.read_bytes())
        signing = serialization.load_pem_private_key((self._folder / "authority.key").read_bytes(), None)
        assert isinstance(signing, ec.EllipticCurvePrivateKey), "the authority's key is one of ours"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
        names = [
            x509.UniformResourceIdentifier(spiffe(who)),
            x509.DNSName(who),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = (
            _begin(name, signer.subject, key.public_key(), moment, LIFE)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .sign(signing, hashes.SHA256())
        )
        chain = made.public_bytes(serialization.Encoding.PEM).decode()
        private.write(self.key(who), _pem(key))
        private.write(self.certificate(who), chain)
        if who == ENVOY:
            pair = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": _pem(key)}}
            believed = {"trusted_ca": {"inline_string": self.authority.read_text()}}
            private.write(self.sds / "identity.json", _secret("identity", "tls_certificate", pair))
            private.write(self.sds / "authorities.json", _secret("authorities", "validation_context", believed))


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    moment: datetime.datetime,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _SKEW)
        .not_valid_after(moment + life)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs, crl_sign=signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _secret(name: str, field: str, value: dict[str, dict[str, str]]) -> str:
    """A discovery response in a file, as Envoy's SDS takes it."""
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    return json.dumps({"resources": [{"@type": kind, "name": name, field: value}]})
