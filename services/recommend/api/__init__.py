"""Inbound gRPC: proto in → plain values → use case → proto out. No rule, no SQL."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio

from lifecircle.recommend import v1
from services.kit import paging
from services.kit.idempotency import key_of
from services.recommend.api import answers
from services.recommend.lake import MATRIX_VERSION
from services.recommend.usecases import Ask, Asking, Reading, Recommending

Context = grpc.aio.ServicerContext[Any, Any]

_READERS = frozenset({"viewer", "operator", "service"})
_WRITERS = frozenset({"operator"})
RIGHTS: Mapping[str, frozenset[str]] = {
    "Recommend": _READERS,
    "GetProduct": _READERS,
    "ListProducts": _READERS,
    "ListAssociations": _READERS,
    "GetModel": _READERS,
    "ListModels": _READERS,
    "CreateJob": _WRITERS,
    "GetJob": _READERS,
    "ListJobs": _READERS,
    "CancelJob": _WRITERS,
    "WatchMatrices": frozenset({"operator", "service"}),
    "GetMatrix": frozenset({"operator", "service"}),
}
"""Who may call what."""


@dataclass(frozen=True)
class RecommendApi(v1.RecommendServiceServicer):
    """The servicer of RecommendService."""

    recommending: Recommending
    reading: Reading
    asking: Asking

    async def Recommend(self, request: v1.RecommendRequest, context: Context) -> v1.RecommendResponse:
        """Products for one customer."""
        ask = Ask(request.customer_key, request.most, tuple(request.categories), request.no_profile)
        return answers.recommended(await self.recommending.recommend(ask))

    async def GetProduct(self, request: v1.GetProductRequest, context: Context) -> v1.GetProductResponse:
        """One product."""
        return v1.GetProductResponse(product=answers.product(await self.reading.product(request.product_id)))

    async def ListProducts(self, request: v1.ListProductsRequest, context: Context) -> v1.ListProductsResponse:
        """Products by id."""
        size, after = paging.clamp(request.page_size), answers.text_place(request.page_token)
        found = await self.reading.products(after, size + 1)
        token = answers.next_token(found, size, lambda last: last.product.product_id)
        return v1.ListProductsResponse(products=map(answers.product, found[:size]), next_page_token=token)

    async def ListAssociations(
        self, request: v1.ListAssociationsRequest, context: Context
    ) -> v1.ListAssociationsResponse:
        """Associations, the highest lift first."""
        size, after = paging.clamp(request.page_size), answers.lift_place(request.page_token)
        found = await self.reading.associations(request.product_id, after, size + 1)
        token = answers.next_token(found, size, lambda last: [last.lift, last.left, last.right])
        return v1.ListAssociationsResponse(associations=map(answers.association, found[:size]), next_page_token=token)

    async def GetModel(self, request: v1.GetModelRequest, context: Context) -> v1.GetModelResponse:
        """One model, or the champion."""
        return v1.GetModelResponse(model=answers.model(await self.reading.model(request.model_id)))

    async def ListModels(self, request: v1.ListModelsRequest, context: Context) -> v1.ListModelsResponse:
        """Models, the latest first."""
        size, after = paging.clamp(request.page_size), answers.text_place(request.page_token)
        found = await self.reading.models(after, size + 1)
        token = answers.next_token(found, size, lambda last: last.model_id)
        return v1.ListModelsResponse(models=map(answers.model, found[:size]), next_page_token=token)

    async def CreateJob(self, request: v1.CreateJobRequest, context: Context) -> v1.CreateJobResponse:
        """Start training or scoring."""
        key, spec = key_of(request, context), request.WhichOneof("spec")
        if spec == "train":
            job = await self.asking.create_train(key, request.train.run_id, request.train.seed)
        else:
            job = await self.asking.create_matrix(key, request.matrix.model_id, request.matrix.run_id)
        return v1.CreateJobResponse(job=answers.job(job))

    async def GetJob(self, request: v1.GetJobRequest, context: Context) -> v1.GetJobResponse:
        """One job."""
        return v1.GetJobResponse(job=answers.job(await self.reading.job(request.job_id)))

    async def ListJobs(self, request: v1.ListJobsRequest, context: Context) -> v1.ListJobsResponse:
        """Jobs, the latest first."""
        size, after = paging.clamp(request.page_size), answers.text_place(request.page_token)
        found = await self.reading.jobs(after or None, size + 1)
        token = answers.next_token(found, size, lambda last: last.job_id)
        return v1.ListJobsResponse(jobs=map(answers.job, found[:size]), next_page_token=token)

    async def CancelJob(self, request: v1.CancelJobRequest, context: Context) -> v1.CancelJobResponse:
        """Stop a job."""
        return v1.CancelJobResponse(job=answers.job(await self.asking.cancel(key_of(request, context), request.job_id)))

    async def WatchMatrices(
        self, request: v1.WatchMatricesRequest, context: Context
    ) -> AsyncIterator[v1.WatchMatricesResponse]:
        """Published matrices in commit order, with checkpoints."""
        async for item, matrix in self.reading.published(request.cursor):
            yield answers.watched(item, matrix)

    async def GetMatrix(self, request: v1.GetMatrixRequest, context: Context) -> v1.GetMatrixResponse:
        """One matrix with its files."""
        matrix, files = await self.reading.matrix(request.matrix_id)
        told = map(answers.matrix_file, files)
        return v1.GetMatrixResponse(matrix=answers.matrix(matrix), files=told, schema_version=MATRIX_VERSION)
