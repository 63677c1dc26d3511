"""What callers ask of audiences: count, save, freeze, page, export, profile, overlap, lists."""

import asyncio
import io
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyroaring import BitMap

from services.kit import idempotency, operations
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.portrait.domain.audience import (
    AllOf,
    AnyOf,
    AudienceInvalid,
    Everybody,
    Expression,
    Not,
    TagIs,
    bitmap_of,
    check,
    members,
    parse,
    parts,
)
from services.portrait.domain.audience import text as readable
from services.portrait.domain.audience.evaluation import PartCount, overlaps
from services.portrait.domain.tag import Catalogue
from services.portrait.refusals import audience_invalid, audience_not_found, tag_not_found
from services.portrait.store import Audiences
from services.portrait.store.audiences import ORGANISATION, CustomerList, FrozenAudience, SavedAudience
from services.portrait.usecases.index import Indexes, Prepared

SMALL_GROUP = 10
_BATCH = 65_536
_SCHEMA = pa.schema([("customer_key", pa.int64()), ("org_id", pa.string()), ("tags", pa.list_(pa.string()))])


@dataclass(frozen=True)
class Asked:
    """Whom a caller means: by an expression, or by its text when that is None."""

    expression: Expression | None
    text: str = ""


@dataclass(frozen=True)
class Counted:
    """An audience with its size, some members, and its parts if asked."""

    expression: Expression
    text: str
    run_id: str
    customers: int
    sample: Sequence[int]
    parts: Sequence[PartCount] = ()


@dataclass(frozen=True)
class Line:
    """How common a tag value is in an audience and in the base."""

    code: str
    value: str
    name: str
    customers: int
    share: float
    base_share: float
    z: float


class AudienceDesk:
    """Audiences over the index of the current run."""

    def __init__(
        self, db: Database, store: Audiences, indexes: Indexes, catalogue: Catalogue, clock: Clock, ids: Ids
    ) -> None:
        self._db = db
        self._store = store
        self._indexes = indexes
        self._clock = clock
        self._ids = ids
        self.know(catalogue)

    def know(self, catalogue: Catalogue) -> None:
        """Take another catalogue for what may be named."""
        self._tags = {tag.code: frozenset(case.value for case in tag.cases) for tag in catalogue.tags}
        self._names = {tag.name: tag.code for tag in catalogue.tags}
        self._titles = {tag.code: tag.name for tag in catalogue.tags}
        self._sensitive = {tag.code for tag in catalogue.tags if tag.sensitivity == "sensitive"}

    async def count(self, asked: Asked, sample: int, spread: bool, with_parts: bool) -> Counted:
        """How many belong to it, and `sample` of them: the first by key, or spread over all by a hash of the key."""
        expression, found, run_id, counted = await self._members(asked, with_parts)
        some = _spread(found, sample) if spread else found[:sample].to_array().tolist() if sample else []
        return Counted(expression, readable(expression), run_id, len(found), some, counted)

    async def count_tags(self, all_of: Sequence[str], none_of: Sequence[str], sample: int) -> Counted:
        """The same for two lists of tags (`CODE` or `CODE=value`). Raises tag_not_found."""
        wanted = [self._named(each) for each in dict.fromkeys(all_of)]
        unwanted = [Not(self._named(each)) for each in dict.fromkeys(none_of)]
        told: tuple[Expression, ...] = (*wanted, *unwanted)
        return await self.count(Asked(AllOf(told) if told else Everybody()), sample, spread=False, with_parts=False)

    async def save(self, audience_id: str, title: str, asked: Asked, owner: str, key: RequestKey) -> SavedAudience:
        """Keep a new version, unless nothing changed."""
        expression = self.understood(asked)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._saved(tx, audience_id, earlier["version"])
            saved = await self._store.save(tx, audience_id, title, expression, owner, self._clock())
            await idempotency.answer(tx, key, {"version": saved.version})
            await tx.commit()
        return saved

    async def get(self, audience_id: str, version: int) -> SavedAudience:
        """A version; 0 is the latest. Raises audience_not_found."""
        async with self._db.read() as read:
            return await self._saved(read, audience_id, version)

    async def page(self, after: str, size: int) -> list[SavedAudience]:
        """Saved audiences by id."""
        async with self._db.read() as read:
            return await self._store.page(read, after, size)

    async def freeze(self, asked: Asked, purpose: str, owner: str, key: RequestKey) -> FrozenAudience:
        """Keep who belongs to it now."""
        expression, found, run_id, _ = await self._members(asked)
        now = self._clock()
        frozen = FrozenAudience(self._ids(), readable(expression), run_id, len(found), purpose, now)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return FrozenAudience(**{**earlier, "create_time": now.fromisoformat(earlier["create_time"])})
            await self._store.freeze(tx, frozen, owner, found)
            await idempotency.answer(tx, key, {**vars(frozen), "create_time": now.isoformat()})
            await tx.commit()
        return frozen

    async def members(
        self, asked: Asked, after: int, size: int, with_tags: bool, sensitive: bool
    ) -> list[tuple[int, list[str]]]:
        """A page of members by key, behind `after`."""
        _, found, _, _ = await self._members(asked)
        first = found.rank(after)
        keys = found[first : first + size].to_array().tolist()
        tags = self._tags_of(keys, sensitive) if with_tags else {}
        return [(key, tags.get(key, [])) for key in keys]

    async def export(
        self, asked: Asked, purpose: str, caller: str, sensitive: bool
    ) -> AsyncIterator[tuple[bytes, int, str]]:
        """The members with organisation and tags as parts of one Arrow IPC stream; audited before the first."""
        expression, found, run_id, _ = await self._members(asked)
        async with self._db.begin() as tx:
            what = f"audience {readable(expression)}"
            await self._store.audit(
                tx, now=self._clock(), caller=caller, what=what, customers=len(found), purpose=purpose
            )
            await operations.record(tx, "portrait.ExportAudience", what, customers=len(found), purpose=purpose)
            await tx.commit()
        sink = _Parts()
        writer = pa.ipc.new_stream(pa.PythonFile(sink, "w"), _SCHEMA)
        for first in range(0, len(found), _BATCH):
            keys = np.asarray(found[first : first + _BATCH].to_array())
            writer.write_batch(await asyncio.to_thread(self._batch, keys, sensitive))
            yield sink.taken(), len(keys), run_id
        writer.close()
        yield sink.taken(), 0, run_id

    async def profile(self, asked: Asked, base: Expression | None, most: int) -> tuple[int, int, list[Line], str]:
        """How the audience differs from the base, tag by tag, the farthest first. Small groups are not shown."""
        expression, against = self.understood(asked), base or Everybody()
        self._check(against)
        source = await self._prepared(expression, against)
        inside, outside = members(expression, source), members(against, source)
        lines = []
        for (code, value), bearers in source.index.tags.items():
            if code in self._titles:
                both, wide = inside.intersection_cardinality(bearers), outside.intersection_cardinality(bearers)
                lines.append(_line(code, value, self._titles[code], both, len(inside), wide, len(outside)))
        lines.sort(key=lambda line: (-abs(line.z), line.code, line.value))
        return len(inside), len(outside), lines[:most], source.index.run.run_id

    async def overlap(
        self, expressions: Sequence[Expression]
    ) -> tuple[list[int], Mapping[tuple[int, int], int], int, int]:
        """The sizes, how many stand in both of every two, in any, in all."""
        for expression in expressions:
            self._check(expression)
        source = await self._prepared(*expressions)
        found = [members(expression, source) for expression in expressions]
        every = members(AllOf(tuple(expressions)), source)
        some = members(AnyOf(tuple(expressions)), source)
        return list(map(len, found)), overlaps(found), len(some), len(every)

    async def put_list(
        self, list_id: str, title: str, keys: npt.NDArray[np.int64], roaring: bytes, owner: str, key: RequestKey
    ) -> CustomerList:
        """Put a list in the place of the one of its id. Raises audience_invalid."""
        try:
            found = await asyncio.to_thread(BitMap.deserialize, roaring) if roaring else bitmap_of(keys)
        except AudienceInvalid as error:
            raise audience_invalid(error.at, error.why) from error
        except ValueError as error:
            raise audience_invalid("roaring", "is no 32-bit Roaring bitmap in the portable format") from error
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                time = self._clock().fromisoformat(earlier["update_time"])
                return CustomerList(**{**earlier, "update_time": time})
            kept = await self._store.put_list(tx, list_id, title, found, owner, self._clock())
            await idempotency.answer(tx, key, {**vars(kept), "update_time": kept.update_time.isoformat()})
            await tx.commit()
        return kept

    async def lists(self, after: str, size: int) -> list[CustomerList]:
        """Lists by id."""
        async with self._db.read() as read:
            return await self._store.lists(read, after, size)

    async def bitmap(self, expression: Expression) -> BitMap:
        """Who belongs to an expression that was checked when it was kept."""
        return members(expression, await self._prepared(expression))

    async def _members(
        self, asked: Asked, with_parts: bool = False
    ) -> tuple[Expression, BitMap, str, Sequence[PartCount]]:
        expression = self.understood(asked)
        source = await self._prepared(expression)
        try:
            counted = parts(expression, source) if with_parts else ()
            return expression, members(expression, source), source.index.run.run_id, counted
        except AudienceInvalid as error:
            raise audience_invalid(error.at, error.why) from error

    async def _prepared(self, *expressions: Expression) -> Prepared:
        try:
            return await self._indexes.prepare(*expressions)
        except AudienceInvalid as error:
            raise audience_invalid(error.at, error.why) from error

    def understood(self, asked: Asked) -> Expression:
        """The expression that is meant. Raises audience_invalid."""
        try:
            found = asked.expression or parse(asked.text, self._tags, self._names)
            check(found, self._tags)
            return found
        except AudienceInvalid as error:
            raise audience_invalid(error.at, error.why) from error

    def _check(self, expression: Expression) -> None:
        self.understood(Asked(expression))

    def _named(self, told: str) -> TagIs:
        code, _, value = told.partition("=")
        if code not in self._tags or (value and self._tags[code] and value not in self._tags[code]):
            raise tag_not_found(told)
        return TagIs(code, (value,) if value else ())

    async def _saved(self, read: Read, audience_id: str, version: int) -> SavedAudience:
        found = await self._store.saved(read, audience_id, version)
        if found is None:
            raise audience_not_found(audience_id)
        return found

    def _tags_of(self, keys: Sequence[int], sensitive: bool) -> dict[int, list[str]]:
        """The tags of some customers, by key; an enum tag as CODE=value."""
        chosen, found = BitMap(keys), {key: list[str]() for key in keys}
        tags = self._indexes.current.tags
        valued = {code for code, value in tags if value}
        for (code, value), bearers in sorted(tags.items()):
            plain = code == ORGANISATION or (not value and code in valued)
            if plain or (code in self._sensitive and not sensitive):
                continue
            for key in bearers & chosen:
                found[key].append(f"{code}={value}" if value else code)
        return found

    def _batch(self, keys: npt.NDArray[np.integer], sensitive: bool) -> pa.RecordBatch:
        tags = self._tags_of(keys.tolist(), sensitive)
        chosen, orgs = BitMap(keys), dict[int, str]()
        for (code, value), held in self._indexes.current.tags.items():
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


def _line(code: str, value: str, name: str, both: int, size: int, wide: int, base: int) -> Line:
    share, base_share = both / size if size else 0.0, wide / base if base else 0.0
    spread = math.sqrt(base_share * (1 - base_share) / size) if size else 0.0
    if both < SMALL_GROUP:
        return Line(code, value, name, 0, 0.0, base_share, 0.0)
    return Line(code, value, name, both, share, base_share, (share - base_share) / spread if spread else 0.0)


def _spread(found: BitMap, size: int) -> list[int]:
    """`size` members, those with the smallest hash of their key (Fibonacci hashing): the same ones each time."""
    keys = np.asarray(found.to_array(), dtype=np.uint64)
    if size >= len(keys):
        return [int(key) for key in keys]
    hashed = (keys * np.uint64(0x9E3779B97F4A7C15)) & np.uint64(0xFFFFFFFFFFFFFFFF)
    return sorted(int(key) for key in keys[np.argpartition(hashed, size)[:size]]) if size else []
