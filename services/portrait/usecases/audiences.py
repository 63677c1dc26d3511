"""What callers ask of audiences: count, save, freeze, page, export, profile, overlap, lists."""

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from services.kit import idempotency, operations
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.portrait.domain.audience import (
    MOST_LIST,
    AllOf,
    AnyOf,
    AudienceInvalid,
    Everybody,
    Expression,
    FeatureBetween,
    Not,
    Saved,
    TagIs,
    bitmap_of,
    check,
    members,
    parse,
    parts,
)
from services.portrait.domain.audience import text as readable
from services.portrait.domain.audience.evaluation import PartCount, overlaps
from services.portrait.domain.audience.expression import walk
from services.portrait.domain.tag import Catalogue
from services.portrait.refusals import audience_invalid, audience_not_found, audience_sensitive, tag_not_found
from services.portrait.store import Audiences
from services.portrait.store.audiences import CustomerList, FrozenAudience, SavedAudience
from services.portrait.usecases.index import Indexes, Prepared
from services.portrait.usecases.roster import arrow, tags_of

SMALL_GROUP = 10
_OF_TAG = "tag_"
_LAST_KEY = 2**32 - 1


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
class Members:
    """A page of members by key, each with his tags."""

    rows: Sequence[tuple[int, Sequence[str]]]
    run_id: str
    ground: str
    """A digest of what membership rests on; the same "" always for frozen audiences, which never change."""


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
    """Audiences over the index of the current run.

    `sensitive` says whether a caller may see sensitive tags. Who may not, may not name them either, nor a saved
    audience that does: its members would tell him.
    """

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

    async def count(self, asked: Asked, sample: int, *, spread: bool, with_parts: bool, sensitive: bool) -> Counted:
        """How many belong to it, and `sample` of them: the first by key, or spread over all by a hash of the key."""
        expression, source, found = await self._members(asked, sensitive)
        counted = parts(expression, source) if with_parts else ()
        some = _spread(found, sample) if spread else found[:sample].to_array().tolist() if sample else []
        return Counted(expression, readable(expression), source.index.run.run_id, len(found), some, counted)

    async def count_tags(
        self, all_of: Sequence[str], none_of: Sequence[str], sample: int, *, sensitive: bool
    ) -> Counted:
        """The same for two lists of tags (`CODE` or `CODE=value`). Raises tag_not_found."""
        wanted = [self._named(each) for each in dict.fromkeys(all_of)]
        unwanted = [Not(self._named(each)) for each in dict.fromkeys(none_of)]
        told: tuple[Expression, ...] = (*wanted, *unwanted)
        asked = Asked(AllOf(told) if told else Everybody())
        return await self.count(asked, sample, spread=False, with_parts=False, sensitive=sensitive)

    async def save(
        self, audience_id: str, title: str, asked: Asked, owner: str, key: RequestKey, *, sensitive: bool
    ) -> SavedAudience:
        """Keep a new version, unless nothing changed. What it names must be there, and it may not name itself."""
        expression = await self.sound(asked, sensitive=sensitive)
        named = await self._named_by(expression)
        if (audience_id, 0) in named:
            raise audience_invalid(
                "expression", f"{audience_id} names itself, so that nobody could say who belongs to it"
            )
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

    async def freeze(
        self, asked: Asked, purpose: str, owner: str, key: RequestKey, *, sensitive: bool
    ) -> FrozenAudience:
        """Keep who belongs to it now."""
        expression, source, found = await self._members(asked, sensitive)
        run_id, now = source.index.run.run_id, self._clock()
        frozen = FrozenAudience(self._ids(), readable(expression), run_id, len(found), purpose, now)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return FrozenAudience(**{**earlier, "create_time": now.fromisoformat(earlier["create_time"])})
            await self._store.freeze(tx, frozen, owner, found)
            await idempotency.answer(tx, key, {**vars(frozen), "create_time": now.isoformat()})
            await tx.commit()
        return frozen

    async def members(self, asked: Asked, after: int, size: int, with_tags: bool, sensitive: bool) -> Members:
        """A page of members by key, behind `after`."""
        _, source, found = await self._members(asked, sensitive)
        first = found.rank(min(after, _LAST_KEY))
        keys = found[first : first + size].to_array().tolist()
        tags = tags_of(source.index, keys, () if sensitive else self._sensitive) if with_tags else {}
        ground = hashlib.sha256("\n".join(sorted(source.ground)).encode()).hexdigest()[:16] if source.ground else ""
        return Members([(key, tags.get(key, [])) for key in keys], source.index.run.run_id, ground)

    async def export(
        self, asked: Asked, purpose: str, caller: str, sensitive: bool
    ) -> AsyncIterator[tuple[bytes, int, str]]:
        """The members with organisation and tags as parts of one Arrow IPC stream; audited before the first."""
        expression, source, found = await self._members(asked, sensitive)
        async with self._db.begin() as tx:
            what = f"audience {readable(expression)}"
            await self._store.audit(
                tx, now=self._clock(), caller=caller, what=what, customers=len(found), purpose=purpose
            )
            await operations.record(tx, "portrait.ExportAudience", what, customers=len(found), purpose=purpose)
            await tx.commit()
        async for part, rows in arrow(source.index, found, () if sensitive else self._sensitive):
            yield part, rows, source.index.run.run_id

    async def profile(
        self, asked: Asked, base: Expression | None, most: int, *, sensitive: bool
    ) -> tuple[int, int, list[Line], str]:
        """How the audience differs from the base, tag by tag, the farthest first. Small groups are not shown."""
        expression, against = self.understood(asked), self.understood(Asked(base or Everybody()))
        source = await self._prepared(expression, against, sensitive=sensitive)
        inside, outside = _found(expression, source), _found(against, source)
        lines = []
        for (code, value), bearers in source.index.tags.items():
            if code in self._titles and (sensitive or code not in self._sensitive):
                both, wide = inside.intersection_cardinality(bearers), outside.intersection_cardinality(bearers)
                lines.append(_line(code, value, self._titles[code], both, len(inside), wide, len(outside)))
        lines.sort(key=lambda line: (-abs(line.z), line.code, line.value))
        return len(inside), len(outside), lines[:most], source.index.run.run_id

    async def overlap(
        self, expressions: Sequence[Expression], *, sensitive: bool
    ) -> tuple[list[int], Mapping[tuple[int, int], int], int, int]:
        """The sizes, how many stand in both of every two, in any, in all."""
        told = [self.understood(Asked(expression)) for expression in expressions]
        source = await self._prepared(*told, sensitive=sensitive)
        found = [_found(expression, source) for expression in told]
        every, some = _found(AllOf(tuple(told)), source), _found(AnyOf(tuple(told)), source)
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
        if len(found) > MOST_LIST:
            raise audience_invalid("roaring", f"has {len(found)} customers, more than {MOST_LIST}")
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
        return _found(expression, await self._prepared(expression))

    async def sound(self, asked: Asked, *, sensitive: bool) -> Expression:
        """The expression that is meant, for keeping: what it names is there, as far as a run can tell yet. Raises
        audience_invalid, audience_not_found."""
        expression = self.understood(asked)
        if self._indexes.loaded:
            await self._prepared(expression, sensitive=sensitive)
        return expression

    async def _members(self, asked: Asked, sensitive: bool) -> tuple[Expression, Prepared, BitMap]:
        expression = self.understood(asked)
        source = await self._prepared(expression, sensitive=sensitive)
        return expression, source, _found(expression, source)

    async def _prepared(self, *expressions: Expression, sensitive: bool = True) -> Prepared:
        try:
            source = await self._indexes.prepare(*expressions)
        except AudienceInvalid as error:
            raise audience_invalid(error.at, error.why) from error
        for expression in () if sensitive else (*expressions, *source.audiences.values()):
            for _, _, part in walk(expression):
                code = part.code if isinstance(part, TagIs) else part.name if isinstance(part, FeatureBetween) else ""
                if code.removeprefix(_OF_TAG) in self._sensitive:
                    raise audience_sensitive(code.removeprefix(_OF_TAG))
        return source

    async def _named_by(self, expression: Expression) -> set[tuple[str, int]]:
        """The saved audiences that it names, and those that these name."""
        found: set[tuple[str, int]] = set()
        pending = [expression]
        async with self._db.read() as read:
            while pending:
                named = {
                    (part.audience_id, part.version) for _, _, part in walk(pending.pop()) if isinstance(part, Saved)
                }
                for key in named - found:
                    saved = await self._store.saved(read, *key)
                    pending += [saved.expression] if saved is not None else []
                found |= named
        return found

    def understood(self, asked: Asked) -> Expression:
        """The expression that is meant. Raises audience_invalid."""
        try:
            found = asked.expression or parse(asked.text, self._tags, self._names)
            check(found, self._tags)
            return found
        except AudienceInvalid as error:
            raise audience_invalid(error.at, error.why) from error

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


def _found(expression: Expression, source: Prepared) -> BitMap:
    try:
        return members(expression, source)
    except AudienceInvalid as error:
        raise audience_invalid(error.at, error.why) from error


def _line(code: str, value: str, name: str, both: int, size: int, wide: int, base: int) -> Line:
    share, base_share = both / size if size else 0.0, wide / base if base else 0.0
    spread = math.sqrt(base_share * (1 - base_share) / size) if size else 0.0
    if both < SMALL_GROUP or wide < SMALL_GROUP:
        return Line(code, value, name, 0, 0.0, base_share if wide >= SMALL_GROUP else 0.0, 0.0)
    return Line(code, value, name, both, share, base_share, (share - base_share) / spread if spread else 0.0)


def _spread(found: BitMap, size: int) -> list[int]:
    """`size` members, those with the smallest hash of their key (Fibonacci hashing): the same ones each time."""
    keys = np.asarray(found.to_array(), dtype=np.uint64)
    if size >= len(keys):
        return [int(key) for key in keys]
    hashed = (keys * np.uint64(0x9E3779B97F4A7C15)) & np.uint64(0xFFFFFFFFFFFFFFFF)
    return sorted(int(key) for key in keys[np.argpartition(hashed, size)[:size]]) if size else []
