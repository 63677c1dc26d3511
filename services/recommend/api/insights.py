"""Samples, forecasts, priorities, unmet needs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import grpc.aio
from google.type.date_pb2 import Date

from lifecircle.recommend import v1
from services.kit import paging
from services.recommend.api import cells
from services.recommend.usecases import Insights
from services.recommend.usecases.insights import Priority, Unmet

Context = grpc.aio.ServicerContext[Any, Any]

_READERS = frozenset({"viewer", "operator", "service"})
RIGHTS: Mapping[str, frozenset[str]] = {
    "GetSample": frozenset({"operator", "service"}),
    "GetForecast": _READERS,
    "ListPriorities": _READERS,
    "ListUnmetNeeds": _READERS,
}


@dataclass(frozen=True)
class InsightsApi:
    """The methods that analysts ask."""

    insights: Insights

    async def GetSample(self, request: v1.GetSampleRequest, context: Context) -> v1.GetSampleResponse:
        """A stratified sample."""
        found = await self.insights.sample(request.size, request.seed, request.column)
        return v1.GetSampleResponse(
            customer_keys=found.keys,
            strata=[v1.Stratum(**asdict(each)) for each in found.strata],
            estimates=[v1.Estimate(**asdict(each)) for each in found.estimates],
            run_id=found.run_id,
        )

    async def GetForecast(self, request: v1.GetForecastRequest, context: Context) -> v1.GetForecastResponse:
        """A forecast with its back-test."""
        days, known, found = await self.insights.forecast(request.product_id, request.days)
        told = v1.GetForecastResponse(history=[_point(*each) for each in zip(days, known, known, known, strict=True)])
        if found is not None:
            ahead = [days[-1] + timedelta(days=number) for number in range(1, len(found.expected) + 1)]
            rows = zip(ahead, found.expected, found.low, found.high, strict=True)
            told.forecast.extend(_point(*each) for each in rows)
            told.backtests.extend(v1.Backtest(**asdict(each)) for each in found.backtests)
        return told

    async def ListPriorities(self, request: v1.ListPrioritiesRequest, context: Context) -> v1.ListPrioritiesResponse:
        """Products by expected gain."""
        size, (asked, after) = paging.clamp(request.page_size), cells.place(request.page_token, request.matrix_id)
        matrix_id, found = await self.insights.priorities(asked)
        rest = found[after:]
        return v1.ListPrioritiesResponse(
            priorities=[_priority(rank, each) for rank, each in enumerate(rest[:size], after + 1)],
            matrix_id=matrix_id,
            next_page_token=cells.next_place(rest, size, matrix_id, after),
        )

    async def ListUnmetNeeds(self, request: v1.ListUnmetNeedsRequest, context: Context) -> v1.ListUnmetNeedsResponse:
        """Circles and products in which more is wanted."""
        size, (asked, after) = paging.clamp(request.page_size), cells.place(request.page_token, request.matrix_id)
        matrix_id, found = await self.insights.unmet(asked, request.circle)
        rest = found[after:]
        return v1.ListUnmetNeedsResponse(
            needs=[_need(rank, each) for rank, each in enumerate(rest[:size], after + 1)],
            matrix_id=matrix_id,
            next_page_token=cells.next_place(rest, size, matrix_id, after),
        )


def _need(rank: int, each: Unmet) -> v1.UnmetNeed:
    need, product = each.need, each.product
    return v1.UnmetNeed(
        circle=need.circle,
        circle_name=each.circle_name,
        product_id=need.product_id,
        product_name=product.name,
        rank=rank,
        members=need.members,
        holders=each.holders,
        customers=need.customers,
        chance=need.chance,
        usual_chance=need.usual,
        lift=need.lift,
        extra_openings=need.extra,
        extra_gain_fen=each.gain_fen,
        bundled_product_ids=product.terms.bundled_product_ids if product.terms else (),
    )


def _priority(rank: int, each: Priority) -> v1.Priority:
    return v1.Priority(
        product_id=each.product_id,
        name=each.name,
        rank=rank,
        customers=each.customers,
        chance=each.chance,
        learned_from_contacts=each.learned,
        worth_fen=each.worth_fen,
        expected_gain_fen=each.gain_fen,
    )


def _point(day: date, openings: float, low: float, high: float) -> v1.ForecastPoint:
    told = Date(year=day.year, month=day.month, day=day.day)
    return v1.ForecastPoint(date=told, openings=openings, low=low, high=high)
