"""How long what is kept is kept."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Ages:
    """How long things are kept beyond what the feeds' contracts say."""

    event_days: int = 400
    """Days of the event log, by whole months."""
    follower_days: int = 30
    """A follower that was not seen for so long holds nothing back any more."""
    grace: timedelta = timedelta(minutes=10)
    """For how long a replaced file stays for readers without a lease."""
    compact_days: int = 2
    """Periods younger than this are not compacted."""
    compact_rows: int = 2_000_000
    """Files with so many rows are large enough."""
    compacts: bool = False
    """Whether small files are put together every day; otherwise when somebody asks for it."""
    recycle_days: int = 90
    """After a customer left, his number may be another's."""
