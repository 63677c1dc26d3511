"""The RPCs of latent tags, warnings, and the matrix of churn and value."""

from typing import Any

import grpc.aio

from lifecircle.portrait import v1
from services.kit import idempotency, paging
from services.kit.interceptors import caller
from services.portrait.api import translate
from services.portrait.api.tags import position, stamp
from services.portrait.store.latent import Model
from services.portrait.usecases.latent import LatentDesk

Context = grpc.aio.ServicerContext[Any, Any]


class LatentRpcs:
    """What PortraitApi answers about latent tags."""

    _latent: LatentDesk

    async def LabelCustomers(self, request: v1.LabelCustomersRequest, context: Context) -> v1.LabelCustomersResponse:
        """Labels by hand."""
        key = idempotency.key_of(request, context)
        labels = {each.customer_key: each.label for each in request.labels}
        kept, unknown = await self._latent.label(_target(request.target), labels, caller().subject, key)
        return v1.LabelCustomersResponse(labels=kept, unknown=unknown)

    async def ListDisagreements(
        self, request: v1.ListDisagreementsRequest, context: Context
    ) -> v1.ListDisagreementsResponse:
        """A page of what people and the model see differently."""
        of, size = f"ListDisagreements {request.target}", paging.clamp(request.page_size)
        skip = position(request.page_token, of) or 0
        found, ground = await self._latent.disagreements(_target(request.target), skip, size)
        token = translate.token_within(ground, request.page_token, of, str(skip + size), len(found) == size)
        rows = [v1.Disagreement(**each._asdict()) for each in found]
        return v1.ListDisagreementsResponse(disagreements=rows, next_page_token=token)

    async def CreateLatentModel(
        self, request: v1.CreateLatentModelRequest, context: Context
    ) -> v1.CreateLatentModelResponse:
        """Queue a learning."""
        key, target = idempotency.key_of(request, context), _target(request.target)
        asked = (
            v1.LatentAlgorithm.Name(request.algorithm).removeprefix("LATENT_ALGORITHM_") if request.algorithm else ""
        )
        labels = request.label_tag, request.label_run_id
        job = await self._latent.create(target, request.run_id, *labels, asked, request.reason, caller().subject, key)
        return v1.CreateLatentModelResponse(job=translate.job(job))

    async def GetLatentModel(self, request: v1.GetLatentModelRequest, context: Context) -> v1.GetLatentModelResponse:
        """A model."""
        return v1.GetLatentModelResponse(model=_model(await self._latent.model(request.model_id)))

    async def ListLatentModels(
        self, request: v1.ListLatentModelsRequest, context: Context
    ) -> v1.ListLatentModelsResponse:
        """A page of models."""
        of, size = f"ListLatentModels {request.target}", paging.clamp(request.page_size)
        target = _target(request.target) if request.target else ""
        found = await self._latent.models(target, translate.page_after(request.page_token, of), size)
        token = translate.next_token(of, found[-1].model_id if found else "", len(found) == size)
        return v1.ListLatentModelsResponse(models=map(_model, found), next_page_token=token)

    async def ApproveLatentModel(
        self, request: v1.ApproveLatentModelRequest, context: Context
    ) -> v1.ApproveLatentModelResponse:
        """A candidate in force."""
        key = idempotency.key_of(request, context)
        live = await self._latent.approve(request.model_id, caller().subject, request.note, key)
        return v1.ApproveLatentModelResponse(model=_model(live))

    async def GetLatentValues(self, request: v1.GetLatentValuesRequest, context: Context) -> v1.GetLatentValuesResponse:
        """A customer's latent tags and inferred attributes."""
        values, inferred, run_id, when = await self._latent.values(request.customer_key)
        time = stamp(when) if when is not None else None
        told = [
            v1.LatentValue(**{**row._asdict(), "target": f"LATENT_TARGET_{row.target}"}, run_id=run_id, score_time=time)
            for row in values
        ]
        return v1.GetLatentValuesResponse(
            values=told, inferred=[v1.InferredAttribute(**row._asdict(), inferred=True) for row in inferred]
        )

    async def ListWarnings(self, request: v1.ListWarningsRequest, context: Context) -> v1.ListWarningsResponse:
        """A page of warnings."""
        of, size = f"ListWarnings {request.kind} {request.least_score}", paging.clamp(request.page_size)
        skip = position(request.page_token, of) or 0
        kind = v1.CustomerWarning.Kind.Name(request.kind).removeprefix("KIND_") if request.kind else ""
        rows, run_id, last, ground = await self._latent.warnings(kind, request.least_score, skip, size)
        day = translate.to_date(last) if last else None
        told = [v1.CustomerWarning(**{**row._asdict(), "kind": f"KIND_{row.kind}"}, run_id=run_id, to_date=day)
                for row in rows]  # fmt: skip
        token = translate.token_within(ground, request.page_token, of, str(skip + size), len(rows) == size)
        return v1.ListWarningsResponse(warnings=told, next_page_token=token)

    async def GetChurnValueMatrix(
        self, request: v1.GetChurnValueMatrixRequest, context: Context
    ) -> v1.GetChurnValueMatrixResponse:
        """Churn × value."""
        cells, run_id = await self._latent.matrix()
        return v1.GetChurnValueMatrixResponse(cells=[v1.ChurnValueCell(**vars(each)) for each in cells], run_id=run_id)


def _target(target: int) -> str:
    return v1.LatentTarget.Name(target).removeprefix("LATENT_TARGET_")  # type: ignore[arg-type]


def _model(known: Model) -> v1.LatentModel:
    told = {**vars(known), "create_time": stamp(known.create_time)}
    told["target"] = f"LATENT_TARGET_{known.target}"
    told["state"] = f"STATE_{known.state}"
    told["algorithm"] = f"LATENT_ALGORITHM_{known.algorithm}"
    return v1.LatentModel(**told)
