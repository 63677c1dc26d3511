"""Files on their way into the landing folder."""

from dataclasses import dataclass
from datetime import datetime


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
