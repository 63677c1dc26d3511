"""Who bears which tag, in memory: loaded whole after each run, and swapped in one step."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import structlog
from pyroaring import BitMap, FrozenBitMap

from services.kit import domains
from services.kit.db import Database, Read
from services.kit.waiting import pause
from services.portrait.domain.audience import (
    AudienceInvalid,
    Everybody,
    Expression,
    FeatureBetween,
    Frozen,
    InSegment,
    Listed,
    Not,
    Saved,
    TagIs,
)
from services.portrait.domain.audience.expression import walk
from services.portrait.domain.run import LakeFile, Run
from services.portrait.lake import packing
from services.portrait.refusals import audience_not_found, index_loading
from services.portrait.store import Audiences, Runs
from services.portrait.store.audiences import EVERYBODY, ORGANISATION
from services.portrait.store.forgetting import Forgotten

_LOOK_SECONDS = 0.5
_MOST_FEATURES = 16
_MOST_LISTS = 32
_MOST_LEVELS = 16

Floats = npt.NDArray[np.float32]
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TagIndex:
    """The bitmaps of one run."""

    run: Run
    run_no: int
    everybody: FrozenBitMap
    tags: Mapping[tuple[str, str], FrozenBitMap]
    features: Sequence[LakeFile]

    def of(self, domain: frozenset[str]) -> FrozenBitMap:
        """The customers of some organisations."""
        held = (bearers for (code, org_id), bearers in self.tags.items() if code == ORGANISATION and org_id in domain)
        return FrozenBitMap(BitMap.union(BitMap(), *held))


@dataclass
class Prepared:
    """What one expression needs, fetched: a Source for the domain."""

    index: TagIndex
    known_features: Mapping[str, tuple[npt.NDArray[np.uint32], Floats]]
    audiences: dict[tuple[str, int], Expression] = field(default_factory=dict)
    ground: set[str] = field(default_factory=set)
    """What the members rest on: the run, and each list, segmentation and saved audience in its version."""
    lists: dict[tuple[str, str], BitMap] = field(default_factory=dict)
    within: FrozenBitMap | None = None
    """The customers of the caller's organisations, whom alone an expression can mean; None for all."""

    def everybody(self) -> FrozenBitMap:
        """Every customer of the run that may be seen."""
        return self.index.everybody if self.within is None else self.within

    def tag(self, code: str, value: str) -> FrozenBitMap:
        """Who bears a tag, or a value of it."""
        found = self.index.tags.get((code, value), FrozenBitMap())
        return found if self.within is None else FrozenBitMap(found & self.within)

    def feature(self, name: str, least: float | None, most: float | None) -> BitMap:
        """Who has a feature within bounds. Floats of 32 bits are compared as such, so that 0.1 is 0.1."""
        keys, values = self.known_features[name]
        low = np.float32(-np.inf if least is None else least)
        high = np.float32(np.inf if most is None else most)
        return BitMap(keys[(values >= low) & (values <= high)]) & self.everybody()  # without who was erased since

    def saved(self, audience_id: str, version: int) -> Expression:
        """A saved audience."""
        return self.audiences[audience_id, version]

    def listed(self, kind: str, list_id: str) -> BitMap:
        """A list or a frozen audience."""
        return self._seen(self.lists[kind, list_id])

    def _seen(self, found: BitMap) -> BitMap:
        return found if self.within is None else found & self.within


class Indexes:
    """The index that readers see. `run` keeps it up to date: it must be running for anything to be answered."""

    def __init__(self, db: Database, runs: Runs, audiences: Audiences) -> None:
        self._db = db
        self._runs = runs
        self._audiences = audiences
        self._current: TagIndex | None = None
        self._forgotten: frozenset[int] = frozenset()
        self._features: OrderedDict[tuple[int, str], tuple[npt.NDArray[np.uint32], Floats]] = OrderedDict()
        self._lists: OrderedDict[tuple[str, str, int], BitMap] = OrderedDict()
        self._segments: dict[str, tuple[str, BitMap]] = {}

    @property
    def loaded(self) -> bool:
        """Whether there is a current run."""
        return self._current is not None

    @property
    def current(self) -> TagIndex:
        """The index of the current run. Raises index_loading."""
        if self._current is None:
            raise index_loading()
        return self._current

    async def run(self, stop: asyncio.Event) -> None:
        """Load the bitmaps of each run that becomes the current one, until `stop`."""
        while not stop.is_set():
            await self.refresh()
            await pause(_LOOK_SECONDS, stop)

    async def refresh(self) -> None:
        """Load the current run, unless it is there; without those who were forgotten since."""
        async with self._db.read() as read:
            found, forgotten = await self._runs.current(read), await Forgotten().keys(read)
            known = self._current is not None and found is not None and self._current.run_no == found[0]
            if found is None or (known and forgotten == self._forgotten):
                return
            tags = await self._audiences.bitmaps(read, found[0])
            features = await self._runs.files(read, found[0], "features")
        if forgotten:
            gone = BitMap(forgotten)
            tags = {name: FrozenBitMap(bearers - gone) for name, bearers in tags.items()}
        everybody, self._forgotten = tags.pop((EVERYBODY, ""), FrozenBitMap()), forgotten
        self._current = TagIndex(found[1], found[0], everybody, tags, features)
        _log.info("tags_loaded", run_id=found[1].run_id, customers=len(everybody), tags=len(tags))

    async def prepare(self, *expressions: Expression) -> Prepared:
        """Fetch what expressions need. Raises audience_not_found, index_loading, AudienceInvalid."""
        index, domain = self.current, domains.current()
        found = Prepared(index, {}, within=index.of(domain) if domain is not None else None)
        features: dict[str, tuple[npt.NDArray[np.uint32], Floats]] = {}
        pending, level = list(expressions), 0
        while pending:
            parts = [part for expression in pending for _, _, part in walk(expression)]
            pending, level = [], level + 1
            if level > _MOST_LEVELS:
                raise AudienceInvalid("expression", f"saved audiences name each other more than {_MOST_LEVELS} deep")
            wanted = [part for part in parts if isinstance(part, Saved | Listed | Frozen | InSegment)]
            if any(isinstance(part, Everybody | TagIs | FeatureBetween | Not) for part in parts):
                found.ground.add(index.run.run_id)
            if wanted:
                async with self._db.read() as read:
                    for one in wanted:
                        await self._fetch(read, one, found, pending)
            for part in parts:
                if isinstance(part, FeatureBetween) and part.name not in features:
                    features[part.name] = await self._feature(index, part.name)
        found.known_features = features
        return found

    async def _fetch(
        self, read: Read, part: Saved | Listed | Frozen | InSegment, found: Prepared, pending: list[Expression]
    ) -> None:
        if isinstance(part, Saved):
            saved = await self._audiences.saved(read, part.audience_id, part.version)
            if saved is None:
                raise audience_not_found(part.audience_id)
            found.ground.add(f"saved {part.audience_id} {saved.version}")
            if found.audiences.setdefault((part.audience_id, part.version), saved.expression) is saved.expression:
                pending.append(saved.expression)
        elif isinstance(part, Listed):
            version = await self._audiences.list_version(read, part.list_id)
            if not version:
                raise audience_not_found(part.list_id)
            found.ground.add(f"list {part.list_id} {version}")
            key = ("list", part.list_id, version)
            if key not in self._lists:
                self._remember(key, await self._audiences.list_members(read, part.list_id))
            found.lists["list", part.list_id] = self._lists[key]
        elif isinstance(part, InSegment):
            with domains.whole():  # what is fetched is kept for other callers; each sees his own part of it
                async with self._db.read() as all_rows:
                    segment = await self._audiences.segment(all_rows, part.segment_id, self._segments)
            if segment is None:
                raise audience_not_found(part.segment_id)
            found.ground.add(f"segment {segment[0]}")
            self._segments[part.segment_id] = segment
            found.lists["segment", part.segment_id] = segment[1]
        else:
            key = ("frozen", part.frozen_id, 0)
            if key not in self._lists:
                members = await self._audiences.frozen_members(read, part.frozen_id)
                if members is None:
                    raise audience_not_found(part.frozen_id)
                self._remember(key, members)
            found.lists["frozen", part.frozen_id] = self._lists[key]

    def _remember(self, key: tuple[str, str, int], members: BitMap) -> None:
        self._lists[key] = members
        while len(self._lists) > _MOST_LISTS:
            self._lists.popitem(last=False)

    async def _feature(self, index: TagIndex, name: str) -> tuple[npt.NDArray[np.uint32], Floats]:
        key = (index.run_no, name)
        if key not in self._features:
            self._features[key] = await asyncio.to_thread(packing.feature, index.features, name)
            while len(self._features) > _MOST_FEATURES:
                self._features.popitem(last=False)
        return self._features[key]
