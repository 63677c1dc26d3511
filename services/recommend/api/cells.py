"""Matrix cells, product terms, experts' lists: plain values ↔ proto."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.recommend import v1
from services.kit import paging
from services.kit.errors import bad_page_token
from services.recommend.domain.matrix import Band, Cell, Change, Row
from services.recommend.domain.product import Held, Terms
from services.recommend.domain.shortlist import Entry, ExpertList, Weights

_FREQUENCIES = ("", "MONTHLY", "ONCE", "PER_USE", "YEARLY")
_ORDER_WAYS = ("", "SMS", "INTERNET", "HOTLINE", "SHOP")


def place(token: str, matrix_id: str) -> tuple[str, int]:
    """The matrix and how many cells are behind; a token keeps to its matrix. Raises bad_page_token."""
    if not token:
        return matrix_id, 0
    told = paging.decode(token)
    kept, after = told.get("matrix"), told.get("after")
    if not isinstance(kept, str) or not isinstance(after, int) or after < 0:
        raise bad_page_token()
    return kept, after


def next_place(found: Sequence[object], size: int, matrix_id: str, after: int) -> str:
    """The token of the next page; empty on the last one."""
    return paging.encode({"matrix": matrix_id, "after": after + size}) if len(found) > size else ""


def number_place(token: str) -> int:
    """A place that is a number; 0 for the first page. Raises bad_page_token."""
    told = paging.decode(token).get("after") if token else 0
    if not isinstance(told, int) or told < 0:
        raise bad_page_token()
    return told


def cell(told: Cell) -> v1.MatrixCell:
    """A cell."""
    return v1.MatrixCell(**asdict(told))


def change(told: Change) -> v1.MatrixChange:
    """A product's change."""
    return v1.MatrixChange(**asdict(told))


def row(held: Held, told: Row) -> v1.MatrixRow:
    """A product of a matrix."""
    return v1.MatrixRow(name=held.product.name, owners=held.owners, **asdict(told))


def band(told: Band) -> v1.MatrixBand:
    """A band of scores."""
    return v1.MatrixBand(**asdict(told))


def terms_of(told: v1.ProductTerms) -> Terms:
    """Terms as a caller gives them."""
    return Terms(
        _FREQUENCIES[told.frequency],
        told.free_trial_days,
        told.how_to_order,
        tuple(told.tags),
        tuple(told.bundled_product_ids),
        tuple(told.prerequisite_product_ids),
        tuple(told.excluded_product_ids),
        told.cool_down_days,
        told.withdrawn,
        tuple(_ORDER_WAYS[each] for each in told.order_ways),
        told.issues_per_day,
        told.target,
    )


def terms(told: Terms) -> v1.ProductTerms:
    """Terms as they are kept."""
    plain = asdict(told)
    frequency = v1.ProductTerms.Frequency.Name(_FREQUENCIES.index(plain.pop("frequency")))  # type: ignore[arg-type]
    ways = [_ORDER_WAYS.index(each) for each in plain.pop("order_ways")]
    return v1.ProductTerms(frequency=frequency, order_ways=ways, **plain)  # type: ignore[arg-type]


def list_of(told: v1.ExpertList) -> ExpertList:
    """A list as a caller gives it; its time comes with the keeping."""
    return ExpertList(told.circle, tuple(told.product_ids), told.author, told.note, datetime.min.replace(tzinfo=UTC))


def expert_list(told: ExpertList) -> v1.ExpertList:
    """A list as it is kept."""
    time = Timestamp()
    time.FromDatetime(told.create_time)
    return v1.ExpertList(
        circle=told.circle, product_ids=told.product_ids, author=told.author, note=told.note, create_time=time
    )


def weights_of(told: v1.Weights) -> Weights:
    """Weights as a caller gives them."""
    return Weights(told.expert, told.accepted, told.opened, told.used)


def weights(told: Weights) -> v1.Weights:
    """Weights as they were used."""
    return v1.Weights(**asdict(told))


def entry(told: Entry) -> v1.ShortlistEntry:
    """A product of a shortlist."""
    return v1.ShortlistEntry(**asdict(told))
