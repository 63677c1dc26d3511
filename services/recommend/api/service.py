"""Recommendations, products, models, jobs, matrices and shortlists."""

import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio

from lifecircle.recommend import v1
from services.kit import paging
from services.kit.idempotency import RequestKey, key_of
from services.kit.jobs import Job
from services.recommend.api import answers, cells
from services.recommend.lake import MATRIX_VERSION
from services.recommend.usecases import Ask, Asking, Browsing, Governing, Guiding, Reading, Recommending

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
    "PromoteModel": _WRITERS,
    "ShadowModel": _WRITERS,
    "RetireModel": _WRITERS,
    "UpdateProductTerms": _WRITERS,
    "ListBestCustomers": frozenset({"operator", "service"}),
    "ListCustomerProducts": _READERS,
    "GetMatrixChanges": _READERS,
    "GetMatrixReport": _READERS,
    "GetMatrixEffect": _READERS,
    "ExportMatrix": frozenset({"operator", "service"}),
    "CreateExpertList": _WRITERS,
    "ListExpertLists": _READERS,
    "GetShortlist": _READERS,
}
"""Who may call what."""


@dataclass(frozen=True)
class RecommendApi:
    """The servicer of RecommendService."""

    recommending: Recommending
    reading: Reading
    asking: Asking
    guiding: Guiding
    governing: Governing
    browsing: Browsing

    async def Recommend(self, request: v1.RecommendRequest, context: Context) -> v1.RecommendResponse:
        """Products for one customer."""
        ask = Ask(request.customer_key, request.most, request.no_profile, answers.wish_of(request))
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
        kind, only = answers.kind_of(request.kind), request.significant_only
        found = await self.reading.associations(kind, request.product_id, only, after, size + 1)
        token = answers.next_token(found, size, lambda last: [last.lift, last.left, last.right])
        return v1.ListAssociationsResponse(associations=map(answers.association, found[:size]), next_page_token=token)

    async def GetModel(self, request: v1.GetModelRequest, context: Context) -> v1.GetModelResponse:
        """One model, or the champion."""
        return v1.GetModelResponse(model=answers.whole_model(await self.reading.model(request.model_id)))

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
            asked = request.train
            told = asked.run_id, asked.seed, asked.algorithm, asked.shadow, tuple(asked.excluded_features)
            job = await self.asking.create_train(key, *told)
        elif spec == "matrix":
            job = await self.asking.create_matrix(key, request.matrix.model_id, request.matrix.run_id)
        else:
            job = await _of_others(self.asking, key, request)
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

    async def PromoteModel(self, request: v1.PromoteModelRequest, context: Context) -> v1.PromoteModelResponse:
        """Make a model champion, or roll back."""
        model = await self.governing.promote(key_of(request, context), request.model_id)
        return v1.PromoteModelResponse(model=answers.model(model))

    async def ShadowModel(self, request: v1.ShadowModelRequest, context: Context) -> v1.ShadowModelResponse:
        """Watch a model beside the champion."""
        model = await self.governing.shadow(key_of(request, context), request.model_id)
        return v1.ShadowModelResponse(model=answers.model(model))

    async def RetireModel(self, request: v1.RetireModelRequest, context: Context) -> v1.RetireModelResponse:
        """Take a model out of use."""
        model = await self.governing.retire(key_of(request, context), request.model_id)
        return v1.RetireModelResponse(model=answers.model(model))

    async def UpdateProductTerms(
        self, request: v1.UpdateProductTermsRequest, context: Context
    ) -> v1.UpdateProductTermsResponse:
        """Keep a product's terms."""
        key, told = key_of(request, context), cells.terms_of(request.terms)
        held = await self.guiding.update_terms(key, request.product_id, told)
        return v1.UpdateProductTermsResponse(product=answers.product(held))

    async def ListBestCustomers(
        self, request: v1.ListBestCustomersRequest, context: Context
    ) -> v1.ListBestCustomersResponse:
        """A product's best customers."""
        size, (matrix_id, after) = paging.clamp(request.page_size), cells.place(request.page_token, request.matrix_id)
        told, found = await self.browsing.best_customers(request.product_id, matrix_id, after, size + 1)
        token = cells.next_place(found, size, told, after)
        return v1.ListBestCustomersResponse(cells=map(cells.cell, found[:size]), next_page_token=token, matrix_id=told)

    async def ListCustomerProducts(
        self, request: v1.ListCustomerProductsRequest, context: Context
    ) -> v1.ListCustomerProductsResponse:
        """A customer's products by rank."""
        size, (matrix_id, after) = paging.clamp(request.page_size), cells.place(request.page_token, request.matrix_id)
        told, found = await self.browsing.customer_products(request.customer_key, matrix_id, after, size + 1)
        token = cells.next_place(found, size, told, after)
        return v1.ListCustomerProductsResponse(
            cells=map(cells.cell, found[:size]), next_page_token=token, matrix_id=told
        )

    async def GetMatrixChanges(
        self, request: v1.GetMatrixChangesRequest, context: Context
    ) -> v1.GetMatrixChangesResponse:
        """The difference of two matrices."""
        later, earlier, found = await self.browsing.compare(request.later_matrix_id, request.earlier_matrix_id)
        changes = map(cells.change, found)
        return v1.GetMatrixChangesResponse(
            later=answers.matrix(later), earlier=answers.matrix(earlier), changes=changes
        )

    async def GetMatrixReport(self, request: v1.GetMatrixReportRequest, context: Context) -> v1.GetMatrixReportResponse:
        """A matrix by product."""
        matrix, rows = await self.browsing.report(request.matrix_id)
        return v1.GetMatrixReportResponse(matrix=answers.matrix(matrix), rows=[cells.row(*each) for each in rows])

    async def GetMatrixEffect(self, request: v1.GetMatrixEffectRequest, context: Context) -> v1.GetMatrixEffectResponse:
        """Hit rates of a matrix by band of score."""
        matrix, found, auc = await self.browsing.effect(request.matrix_id, request.days, request.bands)
        told = v1.GetMatrixEffectResponse(matrix=answers.matrix(matrix), bands=map(cells.band, found))
        if not math.isnan(auc):
            told.auc = auc
        return told

    async def ExportMatrix(
        self, request: v1.ExportMatrixRequest, context: Context
    ) -> AsyncIterator[v1.ExportMatrixResponse]:
        """A matrix as one Arrow stream, in pieces."""
        async for piece in self.browsing.export(request.matrix_id, request.product_ids, request.most_rank):
            yield v1.ExportMatrixResponse(piece=piece)

    async def CreateExpertList(
        self, request: v1.CreateExpertListRequest, context: Context
    ) -> v1.CreateExpertListResponse:
        """Keep an expert's list."""
        made = await self.guiding.add_list(key_of(request, context), cells.list_of(request.list))
        return v1.CreateExpertListResponse(list=cells.expert_list(made))

    async def ListExpertLists(self, request: v1.ListExpertListsRequest, context: Context) -> v1.ListExpertListsResponse:
        """Experts' lists, the latest first."""
        size, after = paging.clamp(request.page_size), cells.number_place(request.page_token)
        found = await self.guiding.lists(request.circle, after, size + 1)
        token = answers.next_token(found, size, lambda last: last[0])
        lists = [cells.expert_list(each) for _, each in found[:size]]
        return v1.ListExpertListsResponse(lists=lists, next_page_token=token)

    async def GetShortlist(self, request: v1.GetShortlistRequest, context: Context) -> v1.GetShortlistResponse:
        """A circle's shortlist."""
        told = await self.guiding.shortlist(request.circle, cells.weights_of(request.weights))
        entries, weights, run_id = told
        return v1.GetShortlistResponse(entries=map(cells.entry, entries), weights=cells.weights(weights), run_id=run_id)


async def _of_others(asking: Asking, key: RequestKey, request: v1.CreateJobRequest) -> Job:
    if request.WhichOneof("spec") == "acceptance":
        told = request.acceptance
        return await asking.create_acceptance(key, told.run_id, told.seed, told.product_ids, told.algorithm)
    if request.WhichOneof("spec") == "influence":
        return await asking.create_influence(key, request.influence.run_id)
    asked = request.comparison
    return await asking.create_comparison(key, asked.challenger_id, asked.champion_id, asked.promote)
