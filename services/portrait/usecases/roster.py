"""Members written out: who they are, where they belong, what they bear; page by page, or as one Arrow IPC stream."""

import asyncio
import io
from collections.abc import AsyncIterator, Collection, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyroaring import BitMap

from services.portrait.store.audiences import ORGANISATION
from services.portrait.usecases.index import TagIndex

_BATCH = 65_536
_SCHEMA = pa.schema([("customer_key", pa.int64()), ("org_id", pa.string()), ("tags", pa.list_(pa.string()))])


def tags_of(index: TagIndex, keys: Sequence[int], hidden: Collection[str]) -> dict[int, list[str]]:
    """The tags of some customers, by key, but for the `hidden` ones; an enum tag as CODE=value."""
    chosen, found = BitMap(keys), {key: list[str]() for key in keys}
    valued = {code for code, value in index.tags if value}
    for (code, value), bearers in sorted(index.tags.items()):
        plain = code == ORGANISATION or (not value and code in valued)
        if plain or code in hidden:
            continue
        for key in bearers & chosen:
            found[key].append(f"{code}={value}" if value else code)
    return found


async def arrow(index: TagIndex, found: BitMap, hidden: Collection[str]) -> AsyncIterator[tuple[bytes, int]]:
    """Members with organisation and tags as (part of one Arrow IPC stream, its rows): all of them of one index, also
    when a run is published meanwhile."""
    sink = _Parts()
    writer = pa.ipc.new_stream(pa.PythonFile(sink, "w"), _SCHEMA)
    for first in range(0, len(found), _BATCH):
        keys = np.asarray(found[first : first + _BATCH].to_array())
        writer.write_batch(await asyncio.to_thread(_batch, index, keys, hidden))
        yield sink.taken(), len(keys)
    writer.close()
    yield sink.taken(), 0


def _batch(index: TagIndex, keys: npt.NDArray[np.integer], hidden: Collection[str]) -> pa.RecordBatch:
    tags = tags_of(index, keys.tolist(), hidden)
    chosen, orgs = BitMap(keys), dict[int, str]()
    for (code, value), held in index.tags.items():
        if code == ORGANISATION:
            orgs.update(dict.fromkeys(held & chosen, value))
    columns = [keys.astype(np.int64), [orgs.get(int(key), "") for key in keys], list(tags.values())]
    return pa.record_batch(
        [pa.array(one, field.type) for one, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )


class _Parts(io.RawIOBase):
    """What was written since the last look."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]  # whatever has a buffer
        self._parts.append(part)
        return len(part)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
