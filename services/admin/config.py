"""Settings of admin, read once from the environment."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from services.kit.config import ServerSettings


@dataclass(frozen=True)
class Config:
    """What the process needs."""

    server: ServerSettings
    signing_keys: Path = field(
        metadata={"help": "private keys of the embedded issuer (a JWKS); the first one signs", "exists": True}
    )
    peer_ingest: str = field(metadata={"help": "host:port of ingest, or of the front door"})
    token_life: timedelta = field(default=timedelta(hours=1), metadata={"help": "how long a token is valid"})
    lease_seconds: timedelta = field(
        default=timedelta(seconds=15),
        metadata={"help": "after a crash another process follows on when this has passed"},
    )
