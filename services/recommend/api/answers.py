"""Plain values → proto, and the places that page tokens hold."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.recommend import v1
from services.kit import paging
from services.kit.errors import bad_page_token
from services.kit.jobs import Job, State
from services.kit.outbox import Checkpoint, Event
from services.recommend.api import cells
from services.recommend.domain.association import FALSE_DISCOVERY, Association
from services.recommend.domain.card import card
from services.recommend.domain.product import Held
from services.recommend.domain.registry import Matrix, Model
from services.recommend.domain.snapshot import File
from services.recommend.domain.wish import ANYTHING, Wish
from services.recommend.usecases import Answer

T = TypeVar("T")


def recommended(answer: Answer) -> v1.RecommendResponse:
    """The answer to Recommend."""
    return v1.RecommendResponse(
        recommendations=[
            v1.Recommendation(
                product_id=each.product.product_id,
                name=each.product.name,
                score=each.score,
                rank=rank,
                reasons=each.reasons,
                acceptance_model_id=each.acceptance_model_id,
            )
            for rank, each in enumerate(answer.given, 1)
        ],
        model_id=answer.model_id,
        attribution_token=answer.attribution_token,
    )


def wish_of(request: v1.RecommendRequest) -> Wish:
    """What the caller asks of the products."""
    filters = request.categories or request.tags or request.excluded_product_ids or request.most_fee_fen
    if not (filters or request.HasField("context")):
        return ANYTHING
    context = request.context
    way = v1.ProductTerms.OrderWay.Name(context.order_way).removeprefix("ORDER_WAY_") if context.order_way else ""
    return Wish(
        tuple(request.categories),
        tuple(request.tags),
        request.most_fee_fen,
        tuple(request.excluded_product_ids),
        way,
        tuple(context.basket_product_ids),
        context.place,
    )


def product(held: Held) -> v1.Product:
    """A product with its owners."""
    each = held.product
    return v1.Product(
        product_id=each.product_id,
        name=each.name,
        category=each.category,
        fee_fen=each.fee_fen,
        worth_fen=each.worth_fen,
        requires_product_id=each.requires_product_id,
        exclusive_group=each.exclusive_group,
        owners=held.owners,
        terms=cells.terms(each.terms) if each.terms else None,
    )


def association(each: Association) -> v1.Association:
    """An association."""
    return v1.Association(
        left_product_id=each.left,
        right_product_id=each.right,
        both=each.both,
        support=each.support,
        confidence=each.confidence,
        lift=each.lift,
        kind=v1.Association.Kind.Value(f"KIND_{each.kind}"),
        p_value=each.p_value,
        q_value=each.q_value,
        significant=each.q_value <= FALSE_DISCOVERY,
        left_name=each.left_name,
        right_name=each.right_name,
    )


def kind_of(told: v1.Association.Kind.ValueType) -> str:
    """The table that a caller means."""
    return v1.Association.Kind.Name(told or v1.Association.KIND_PRODUCT_PRODUCT).removeprefix("KIND_")


def model(each: Model) -> v1.Model:
    """A model."""
    return v1.Model(
        model_id=each.model_id,
        state=v1.Model.State.Value(f"STATE_{each.state}"),
        algorithm=each.algorithm,
        run_id=each.run_id,
        sha256=each.sha256,
        data_sha256=each.data_sha256,
        seed=each.seed,
        customers=each.customers,
        features=each.features,
        product_ids=each.product_ids,
        metrics=each.metrics,
        create_time=_time(each.create_time),
        bytes=each.bytes,
        code_version=each.report.get("code_version", ""),
    )


def whole_model(each: Model) -> v1.Model:
    """A model with its report and card."""
    told = model(each)
    told.report = json.dumps(each.report, ensure_ascii=False, sort_keys=True)
    told.card = card(each)
    return told


def matrix(each: Matrix) -> v1.Matrix:
    """A matrix."""
    return v1.Matrix(
        matrix_id=each.matrix_id,
        model_id=each.model_id,
        run_id=each.run_id,
        customers=each.customers,
        cells=each.cells,
        create_time=_time(each.create_time),
        as_of_date=_date(each.as_of_date),
        drift=each.drift,
        acceptance_model_ids=each.acceptance,
    )


def matrix_file(file: File) -> v1.MatrixFile:
    """A file of a matrix."""
    return v1.MatrixFile(uri=file.uri, rows=file.rows, sha256=file.sha256, bucket=file.bucket)


def watched(item: Event | Checkpoint, published: Matrix | None) -> v1.WatchMatricesResponse:
    """An item of WatchMatrices."""
    if isinstance(item, Checkpoint) or published is None:
        return v1.WatchMatricesResponse(cursor=item.cursor)
    return v1.WatchMatricesResponse(cursor=item.cursor, matrix=matrix(published), traceparent=item.traceparent)


def job(each: Job) -> v1.Job:
    """A job; its id names what it makes."""
    told = v1.Job(
        job_id=each.job_id,
        state=v1.Job.State.Value(f"STATE_{each.state.value}"),
        done=each.done,
        total=each.total,
        counts=each.counts,
        message=each.message,
        error=each.error,
        attempt=each.attempt,
        result_id=each.job_id if each.state is State.SUCCEEDED else "",
        create_time=_time(each.create_time),
        start_time=_time(each.start_time),
        end_time=_time(each.end_time),
    )
    _SPECS[each.kind](told, each.spec)
    return told


def _train(told: v1.Job, spec: Mapping[str, Any]) -> None:
    told.train.run_id, told.train.seed = spec["run_id"], spec["seed"]
    told.train.algorithm, told.train.shadow = spec.get("algorithm", ""), bool(spec.get("shadow"))
    told.train.excluded_features.extend(spec.get("excluded", ()))


def _matrix(told: v1.Job, spec: Mapping[str, Any]) -> None:
    told.matrix.run_id, told.matrix.model_id = spec["run_id"], spec["model_id"]


def _acceptance(told: v1.Job, spec: Mapping[str, Any]) -> None:
    told.acceptance.run_id, told.acceptance.seed = spec["run_id"], spec["seed"]
    told.acceptance.algorithm = spec.get("algorithm", "")
    told.acceptance.product_ids.extend(spec.get("products", ()))


def _comparison(told: v1.Job, spec: Mapping[str, Any]) -> None:
    told.comparison.champion_id, told.comparison.challenger_id = spec["champion_id"], spec["challenger_id"]
    told.comparison.promote = spec["promote"]


def _influence(told: v1.Job, spec: Mapping[str, Any]) -> None:
    told.influence.run_id = spec["run_id"]


_SPECS = {
    "train": _train,
    "matrix": _matrix,
    "acceptance": _acceptance,
    "comparison": _comparison,
    "influence": _influence,
}


def next_token(found: Sequence[T], size: int, place: Callable[[T], Any]) -> str:
    """The token of the next page when `found` holds one more than `size`; empty on the last page."""
    return paging.encode({"after": place(found[size - 1])}) if len(found) > size else ""


def text_place(token: str) -> str:
    """The id after which a page begins; empty for the first. Raises bad_page_token."""
    after = paging.decode(token).get("after", "")
    if not isinstance(after, str) or bool(after) != bool(token):
        raise bad_page_token()
    return after


def lift_place(token: str) -> tuple[float, str, str] | None:
    """The association after which a page begins. Raises bad_page_token."""
    if not token:
        return None
    match paging.decode(token).get("after"):
        case [float() | int() as lift, str() as left, str() as right]:
            return float(lift), left, right
    raise bad_page_token()


def _time(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def _date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)
