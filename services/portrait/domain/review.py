"""When what is in force is to be looked at again (定期调整): tags, models of latent tags, moment rules."""

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

DAYS = 180
"""How long after it was put in force something is to be reviewed."""
_VERSION = re.compile(r"(\d{4})\.(\d{1,2})\.")


class Review(NamedTuple):
    """Something in force; `kind` is TAG, LATENT_MODEL or MOMENT_RULE. Ordered by the day on which it is due."""

    due: date
    kind: str
    name: str
    version: int
    last: date

    def overdue(self, today: date) -> bool:
        """Whether its day has passed."""
        return self.due < today


def reviews(known: Iterable[tuple[str, str, int, date]]) -> list[Review]:
    """Of (kind, name, version, day on which it was put in force), that which is due first."""
    return sorted(Review(last + timedelta(days=DAYS), kind, name, version, last) for kind, name, version, last in known)


def released(catalogue_version: str) -> date | None:
    """The month of a shipped catalogue, by its version (`2026.11.0`); None where it does not tell one."""
    found = _VERSION.match(catalogue_version)
    return date(int(found[1]), int(found[2]), 1) if found and 1 <= int(found[2]) <= 12 else None
