"""Touch points (触点): how well they are used, what conflicts at them, and the loop that one contact goes through."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class TouchPoint:
    """A channel or a slot over some days; `asked` −1 is a channel without a capacity."""

    name: str
    asked: int
    filled: int
    capped: int
    cooling: int
    crowded: int
    overlaps: int

    @property
    def fill_rate(self) -> float:
        """Filled of what was asked."""
        return self.filled / self.asked if self.asked > 0 else 0.0


@dataclass(frozen=True)
class Step:
    """One step of the loop; `time` None for a report, which has none."""

    stage: str
    ref: str
    text: str
    time: datetime | None
