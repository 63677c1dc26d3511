"""Lines of trades with their classes (号码归类), and what customers call them: takeaways, clinics, banks, schools.

The lines are the table `lines.csv`. Calls to them come beside the other detail records of the same days, as a second
file of each. Every draw is of a stream of its own (`lines.…`), so that nothing else of a seed changes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from city.commerce import slices, stamps
from city.dice import Dice, Flags, Ints
from city.files import Delivered, FeedFile, deliver
from city.people import ACTIVE, People
from city.tables import TASTES, Days, column
from city.usage import DETAIL_DAYS
from city.world import World

_SEQUENCE = 2
_OFTEN: Mapping[str, tuple[float, str]] = {
    "food": (0.20, "film"),
    "health": (0.06, ""),
    "finance": (0.10, "digital"),
    "travel": (0.06, "nature"),
    "rival": (0.02, ""),
    "service": (0.03, ""),
    "education": (0.12, "family"),
    "courier": (0.16, "shop"),
    "government": (0.02, ""),
    "shopping": (0.08, "shop"),
    "other": (0.04, ""),
}
"""How likely it is that a customer calls a class of lines on a day: at most so, growing with a taste (logistic, half of
it on the average) where there is one."""


def write(world: World, people: People, dice: Dice, days: Days, out: Path) -> list[Delivered]:
    """Writes the lines of the month of the start, and the calls to them of the last DETAIL_DAYS days."""
    classes = pl.DataFrame({name: column("lines", name) for name in ("peer", "peer_class", "name")})
    delivered = [deliver(out, "classed_lines", days.start.replace(day=1), classes)]
    for day in range(max(days.count - DETAIL_DAYS, 0), days.count):
        with FeedFile(out, "call_details", days.on(day), _SEQUENCE) as file:
            for who in slices(len(people)):
                file.write_frame(_calls(world, people, dice, days, who[people.status[who] == ACTIVE], day))
            if file.rows:
                delivered.append(file.deliver())
            else:
                file.discard()
    return delivered


def calling(people: People, dice: Dice, who: Ints, day: int) -> Flags:
    """Whether customers call a line on a day: who × the classes of _OFTEN."""
    likely = np.empty((len(who), len(_OFTEN)))
    for at, (most, taste) in enumerate(_OFTEN.values()):
        liking = people.tastes[who, TASTES.index(taste)] if taste else np.zeros(len(who))
        likely[:, at] = most / (1.0 + np.exp(-liking))
    return np.asarray(dice.uniform("lines.call", who[:, None], day, np.arange(len(_OFTEN))) < likely)


def _calls(world: World, people: People, dice: Dice, days: Days, who: Ints, day: int) -> pl.DataFrame:
    """Detail records. A customer has one line of each class that he calls, again and again."""
    row, kind = np.nonzero(calling(people, dice, who, day))
    who = who[row]
    classes = np.array(column("lines", "peer_class"))
    firsts = np.array([int(np.argmax(classes == name)) for name in _OFTEN])
    counts = np.array([int((classes == name).sum()) for name in _OFTEN])
    own = (dice.bits("lines.own", who, kind) % counts[kind].astype(np.uint64)).astype(np.int64)
    second = (28_800 + 50_400 * dice.uniform("lines.clock", who, day, kind)).astype(np.int64)
    lasts = np.ceil(-90.0 * np.log1p(-dice.uniform("lines.lasts", who, day, kind)))
    home = world.place_cells[people.home[who]]
    return pl.DataFrame(
        {
            "msisdn": people.msisdn[who],
            "start_time": stamps(days.on(day), second),
            "direction": np.ones(len(who), dtype=np.int64),
            "peer": pl.Series(column("lines", "peer")).gather(firsts[kind] + own),
            "seconds": np.minimum(lasts, 1800).astype(np.int64),
            "call_type": np.ones(len(who), dtype=np.int64),
            "lac": world.lac[home],
            "cell": world.cell[home],
            "fee_fen": np.zeros(len(who), dtype=np.int64),
        }
    )
