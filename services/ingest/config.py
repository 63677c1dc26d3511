"""Settings of ingest, read once from the environment."""

import json
import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.ingest.domain.age import Ages
from services.ingest.domain.identity import VaultKeys
from services.ingest.domain.upload import Source
from services.kit.config import ConfigProblems, ServerSettings

_KEY_BYTES = 32
_BROKER = re.compile(r"kafka://[^/@]+/[^/]+|nats://[^/@]+/[^/]+/[^/]+")


@dataclass(frozen=True)
class Config:
    """What a process of ingest needs."""

    server: ServerSettings
    landing: Path = field(metadata={"help": "the folder where suppliers put their files"})
    vault_keys: Path = field(repr=False, metadata={"help": "JSON file with version, token_key, vault_key, earlier"})
    lake_url: str = field(metadata={"help": "where the lake is: file:///… or s3://bucket/…"})
    lake_buckets: int = field(default=8, metadata={"help": "buckets of a day of signalling; never changed later"})
    business_timezone: str = field(default="Asia/Shanghai", metadata={"help": "zone of the local times in files"})
    sources: Path | None = field(
        default=None, metadata={"help": "YAML file with the SFTP and S3 sources that files are fetched from"}
    )
    control_grace: timedelta = field(
        default=timedelta(seconds=20), metadata={"help": "how long a file may lie without its control file"}
    )
    settle_seconds: timedelta = field(
        default=timedelta(seconds=2), metadata={"help": "how long a file may disagree with its control file"}
    )
    landing_poll: timedelta = field(default=timedelta(seconds=0.5), metadata={"help": "pause between two looks"})
    alarm_poll: timedelta = field(
        default=timedelta(seconds=5), metadata={"help": "pause between two looks at what is late or wrong"}
    )
    job_lease: timedelta = field(
        default=timedelta(seconds=15), metadata={"help": "after this a load whose process died is taken up again"}
    )
    loads_at_once: int = field(default=2, metadata={"help": "deliveries loaded at the same time"})

    archive_days: int = field(default=30, metadata={"help": "days that a loaded operator file is kept in .archive"})

    event_source_url: str = field(
        default="", metadata={"help": "broker of events: kafka://host:port/topic or nats://host:port/stream/subject"}
    )
    event_sink_url: str = field(default="", metadata={"help": "broker to send every event to; as EVENT_SOURCE_URL"})
    lake_grace: timedelta = field(
        default=timedelta(minutes=10),
        metadata={"help": "how long replaced lake files stay for readers without a lease"},
    )
    event_days: int = field(
        default=400, metadata={"help": "days of the event log that are kept, by months", "least": 1}
    )
    recycle_days: int = field(
        default=90, metadata={"help": "days after a customer left, when his number may be another's", "least": 1}
    )
    compact_days: int = field(
        default=0, metadata={"help": "days after which small files of a day are put together; 0 never", "least": 0}
    )

    def ages(self) -> Ages:
        """How long things are kept."""
        return Ages(
            event_days=self.event_days,
            grace=self.lake_grace,
            compact_days=self.compact_days or Ages.compact_days,
            compacts=self.compact_days > 0,
            recycle_days=self.recycle_days,
        )

    def lake_place(self) -> str:
        """The lake's URL. Raises ConfigProblems."""
        parts = urlsplit(self.lake_url)
        folder = parts.scheme == "file" and not parts.netloc and bool(parts.path)
        if not folder and not (parts.scheme == "s3" and parts.netloc):
            raise ConfigProblems([f"LAKE_URL: {self.lake_url!r} is neither file:///… nor s3://bucket/…"])
        return self.lake_url

    def keys(self) -> VaultKeys:
        """The vault's keys. Raises ConfigProblems; never with their values."""
        try:
            read = json.loads(self.vault_keys.read_text())
            earlier = sorted(map(_version, read.get("earlier", [])), key=lambda each: -each.version)
            keys = replace(_version(read), earlier=tuple(earlier))
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"VAULT_KEYS: {self.vault_keys} cannot be used ({type(error).__name__})"
            raise ConfigProblems([problem]) from None
        lengths = {len(part) for each in (keys, *earlier) for part in (each.token_key, each.vault_key)}
        if lengths != {_KEY_BYTES}:
            raise ConfigProblems([f"VAULT_KEYS: token_key and vault_key must be {_KEY_BYTES} bytes each"])
        if earlier and earlier[0].version >= keys.version:
            raise ConfigProblems(["VAULT_KEYS: the version must be above those of the earlier keys"])
        return keys

    def remote_sources(self) -> list[Source]:
        """The remote sources. Raises ConfigProblems with everything that is wrong."""
        if self.sources is None:
            return []
        try:
            listed = [_Source.model_validate(each) for each in yaml.safe_load(self.sources.read_text("utf-8")) or []]
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError) as error:
            raise ConfigProblems([f"SOURCES: {self.sources} cannot be used ({type(error).__name__})"]) from None
        except ValidationError as error:
            told = [f"SOURCES: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            raise ConfigProblems(told) from None
        if len({each.name for each in listed}) != len(listed):
            raise ConfigProblems(["SOURCES: two sources have the same name"])
        return [each.value() for each in listed]

    def check(self) -> None:
        """Everything that can be wrong with values that are there. Raises ConfigProblems with all of it."""
        problems = []
        for judge in (self.lake_place, self.keys, self.remote_sources):
            try:
                judge()
            except ConfigProblems as found:
                problems += found.problems
        try:
            ZoneInfo(self.business_timezone)
        except (ZoneInfoNotFoundError, ValueError):
            problems.append(f"BUSINESS_TIMEZONE: {self.business_timezone!r} is not a known zone")
        problems += [
            f"{name}: is neither kafka://host:port/topic nor nats://host:port/stream/subject"
            for name, url in (("EVENT_SOURCE_URL", self.event_source_url), ("EVENT_SINK_URL", self.event_sink_url))
            if url and not _BROKER.fullmatch(url)
        ]
        problems += [f"{name} must be at least 1" for name in self._too_small()]
        if problems:
            raise ConfigProblems(problems)

    def _too_small(self) -> list[str]:
        counts = {
            "LAKE_BUCKETS": self.lake_buckets,
            "LOADS_AT_ONCE": self.loads_at_once,
            "ARCHIVE_DAYS": self.archive_days,
        }
        return [name for name, value in counts.items() if value < 1]


class _Source(BaseModel):
    """One entry of SOURCES."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    url: str
    poll: float = Field(default=30, gt=0, le=86400)
    key: str = ""
    known_hosts: str = ""
    endpoint: str = ""

    @model_validator(mode="after")
    def _says_enough(self) -> "_Source":
        parts = urlsplit(self.url)
        if parts.password:
            raise ValueError("a URL must not hold a password; SFTP is by key, S3 by the environment")
        if parts.scheme == "sftp":
            missing = [name for name in ("key", "known_hosts") if not Path(getattr(self, name) or "/").is_file()]
            if missing or not parts.hostname or not parts.username:
                raise ValueError("SFTP needs sftp://user@host/folder, and the files key and known_hosts")
        elif parts.scheme not in ("s3", "file"):
            raise ValueError("url must begin with sftp://, s3:// or file://")
        return self

    def value(self) -> Source:
        return Source(**(self.model_dump() | {"poll": timedelta(seconds=self.poll)}))


def _version(read: Any) -> VaultKeys:
    token, vault = (bytes.fromhex(read[name]) for name in ("token_key", "vault_key"))
    return VaultKeys(int(read["version"]), token, vault)
