"""A customer's final list, and who has weight in a circle."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import grpc.aio

from lifecircle.recommend import v1
from services.kit import paging
from services.recommend.api import cells
from services.recommend.domain.final_list import FinalWeights
from services.recommend.usecases import Finishing

Context = grpc.aio.ServicerContext[Any, Any]

RIGHTS: Mapping[str, frozenset[str]] = {
    "ListInfluences": frozenset({"operator", "service"}),
    "GetFinalList": frozenset({"viewer", "operator", "service"}),
}


@dataclass(frozen=True)
class FinalsApi:
    """The methods about circles and what is made of all that is known."""

    finishing: Finishing

    async def ListInfluences(self, request: v1.ListInfluencesRequest, context: Context) -> v1.ListInfluencesResponse:
        """Members of a circle by weight."""
        size, (name, after) = paging.clamp(request.page_size), cells.place(request.page_token, "")
        published, found = await self.finishing.influential(request.circle, name, after, size + 1)
        told = published.influence_id if published else ""
        return v1.ListInfluencesResponse(
            influences=[v1.Influence(**asdict(each)) for each in found[:size]],
            next_page_token=cells.next_place(found, size, told, after),
            run_id=published.run_id if published else "",
        )

    async def GetFinalList(self, request: v1.GetFinalListRequest, context: Context) -> v1.GetFinalListResponse:
        """One customer's list with every component."""
        asked = request.weights
        weights = FinalWeights(asked.expert, asked.model, asked.circle, asked.influence)
        found = await self.finishing.final(request.customer_key, request.most, weights)
        return v1.GetFinalListResponse(
            entries=[v1.FinalEntry(name=found.names[each.product_id], **asdict(each)) for each in found.entries],
            weights=v1.FinalWeights(**asdict(found.weights)),
            influences=[v1.Influence(**asdict(each)) for each in found.influences],
            model_id=found.answer.model_id,
            attribution_token=found.answer.attribution_token,
        )
