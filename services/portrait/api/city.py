"""The RPCs of the city, its map, one customer's track, and the feature catalogue."""

from datetime import UTC, datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.portrait import v1
from services.kit import idempotency, paging
from services.kit.interceptors import caller
from services.portrait.api import translate
from services.portrait.api.tags import position, stamp
from services.portrait.domain.wide import Item
from services.portrait.lake.city import VisitLine
from services.portrait.store.city import Area, PlaceVersion, Task
from services.portrait.usecases.city import CityDesk
from services.portrait.usecases.timing import Advice, TimingDesk

Context = grpc.aio.ServicerContext[Any, Any]

_TIMES = 3


class CityRpcs:
    """What PortraitApi answers about places, tracks and crowds."""

    _city: CityDesk
    _timing: TimingDesk

    async def ListTrack(self, request: v1.ListTrackRequest, context: Context) -> v1.ListTrackResponse:
        """A page of one customer's visits, audited."""
        of, size = f"ListTrack {request.customer_key}", paging.clamp(request.page_size)
        after = position(request.page_token, of) or 0
        span = _instant(request, "from_time"), _instant(request, "to_time")
        lines, run_id = await self._city.track(request.customer_key, request.purpose, caller().subject, span)
        page = lines[after : after + size]
        token = translate.token_within(run_id, request.page_token, of, str(after + size), len(page) == size)
        return v1.ListTrackResponse(visits=map(_visit, page), next_page_token=token)

    async def ListDwellAreas(self, request: v1.ListDwellAreasRequest, context: Context) -> v1.ListDwellAreasResponse:
        """A page of the city's main dwell areas."""
        chosen = (request.day_type, request.slot, request.class_selector, request.town)
        of, size = f"ListDwellAreas {chosen}", paging.clamp(request.page_size)
        after = position(request.page_token, of) or 0
        found, run_id = await self._city.areas(chosen, after, size)
        token = translate.token_within(run_id, request.page_token, of, str(after + size), len(found) == size)
        return v1.ListDwellAreasResponse(areas=map(_area, found), next_page_token=token)

    async def GetCrowd(self, request: v1.GetCrowdRequest, context: Context) -> v1.GetCrowdResponse:
        """Peaks and troughs of a class of places."""
        hours = await self._city.crowd(request.class_selector, request.day_type)
        told = [
            v1.CrowdHour(hour=hour, people=people, peak=peak, trough=trough)
            for hour, (people, peak, trough) in enumerate(hours)
        ]
        return v1.GetCrowdResponse(hours=told)

    async def BatchGetContactTimes(
        self, request: v1.BatchGetContactTimesRequest, context: Context
    ) -> v1.BatchGetContactTimesResponse:
        """When and through which channel some customers are best contacted."""
        found = await self._timing.advise(request.customer_keys, request.times or _TIMES)
        who = caller()
        return v1.BatchGetContactTimesResponse(customers=[_advice(each) for each in found if who.sees(each.org_id)])

    async def ListPlaceClasses(
        self, request: v1.ListPlaceClassesRequest, context: Context
    ) -> v1.ListPlaceClassesResponse:
        """A page of the class tree."""
        of, size = "ListPlaceClasses", paging.clamp(request.page_size)
        found, run_id = await self._city.classes(translate.page_after(request.page_token, of), size)
        last = found[-1][0] if found else ""
        token = translate.token_within(run_id, request.page_token, of, last, len(found) == size)
        told = [v1.PlaceClass(class_code=code, names=names, places=places) for code, names, places in found]
        return v1.ListPlaceClassesResponse(classes=told, next_page_token=token)

    async def ListPlaceTasks(self, request: v1.ListPlaceTasksRequest, context: Context) -> v1.ListPlaceTasksResponse:
        """A page of what the map lacks."""
        of, size = "ListPlaceTasks", paging.clamp(request.page_size)
        after = position(request.page_token, of) or 0
        found, run_id = await self._city.tasks(after, size)
        token = translate.token_within(run_id, request.page_token, of, str(after + size), len(found) == size)
        return v1.ListPlaceTasksResponse(tasks=map(_task, found), next_page_token=token)

    async def ClassifyPlace(self, request: v1.ClassifyPlaceRequest, context: Context) -> v1.ClassifyPlaceResponse:
        """A class given to a place."""
        key, day = idempotency.key_of(request, context), translate.day(request.from_date, "from_date")
        made = await self._city.classify(request.place_id, request.class_code, day, caller().subject, request.note, key)
        return v1.ClassifyPlaceResponse(version=_place_version(made))

    async def ListPlaceVersions(
        self, request: v1.ListPlaceVersionsRequest, context: Context
    ) -> v1.ListPlaceVersionsResponse:
        """A page of the classes given to a place."""
        of, size = f"ListPlaceVersions {request.place_id}", paging.clamp(request.page_size)
        found = await self._city.versions(request.place_id, position(request.page_token, of), size)
        token = translate.next_token(of, str(found[-1].version) if found else "", len(found) == size)
        return v1.ListPlaceVersionsResponse(versions=map(_place_version, found), next_page_token=token)

    async def ListFeatures(self, request: v1.ListFeaturesRequest, context: Context) -> v1.ListFeaturesResponse:
        """A page of the feature catalogue."""
        of, size = f"ListFeatures {request.type}", paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, of)
        found = self._city.features(request.type, after, size)
        token = translate.next_token(of, found[-1].name if found else "", len(found) == size)
        book = self._city.book
        entries = [v1.PortraitEntry(field=field, catalogue=catalogue, entry=entry)
                   for field, (catalogue, entry) in book.portrait.items() if not after]  # fmt: skip
        return v1.ListFeaturesResponse(
            features=map(_feature, found), next_page_token=token, catalogue_version=book.version, portrait=entries
        )


def _advice(known: Advice) -> v1.ContactTimes:
    return v1.ContactTimes(
        customer_key=known.customer_key,
        times=[v1.ContactTime(**vars(each)) for each in known.times],
        channels=[v1.ContactChannel(**vars(each)) for each in known.channels],
    )


def _instant(request: v1.ListTrackRequest, name: str) -> datetime | None:
    told: Timestamp = getattr(request, name)
    return told.ToDatetime(tzinfo=UTC) if request.HasField(name) else None  # type: ignore[arg-type]


def _visit(line: VisitLine) -> v1.Visit:
    start, end = Timestamp(), Timestamp()
    start.FromMilliseconds(line.start)
    end.FromMilliseconds(line.end)
    return v1.Visit(
        place_id=line.place_id,
        place_name=line.place_name,
        place_class=line.place_class,
        town=line.town,
        start_time=start,
        end_time=end,
    )


def _area(known: Area) -> v1.DwellArea:
    return v1.DwellArea(
        place_id=known.place_id,
        place_name=known.place_name,
        place_class=known.place_class,
        town=known.town,
        customers=known.customers,
        dwell_seconds=known.secs,
    )


def _task(known: Task) -> v1.PlaceTask:
    return v1.PlaceTask(
        kind=v1.PlaceTask.Kind.Value(f"KIND_{known.kind}"),
        place_id=known.place_id,
        cell_id=known.cell_id,
        traffic=known.traffic,
        read_as=known.read_as,
        kilometres=known.kilometres,
    )


def _place_version(known: PlaceVersion) -> v1.PlaceVersion:
    return v1.PlaceVersion(
        place_id=known.place_id,
        version=known.version,
        class_code=known.class_code,
        from_date=translate.to_date(known.from_date),
        author=known.author,
        note=known.note,
        create_time=stamp(known.create_time),
    )


def _feature(known: Item) -> v1.Feature:
    return v1.Feature(
        name=known.name,
        type=known.type,
        definition=known.definition,
        raw=known.raw,
        derivation=known.derivation,
        source=known.source,
        owner=known.owner,
        refresh=known.refresh,
        unit=known.unit,
        path=known.path,
    )
