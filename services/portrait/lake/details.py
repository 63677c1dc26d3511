"""Detail feeds of some customers, as the scans of the wide table read them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.portrait.domain.detail import CONTACTS, LINES, Details
from services.portrait.domain.run import LakeFile
from services.portrait.domain.wide import Item
from services.portrait.lake.files import read
from services.portrait.lake.wide import wide_table

Feeds = Mapping[str, Sequence[LakeFile]]
Floats = npt.NDArray[np.float64]

_RESPONDED = "responded"


def detail_columns(
    details: Details,
    feeds: Feeds,
    contacts: pa.Table | None,
    key: npt.NDArray[np.int64],
    buckets: int,
    to_date: date,
    zone: str,
) -> dict[str, Floats]:
    """The columns that the feeds give, for the customers `key`, NaN where one is not known; bucket after bucket, so
    that one bucket's rows are in memory."""
    lines = lines_of(feeds)
    found: dict[str, Floats] = {}
    for bucket in range(buckets):
        at = np.flatnonzero(key % buckets == bucket)
        tables = dict(bucket_tables(details.items, feeds, bucket, to_date))
        for name, parts in details.unions.items():
            there = [_as_union(feeds[feed], column, bucket) for feed, column in parts.items() if feeds.get(feed)]
            if there:
                tables[name] = pa.concat_tables(there)
        if contacts is not None:
            tables[CONTACTS] = contacts
        if tables:
            table = wide_table(details.items, tables, pa.array(key[at]), to_date, zone, lines)
            for name in table.column_names[1:]:
                values = pc.cast(table[name], pa.float64()).fill_null(float("nan")).to_numpy()
                found.setdefault(name, np.full(len(key), np.nan))[at] = values
    return found


def contacts_table(rows: Sequence[tuple[int, datetime, str, bool, bool | None]]) -> pa.Table:
    """Contacts as the items of that source look at them; `accepted` is 1 for a contact that was responded to and of
    whose campaign it is known whether it gave a discount."""
    names = (
        ("customer", pa.int64()),
        ("time", pa.timestamp("ms", "UTC")),
        ("result", pa.string()),
        ("campaign", pa.bool_()),
        ("discount", pa.bool_()),
    )
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    table = pa.table({name: pa.array(column, kind) for (name, kind), column in zip(names, columns, strict=True)})
    accepted = pc.and_(pc.equal(table["result"], _RESPONDED), pc.is_valid(table["discount"]))
    return table.append_column("accepted", pc.cast(accepted, pa.int64()))


def bucket_tables(items: Sequence[Item], feeds: Feeds, bucket: int, to_date: date) -> Iterable[tuple[str, pa.Table]]:
    """By source, the rows of one bucket that the items look at, with the columns they need."""
    for source in sorted({item.source for item in items if item.kind} & {feed for feed in feeds if feeds[feed]}):
        asked = [item for item in items if item.source == source and item.kind]
        first = to_date - timedelta(days=max(item.days for item in asked))
        files = [file for file in feeds[source] if file.bucket in (-1, bucket) and first <= file.period <= to_date]
        if any(item.kind == "told" for item in asked):  # what the latest delivery does not say any more is not so
            files = [file for file in files if file.period == max(each.period for each in files)]
        names = {name for item in asked for name in _own(item)}
        yield source, _table(files, sorted(names))


def _own(item: Item) -> set[str]:
    """The columns of the feed that an item looks at; what it needs of called lines is joined by `peer`."""
    names = {item.time, item.column, item.where[0]} - {"", item.needs}
    return (
        names
        | ({"peer"} if item.needs else set())
        | ({"direction"} if item.kind == "both" else set())
        | ({"value"} if item.kind == "told" else set())
    )


def lines_of(feeds: Feeds) -> pa.Table | None:
    """The called numbers that have a class, each once by the latest delivery; None without that feed."""
    files = [file for feed in LINES for file in feeds.get(feed, ())]
    if not files:
        return None
    rows = pa.concat_tables([read(file, ["peer", "peer_class"]) for file in files]).to_pydict()
    known = dict(zip(rows["peer"], rows["peer_class"], strict=True))
    return pa.table({"peer": pa.array(known, pa.int64()), "peer_class": pa.array(known.values(), pa.string())})


def _table(files: Sequence[LakeFile], names: Sequence[str]) -> pa.Table:
    if not files:
        return pa.table({"customer": pa.array([], pa.int64()), **{name: pa.array([], pa.int64()) for name in names}})
    whole = pa.concat_tables([read(file, ["customer_key", *names]) for file in files], promote_options="permissive")
    return whole.rename_columns(["customer", *names])


def _as_union(files: Sequence[LakeFile], column: str, bucket: int) -> pa.Table:
    table = _table([file for file in files if file.bucket in (-1, bucket)], ["time", column])
    return table.rename_columns(["customer", "time", column]).cast(
        pa.schema([("customer", pa.int64()), ("time", pa.timestamp("ms", "UTC")), (column, pa.string())])
    )
