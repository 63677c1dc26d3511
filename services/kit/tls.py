"""Mutual TLS: this process's certificate, and the authorities whose certificates it believes.

Where a mesh encrypts by itself (ambient, sidecar) none of this is set, and the ports speak plaintext to it. Otherwise
the three files are watched: a certificate that was renewed is shown from the next handshake on, calls in flight go on.
"""

from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from services.kit.files import Watched


@dataclass(frozen=True)
class Material:
    """PEM: the key, the certificate chain, and the authorities."""

    key: bytes
    chain: bytes
    authorities: bytes


class Tls:
    """The identity of this process, as long as it runs."""

    def __init__(self, certificate: Path, key: Path, authorities: Path) -> None:
        self._files = [Watched(path, str.encode) for path in (key, certificate, authorities)]
        self._last = self._read()

    def material(self) -> Material:
        """What is in force: the same object until a file changes."""
        now = self._read()
        if now != self._last and _belong_together(now):  # between the first file and the last they do not
            self._last = now
        return self._last

    def server(self) -> grpc.ServerCredentials:
        """Credentials of a server that asks for its callers' certificates too, and follows the files."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.material()), lambda: _configuration(self.material()), True
        )

    def channel(self) -> grpc.ChannelCredentials:
        """Credentials of a channel as they are now; a channel does not follow the files, its owner does."""
        now = self.material()
        return grpc.ssl_channel_credentials(now.authorities, now.key, now.chain)

    def _read(self) -> Material:
        key, chain, authorities = (file.value() for file in self._files)
        return Material(key, chain, authorities)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.authorities)


def _belong_together(material: Material) -> bool:
    try:
        key = serialization.load_pem_private_key(material.key, None)
        return x509.load_pem_x509_certificate(material.chain).public_key() == key.public_key()
    except ValueError:
        return False
