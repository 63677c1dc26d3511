"""Settings of portrait, read once from the environment."""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from services.kit.config import ConfigProblems, ServerSettings
from services.portrait.domain.calendar import MOST_DAYS

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Config:
    """What a process of portrait needs."""

    server: ServerSettings
    peer_ingest: str = field(metadata={"help": "host:port of ingest"})
    lake_url: str = field(metadata={"help": "where the lake is, as a URL: file:///… or s3://…"})
    peer_contact: str = field(default="", metadata={"help": "host:port of contact; empty: portraits show no contacts"})
    peer_recommend: str = field(
        default="", metadata={"help": "host:port of recommend; empty: portraits show no offers"}
    )
    moment_partitions: int = field(
        default=16, metadata={"help": "shares of customers in the watch for moments; never changed later", "least": 1}
    )
    moment_days: int = field(default=30, metadata={"help": "days that the journal of events is kept", "least": 1})
    map_portraits: bool = field(
        default=True, metadata={"help": "answer GetPortrait from the memory-mapped pack; false: from Postgres"}
    )
    lake_buckets: int = field(
        default=8, metadata={"help": "as ingest has it: customer_key modulo this is the bucket", "least": 1}
    )
    business_timezone: ZoneInfo = field(default=ZoneInfo("Asia/Shanghai"), metadata={"help": "zone of days and slots"})
    window_days: int = field(default=30, metadata={"help": "days of signalling that a run looks at"})
    compute_threads: int = field(
        default=0, metadata={"help": "buckets computed side by side; 0: one a core", "least": 0}
    )
    read_connections: int = field(default=2, metadata={"help": "dedicated connections for GetPortrait", "least": 1})
    catalogue_path: Path = field(default=_HERE / "catalogue" / "tags.yaml", metadata={"help": "the tag catalogue"})
    readiness_path: Path = field(default=_HERE / "readiness.yaml", metadata={"help": "when a window is complete"})
    calendar_path: Path = field(default=_HERE / "calendar.csv", metadata={"help": "China's work calendar"})

    scratch: Path = field(
        default=Path(tempfile.gettempdir()) / f"lifecircle-portrait-{os.getuid()}",
        metadata={"help": "folder of trainings under way"},
    )
    features_path: Path = field(default=_HERE / "catalogue" / "features.yaml", metadata={"help": "the features"})
    details_path: Path = field(
        default=_HERE / "catalogue" / "details.yaml", metadata={"help": "what stat columns are counted of"}
    )
    reports_path: Path = field(default=_HERE / "catalogue" / "reports.yaml", metadata={"help": "the reports"})
    hold_customers: int = field(
        default=10_000, metadata={"help": "customers from which on coverage bands hold a run", "least": 0}
    )

    @property
    def threads(self) -> int:
        """Buckets computed side by side."""
        return self.compute_threads or len(os.sched_getaffinity(0))

    def check(self) -> None:
        """What else can be wrong with values that could be read. Raises ConfigProblems with all of it."""
        problems = []
        if not 1 <= self.window_days <= MOST_DAYS:
            problems.append(f"WINDOW_DAYS must be 1 to {MOST_DAYS}")
        if "://" not in self.lake_url:
            problems.append(f"LAKE_URL: {self.lake_url!r} is not a URL like file:///…")
        if problems:
            raise ConfigProblems(problems)
