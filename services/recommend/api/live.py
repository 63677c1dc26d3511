"""What was learned from contacts: acceptance models, their scores, comparisons."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.recommend import v1
from services.kit import paging
from services.recommend.api import answers, cells
from services.recommend.domain.live import AcceptanceModel, Comparison, Scored
from services.recommend.domain.propensity import points
from services.recommend.usecases import Learned

Context = grpc.aio.ServicerContext[Any, Any]

_READERS = frozenset({"viewer", "operator", "service"})
RIGHTS: Mapping[str, frozenset[str]] = {
    "GetAcceptanceModel": _READERS,
    "ListAcceptanceModels": _READERS,
    "ListAcceptanceScores": frozenset({"operator", "service"}),
    "ListComparisons": _READERS,
}


@dataclass(frozen=True)
class LiveApi:
    """The methods about what came of contacts."""

    learned: Learned

    async def GetAcceptanceModel(
        self, request: v1.GetAcceptanceModelRequest, context: Context
    ) -> v1.GetAcceptanceModelResponse:
        """One model with its report."""
        found = await self.learned.model(request.acceptance_model_id, request.product_id)
        told = acceptance_model(found)
        told.metrics.update(await self.learned.drift(found))
        told.report = json.dumps(found.report, ensure_ascii=False, sort_keys=True)
        return v1.GetAcceptanceModelResponse(model=told)

    async def ListAcceptanceModels(
        self, request: v1.ListAcceptanceModelsRequest, context: Context
    ) -> v1.ListAcceptanceModelsResponse:
        """Models, the latest first."""
        size, after = paging.clamp(request.page_size), answers.text_place(request.page_token)
        found = await self.learned.models(request.product_id, after, size + 1)
        token = answers.next_token(found, size, lambda last: last.acceptance_model_id)
        return v1.ListAcceptanceModelsResponse(models=map(acceptance_model, found[:size]), next_page_token=token)

    async def ListAcceptanceScores(
        self, request: v1.ListAcceptanceScoresRequest, context: Context
    ) -> v1.ListAcceptanceScoresResponse:
        """Who most likely accepts a product."""
        size, (name, after) = paging.clamp(request.page_size), cells.place(request.page_token, "")
        model, found = await self.learned.scores(request.product_id, name, after, size + 1, request.by_uplift)
        told = model.acceptance_model_id
        return v1.ListAcceptanceScoresResponse(
            scores=[score(model.product_id, each) for each in found[:size]],
            next_page_token=cells.next_place(found, size, told, after),
            acceptance_model_id=told,
        )

    async def ListComparisons(self, request: v1.ListComparisonsRequest, context: Context) -> v1.ListComparisonsResponse:
        """Comparisons, the latest first."""
        size, after = paging.clamp(request.page_size), answers.text_place(request.page_token)
        found = await self.learned.comparisons(after, size + 1)
        token = answers.next_token(found, size, lambda last: last.comparison_id)
        return v1.ListComparisonsResponse(comparisons=map(comparison, found[:size]), next_page_token=token)


def acceptance_model(each: AcceptanceModel) -> v1.AcceptanceModel:
    """A model without its report."""
    return v1.AcceptanceModel(
        acceptance_model_id=each.acceptance_model_id,
        product_id=each.product_id,
        job_id=each.job_id,
        algorithm=each.algorithm,
        reason=each.reason,
        run_id=each.run_id,
        data_sha256=each.data_sha256,
        seed=each.seed,
        contacts=each.contacts,
        accepted=each.accepted,
        metrics=each.metrics,
        serves=each.serves,
        create_time=_time(each.create_time),
        code_version=each.report.get("code_version", ""),
    )


def score(product_id: str, each: Scored) -> v1.AcceptanceScore:
    """A customer's chance."""
    return v1.AcceptanceScore(**asdict(each), product_id=product_id, points=points(each.probability))


def comparison(each: Comparison) -> v1.Comparison:
    """A comparison."""
    plain = asdict(each)
    plain["verdict"] = v1.Comparison.Verdict.Value(f"VERDICT_{each.verdict}")
    return v1.Comparison(**{**plain, "create_time": _time(each.create_time)})


def _time(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
