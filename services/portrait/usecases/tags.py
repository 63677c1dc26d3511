"""The life of a tag: versions as data, two approvals, publication, retirement; a trial; what a customer was."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from services.kit import idempotency, operations, outbox
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.idempotency import RequestKey
from services.portrait.domain.calendar import Window, WorkCalendar
from services.portrait.domain.run import LakeFile, Run, TagValue
from services.portrait.domain.tag import Catalogue, CatalogueInvalid, Tag, judge, looked_at, parse
from services.portrait.lake import ResultReader, trial
from services.portrait.refusals import (
    customer_not_found,
    run_not_found,
    run_not_held,
    tag_invalid,
    tag_not_approved,
    tag_not_found,
    tag_version_closed,
)  # fmt: skip
from services.portrait.store.runs import Runs
from services.portrait.store.tags import Approval, Tags, TagVersion
from services.portrait.usecases.compute import PUBLISHED, event_of
from services.portrait.usecases.shelf import Shelf

ASPECTS = ("MINING", "BUSINESS")
_MOST = 2**31 - 1
_FACTS = ("stats", "dwell", "anchors", "attendance", "tags")


@dataclass(frozen=True)
class Count:
    """What one value of a definition would give, and how that differs from what is live."""

    value: str
    customers: int
    live_customers: int
    gained: int
    lost: int


class TagDesk:
    """Tags as data, and the runs that were computed with them."""

    def __init__(
        self, db: Database, tags: Tags, runs: Runs, shelf: Shelf, calendar: WorkCalendar, zone: str, clock: Clock
    ) -> None:
        self._db = db
        self._tags = tags
        self._runs = runs
        self._shelf = shelf
        self._calendar = calendar
        self._zone = zone
        self._clock = clock
        self._results = ResultReader()

    async def get(self, code: str) -> tuple[Tag, Catalogue, int, TagVersion | None]:
        """A tag in force, its catalogue, its bearers in the current run, and its version if it was made by RPC.

        Raises tag_not_found.
        """
        async with self._db.read() as read:
            catalogue, _ = await self._shelf.in_force(read)
            tag = next((each for each in catalogue.tags if each.code == code), None)
            if tag is None:
                raise tag_not_found(code)
            current = await self._runs.current(read)
            counts = await self._runs.tag_counts(read, current[0]) if current is not None else {}
            made = await self._tags.get(read, code, tag.version)
        return tag, catalogue, counts.get(code, 0), made

    async def create(self, definition: str, author: str, note: str, key: RequestKey) -> TagVersion:
        """Make the next version of a tag, in review. Raises tag_invalid, request_id_reused."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._known(await self._tags.get(tx, earlier["code"], earlier["version"]), "")
            entry = self._entry(definition)
            shipped = {tag.code: tag.version for tag in self._shelf.latest.tags}
            code = str(entry["code"])
            version = max(await self._tags.latest_version(tx, code), shipped.get(code, 0)) + 1
            entry = {**entry, "version": version, "status": "active"}
            await self._checked(tx, entry)
            made = TagVersion(code, version, "REVIEW", entry, author, note, self._clock())
            await self._tags.put(tx, made)
            await idempotency.answer(tx, key, {"code": code, "version": version})
            await tx.commit()
        return made

    async def approve(
        self, code: str, version: int, aspect: str, approver: str, note: str, key: RequestKey
    ) -> TagVersion:
        """Approve one aspect of a version in review. Raises tag_not_found, tag_version_closed, tag_not_approved."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            known = await self._known(await self._tags.for_update(tx, code, version), code)
            if earlier is not None:
                return known
            if known.state != "REVIEW":
                raise tag_version_closed(code, known.state)
            if known.definition.get("approval") == "four_eyes" and approver == known.author:
                raise tag_not_approved(aspect.lower())
            await self._tags.approve(tx, code, version, Approval(aspect, approver, note, self._clock()))
            await operations.record(tx, "portrait.ApproveTagVersion", f"{code}/{version}", aspect=aspect)
            await idempotency.answer(tx, key, {"code": code, "version": version})
            found = await self._known(await self._tags.get(tx, code, version), code)
            await tx.commit()
        return found

    async def publish(self, code: str, version: int, key: RequestKey) -> TagVersion:
        """Put a version in force. Raises tag_not_found, tag_version_closed, tag_not_approved, tag_invalid."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            known = await self._known(await self._tags.for_update(tx, code, version), code)
            if earlier is not None:
                return known
            if known.state != "REVIEW":
                raise tag_version_closed(code, known.state)
            _gate(known)
            await self._checked(tx, known.definition)
            await self._tags.move(tx, code, version, "ACTIVE")
            await operations.record(tx, "portrait.PublishTagVersion", f"{code}/{version}")
            await idempotency.answer(tx, key, {"code": code, "version": version})
            found = await self._known(await self._tags.get(tx, code, version), code)
            await tx.commit()
        return found

    async def retire(self, code: str, author: str, note: str, key: RequestKey) -> TagVersion:
        """Give a tag up. Raises tag_not_found, and tag_invalid when another tag looks at it."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._known(await self._tags.get(tx, code, earlier["version"]), code)
            catalogue, document = await self._shelf.in_force(tx)
            tag = next((each for each in catalogue.tags if each.code == code), None)
            if tag is None:
                raise tag_not_found(code)
            entry = next(each for each in document["tags"] if each["code"] == code)
            rest = {**document, "tags": [each for each in document["tags"] if each["code"] != code]}
            _parsed(rest)
            version = await self._tags.latest_version(tx, code)
            if version < tag.version:  # a shipped one: the retired version stands in its place
                version = tag.version
                await self._tags.put(tx, TagVersion(code, version, "RETIRED", entry, author, note, self._clock()))
            else:
                await self._tags.move(tx, code, tag.version, "RETIRED")
                version = tag.version
            await idempotency.answer(tx, key, {"version": version})
            found = await self._known(await self._tags.get(tx, code, version), code)
            await tx.commit()
        return found

    async def versions(self, code: str, before: int | None, size: int) -> list[TagVersion]:
        """A page of versions made by RPC, the latest first."""
        async with self._db.read() as read:
            return await self._tags.page(read, code, before or _MOST, size)

    async def count(self, definition: str) -> tuple[list[Count], int, str, bool]:
        """What a definition would give over the current run's facts: counts by value, customers, run, within its band.

        Raises tag_invalid, run_not_found.
        """
        entry = {**self._entry(definition), "status": "active"}
        async with self._db.read() as read:
            current = await self._runs.current(read)
            if current is None:
                raise run_not_found("")
            catalogue = await self._checked(read, entry)
            files = {name: await self._runs.files(read, current[0], name) for name in (*_FACTS, "places")}
        if not files["stats"] or not files["places"]:
            raise run_not_found(current[1].run_id)
        code = str(entry["code"])
        counts, base = await asyncio.to_thread(self._tried, looked_at(catalogue, code), code, current[1], files)
        tag = next(each for each in catalogue.tags if each.code == code)
        share = sum(each.customers for each in counts) / max(base, 1)
        within = tag.expect is None or tag.expect[0] <= share <= tag.expect[1]
        return counts, base, current[1].run_id, within

    async def history(
        self, customer_key: int, purpose: str, caller: str, as_of: date | None
    ) -> tuple[list[tuple[Run, TagValue]], str]:
        """What a customer was tagged, by run, the latest first, and the current run, whose change means that there may
        be other runs to tell of; the look is audited first.

        Raises run_not_found, customer_not_found.
        """
        async with self._db.begin() as tx:
            current = await self._runs.current(tx)
            org_id = await self._runs.org_of(tx, current[0], customer_key) if current is not None else None
            if current is None or org_id is None:
                raise customer_not_found(customer_key)
            await self._runs.put_audit(
                tx, now=self._clock(), caller=caller, customer_key=customer_key, org_id=org_id, purpose=purpose
            )
            runs = await self._runs.as_of(tx, as_of)
            files = [(run, await self._runs.files(tx, run_no, "tags")) for run_no, run in runs]
            await tx.commit()
        told = []
        for run, each in files:
            mine = next((file for file in each if file.bucket == customer_key % len(each)), None)
            tags = await asyncio.to_thread(self._results.tags_of, mine, customer_key) if mine else []
            told += [(run, tag) for tag in tags]
        return told, current[1].run_id

    async def runs(self, before: int | None, size: int) -> list[tuple[int, Run]]:
        """A page of runs, the latest first, with their numbers."""
        async with self._db.read() as read:
            return await self._runs.page(read, before, size)

    async def release(self, run_id: str, key: RequestKey) -> Run:
        """Let readers see a held run, unless they see a later one by now. Raises run_not_found, run_not_held."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            found = await self._runs.by_id(tx, run_id)
            if found is None:
                raise run_not_found(run_id)
            if earlier is not None:
                return found[1]
            if not found[1].held:
                raise run_not_held(run_id)
            await self._runs.release(tx, found[0])
            if await self._runs.make_current(tx, found[0]):
                await outbox.put(tx, PUBLISHED, run_id, event_of(found[1]))
            await idempotency.answer(tx, key, {"run_id": run_id})
            released = await self._runs.by_id(tx, run_id)
            assert released is not None
            await tx.commit()
        return released[1]

    def _tried(
        self, catalogue: Catalogue, code: str, run: Run, files: Mapping[str, Sequence[LakeFile]]
    ) -> tuple[list[Count], int]:
        """Counts of one tag over all buckets of a run."""
        window = Window(run.from_date, run.to_date, self._zone)
        places, ranks = trial.read_places(files["places"][0]), trial.ranks_of(files["stats"], catalogue)
        sums: dict[str, list[int]] = {}
        customers = 0
        for bucket, _ in enumerate(files["stats"]):
            mine = {name: files[name][bucket] for name in _FACTS}
            facts, key = trial.read_facts(mine, places, catalogue, window, self._calendar, ranks)
            customers += len(key)
            would = {each.value: set(key[each.bearers].tolist()) for each in judge(catalogue, facts)
                     if each.tag.code == code}  # fmt: skip
            live = self._results.bearers_of(mine["tags"], code)
            for value in {*would, *live}:
                new, old = would.get(value, set()), live.get(value, set())
                told = (len(new), len(old), len(new - old), len(old - new))
                sums[value] = [a + b for a, b in zip(sums.get(value, [0] * 4), told, strict=True)]
        return [Count(value, *each) for value, each in sorted(sums.items())], customers

    def _entry(self, definition: str) -> dict[str, Any]:
        try:
            entry = yaml.safe_load(definition)
            if not isinstance(entry, dict) or not isinstance(entry.get("code"), str):
                raise tag_invalid("definition.code", "expected a mapping with a code")
            plain = json.dumps(entry, default=str, allow_nan=False)
        except RecursionError as error:
            raise tag_invalid("definition", "lies too deep") from error
        except (yaml.YAMLError, ValueError, TypeError) as error:  # no date, no finite number, a part of itself, …
            raise tag_invalid("definition", " ".join(str(error).split())) from error
        return dict(json.loads(plain))

    async def _checked(self, read: Any, entry: Mapping[str, Any]) -> Catalogue:
        changed = await self._tags.in_force(read)
        return _parsed(self._shelf.document_with(changed, entry))

    async def _known(self, found: TagVersion | None, code: str) -> TagVersion:
        if found is None:
            raise tag_not_found(code)
        return found


def _parsed(document: Mapping[str, Any]) -> Catalogue:
    try:
        return parse(document)
    except CatalogueInvalid as error:
        raise tag_invalid(error.path, str(error).removeprefix(f"{error.path}: ")) from error


def _gate(known: TagVersion) -> None:
    """The author says what makes sense of it, and both aspects are approved on stated grounds; those of a four-eyes
    tag by two people, neither of them the author."""
    if not known.note.strip():
        raise tag_not_approved("common sense")
    given = {each.aspect: each.approver for each in known.approvals if each.note.strip()}
    for aspect in ASPECTS:
        if aspect not in given:
            raise tag_not_approved(aspect.lower())
    if known.definition.get("approval") == "four_eyes" and len({*given.values(), known.author}) < 1 + len(ASPECTS):
        raise tag_not_approved("the second pair of eyes")
