"""How much customers turned to each class of places, faded to the last day of a run: the stock that interests are of.

A run adds what its own days say to what the run before had, faded by the days between: an interest lives on while it
is confirmed, and dies away when it is not, however long the window is.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.calendar import Window
from services.portrait.domain.interest import LEAST_KEPT, Interest, faded, interests
from services.portrait.domain.place import Places
from services.portrait.domain.run import LakeFile
from services.portrait.domain.track import DwellDays
from services.portrait.lake.files import read

Longs = npt.NDArray[np.int64]

_EPOCH = date(1970, 1, 1)


def interests_table(
    key: Longs, dwell: DwellDays, places: Places, window: Window, before: Sequence[LakeFile]
) -> pa.Table:
    """By customer and class: customer_key, place_class, hours as they are worth on the window's last day. `before` is
    this table of the run before; its days are not counted again."""
    known = [table.filter(pc.is_in(table["customer_key"], value_set=pa.array(key))) for table in map(read, before)]
    since = max((day for table in known for day in pc.unique(table["as_of"]).to_pylist()), default=date.min)
    first = max((since - window.from_date).days + 1, 0) if since >= window.from_date else 0
    fresh = np.flatnonzero(dwell.day >= first)
    hours = faded(dwell.secs[fresh] / 3600.0, window.days - 1 - dwell.day[fresh])
    classes, number = np.unique(np.array(places.class_code, dtype=np.str_), return_inverse=True)
    pair = dwell.customer[fresh].astype(np.int64) * len(classes) + number[dwell.place[fresh]]
    own = _table(key[pair // max(len(classes), 1)], classes[pair % max(len(classes), 1)].tolist(), hours)
    carried = [
        _table(
            table["customer_key"].to_numpy(),
            table["place_class"].to_pylist(),
            faded(table["hours"].to_numpy(), (window.to_date - since).days),
        )
        for table in known
    ]
    summed = pa.concat_tables([own, *carried]).group_by(["customer_key", "place_class"]).aggregate([("hours", "sum")])
    summed = summed.rename_columns(["customer_key", "place_class", "hours"])
    summed = summed.filter(pc.greater_equal(summed["hours"], LEAST_KEPT))
    summed = summed.sort_by([("customer_key", "ascending"), ("place_class", "ascending")])
    return summed.append_column("as_of", pa.array([window.to_date] * summed.num_rows, pa.date32()))


def interests_of(file: LakeFile, names: Mapping[str, Sequence[str]]) -> Mapping[int, Sequence[Interest]]:
    """The interests of the customers of one bucket by key."""
    by_customer: dict[int, list[tuple[str, float]]] = defaultdict(list)
    table = read(file, ["customer_key", "place_class", "hours"])
    for key, place_class, hours in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        by_customer[key].append((place_class, hours))
    return {key: interests(hours, names) for key, hours in by_customer.items()}


def _table(key: Longs, classes: Sequence[str], hours: npt.NDArray[np.float64]) -> pa.Table:
    kinds = (pa.int64(), pa.string(), pa.float64())
    columns = zip(("customer_key", "place_class", "hours"), (key, classes, hours), kinds, strict=True)
    return pa.table({name: pa.array(values, kind) for name, values, kind in columns})
