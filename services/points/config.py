"""Settings of points, read once from the environment."""

from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

from services.kit.config import ServerSettings


@dataclass(frozen=True)
class Config:
    """What the process needs."""

    server: ServerSettings
    peer_ingest: str = field(metadata={"help": "host:port of ingest, or of the front door"})
    business_timezone: ZoneInfo = field(
        default=ZoneInfo("Asia/Shanghai"), metadata={"help": "zone of business days and months"}
    )
    lease_seconds: timedelta = field(
        default=timedelta(seconds=15),
        metadata={"help": "after a crash another process follows on when this has passed"},
    )
    event_batch: int = field(
        default=500, metadata={"help": "events of ingest's log in one transaction, at most", "least": 1}
    )
