"""Carrying hand-over files to OCRM's server by SFTP or FTP: whole files only, the control file last."""

import asyncio
import ftplib
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import asyncssh


class Carrier(Protocol):
    """Brings files to where OCRM looks for them."""

    async def carry(self, files: Sequence[Path]) -> None:
        """Bring these files in their order; each appears under its name whole, or not at all. Raises OSError."""
        ...


class Sftp:
    """sftp://user[:password]@host[:port]/folder, to a host whose key is known; `key` is a file with a private key."""

    def __init__(self, url: str, *, known_hosts: str, key: str = "") -> None:
        parts = urlsplit(url)
        self._folder = parts.path or "."
        self._to = {
            "host": parts.hostname or "",
            "port": parts.port or 22,
            "username": unquote(parts.username or ""),
            "password": unquote(parts.password) if parts.password else None,
            "client_keys": [key] if key else (),
            "known_hosts": known_hosts,
        }

    async def carry(self, files: Sequence[Path]) -> None:
        """Bring these files in their order. Raises OSError."""
        try:
            async with asyncssh.connect(**self._to) as connection, connection.start_sftp_client() as client:
                for file in files:
                    final = posixpath.join(self._folder, file.name)
                    part = posixpath.join(self._folder, f".{file.name}.part")
                    await client.put(str(file), part)
                    await client.posix_rename(part, final)
        except (asyncssh.Error, asyncssh.SFTPError) as error:
            raise OSError(f"SFTP: {error}") from error


class Ftp:
    """ftp://user:password@host[:port]/folder, or ftps:// for FTP over TLS."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    async def carry(self, files: Sequence[Path]) -> None:
        """Bring these files in their order. Raises OSError."""
        await asyncio.to_thread(self._carry, files)

    def _carry(self, files: Sequence[Path]) -> None:
        parts = self._parts
        # FTP where OCRM speaks nothing else; within the operator's own network.
        secure = parts.scheme == "ftps"
        client = ftplib.FTP_TLS(timeout=60) if secure else ftplib.FTP(timeout=60)  # noqa: S321 - as it says
        try:
            with client:
                client.connect(parts.hostname or "", parts.port or 21)
                client.login(unquote(parts.username or ""), unquote(parts.password or ""))
                if isinstance(client, ftplib.FTP_TLS):
                    client.prot_p()
                client.cwd(parts.path or "/")
                for file in files:
                    part = f".{file.name}.part"
                    with file.open("rb") as data:
                        client.storbinary(f"STOR {part}", data)
                    client.rename(part, file.name)
        except ftplib.Error as error:
            raise OSError(f"FTP: {error}") from error


def carrier(url: str, *, known_hosts: str = "", key: str = "") -> Carrier | None:
    """The carrier of a URL; None for none. Raises ValueError for another scheme."""
    scheme = urlsplit(url).scheme
    if not url:
        return None
    if scheme == "sftp":
        if not known_hosts:
            raise ValueError("sftp needs a file of known hosts")
        return Sftp(url, known_hosts=known_hosts, key=key)
    if scheme in ("ftp", "ftps"):
        return Ftp(url)
    raise ValueError(f"{scheme} is neither sftp nor ftp nor ftps")
