"""Detail feeds of some customers, as the scans of the wide table read them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
_CUSTOMERS_AT_ONCE, _ROWS_AT_ONCE = 10_000, 1_000_000


def detail_columns(
    details: Details,
    feeds: Feeds,
    contacts: pa.Table | None,
    key: npt.NDArray[np.int64],
    buckets: int,
    to_date: date,
    zone: str,
) -> dict[str, Floats]:
    """The columns that the feeds give, for the customers `key`, NaN where one is not known; some buckets after others,
    so that what is in memory at once is bounded."""
    lines = lines_of(feeds)
    found: dict[str, Floats] = {}
    customers = np.bincount(key % buckets, minlength=buckets)
    for some in groups(feeds, dict(enumerate(customers.tolist()))):
        at = np.flatnonzero(np.isin(key % buckets, list(some)))
        tables = dict(bucket_tables(details.items, feeds, some, to_date))
        for name, parts in details.unions.items():
            there = [_as_union(feeds[feed], column, some) for feed, column in parts.items() if feeds.get(feed)]
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


def groups(feeds: Feeds, customers: Mapping[int, int]) -> Iterator[frozenset[int]]:
    """Buckets (`customers` of each) that are read together: as many, one after the other, as keep within 10,000
    customers and a million rows of the bucketed feeds, and one that is larger by itself. To start a scan costs more
    than to scan a small bucket."""
    rows = dict.fromkeys(customers, 0)
    for file in (file for files in feeds.values() for file in files if file.bucket in rows):
        rows[file.bucket] += file.rows
    some: set[int] = set()
    people = total = 0
    for bucket, count in sorted(customers.items()):
        if some and (people + count > _CUSTOMERS_AT_ONCE or total + rows[bucket] > _ROWS_AT_ONCE):
            yield frozenset(some)
            some, people, total = set(), 0, 0
        some.add(bucket)
        people, total = people + count, total + rows[bucket]
    if some:
        yield frozenset(some)


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


def bucket_tables(
    items: Sequence[Item], feeds: Feeds, buckets: Collection[int], to_date: date
) -> Iterable[tuple[str, pa.Table]]:
    """By source, the rows of some buckets that the items look at, with the columns they need."""
    for source in sorted({item.source for item in items if item.kind} & {feed for feed in feeds if feeds[feed]}):
        asked = [item for item in items if item.source == source and item.kind]
        first = to_date - timedelta(days=max(item.days for item in asked))
        files = [file for file in feeds[source] if file.bucket in (-1, *buckets) and first <= file.period <= to_date]
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


def _as_union(files: Sequence[LakeFile], column: str, buckets: Collection[int]) -> pa.Table:
    table = _table([file for file in files if file.bucket in (-1, *buckets)], ["time", column])
    return table.rename_columns(["customer", "time", column]).cast(
        pa.schema([("customer", pa.int64()), ("time", pa.timestamp("ms", "UTC")), (column, pa.string())])
    )
