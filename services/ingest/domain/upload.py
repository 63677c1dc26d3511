"""Files on their way into the landing folder."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Upload:
    """A file that is sent by RPC in parts; `received_bytes` is the offset of the next one."""

    upload_id: str
    caller: str
    file_name: str
    received_bytes: int
    committed: bool
    expire_time: datetime


@dataclass(frozen=True)
class Remote:
    """A file at a remote source."""

    name: str
    size: int
    change_time: datetime


@dataclass(frozen=True)
class Source:
    """A remote place that suppliers put files to: `sftp://user@host:port/folder` or `s3://bucket/prefix`.

    `key` and `known_hosts` are files, for SFTP only: the private key to show, and the keys that the host may show.
    `endpoint` is that of an S3-compatible storage; its credentials come from the environment.
    """

    name: str
    url: str
    poll: timedelta = timedelta(seconds=30)
    key: str = ""
    known_hosts: str = ""
    endpoint: str = ""
