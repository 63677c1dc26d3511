"""TM Forum's TMF680 over RecommendService: the same answers under the published names; a partner's without identity."""

from dataclasses import dataclass
from typing import Any

import grpc.aio

from lifecircle.recommend import v1
from services.kit.interceptors import Rights

Context = grpc.aio.ServicerContext[Any, Any]

_READERS = frozenset({"viewer", "operator", "service"})
RIGHTS: Rights = {
    "GetQueryProductRecommendation": _READERS,
    "GetPartnerRecommendation": frozenset({"partner", "operator"}),
}
"""Who may call what; whoever is only a partner may call nothing else of the platform."""

SMALLEST = 10
"""A circle of fewer customers is not told of to a partner: its rates would be about somebody."""

_PATH = "/tmf-api/recommendationManagement/v4"


def register(api: v1.RecommendServiceServicer, server: grpc.aio.Server) -> None:
    """Adds `api` and its facade to a server."""
    v1.add_RecommendServiceServicer_to_server(api, server)
    v1.add_Tmf680ServiceServicer_to_server(Tmf680Api(api), server)


@dataclass(frozen=True)
class Tmf680Api(v1.Tmf680ServiceServicer):
    """The servicer of Tmf680Service; it asks RecommendService and renames."""

    api: v1.RecommendServiceServicer

    async def GetQueryProductRecommendation(
        self, request: v1.GetQueryProductRecommendationRequest, context: Context
    ) -> v1.GetQueryProductRecommendationResponse:
        """One customer's recommendation."""
        asked = v1.RecommendRequest(customer_key=int(request.id), most=request.limit)
        answer = await self.api.Recommend(asked, context)
        told = v1.GetQueryProductRecommendationResponse(
            **_head("queryProductRecommendation", request.id), recommendation_type="nextBestProduct"
        )
        told.related_party.id, told.related_party.role, told.related_party.referred_type = (
            request.id, "customer", "Customer",
        )  # fmt: skip
        told.recommendation_item.extend(_item(each.rank, each.product_id, each.name) for each in answer.recommendations)
        told.attribution_token = answer.attribution_token
        return told

    async def GetPartnerRecommendation(
        self, request: v1.GetPartnerRecommendationRequest, context: Context
    ) -> v1.GetPartnerRecommendationResponse:
        """A circle's products."""
        found = await self.api.GetShortlist(v1.GetShortlistRequest(circle=request.circle), context)
        told = v1.GetPartnerRecommendationResponse(
            **_head("partnerRecommendation", request.circle), recommendation_type="lifeCircle"
        )
        told.place.id, told.place.role = request.circle, "lifeCircle"
        large = [each for each in found.entries if each.members >= SMALLEST][: request.limit or 5]
        told.recommendation_item.extend(_item(rank, each.product_id) for rank, each in enumerate(large, 1))
        return told


def _head(path: str, identity: str) -> dict[str, Any]:
    return {
        "id": identity,
        "href": f"{_PATH}/{path}/{identity}",
        "name": "product recommendation",
        "instant_sync_recommendation": True,
        "state": "done",
        "type": "QueryProductRecommendation",
    }


def _item(rank: int, product_id: str, name: str = "") -> v1.RecommendationItem:
    product = v1.RecommendationItem.Product(id=product_id, name=name, type="Product")
    return v1.RecommendationItem(id=str(rank), priority=rank, product=product, type="RecommendationItem")
