"""Events of a file as values, for the plain interpreter."""

from datetime import UTC, datetime, timedelta

from services.points.domain.batch import REASONS, Coded
from services.points.domain.event import Event, Reason
from services.points.domain.interpreter import Told
from services.points.lake.events import ReadEvents

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def told_rows(read: ReadEvents) -> tuple[list[Told], dict[tuple[str, str], int]]:
    """Events with their facts, and the place of each by its identity; reused ids are left out, as they never score."""
    events = read.events
    sources, staff = _texts(read.source), _texts(events.staff)
    facts = {name: _texts(column) for name, column in events.texts.items()}
    ids, origins = read.ids.to_pylist(), read.origin_ids.to_pylist()
    cells, grids = _texts(events.cells), _texts(events.grids)
    told: list[Told] = []
    place: dict[tuple[str, str], int] = {}
    for i in range(len(events)):
        reason = REASONS[events.doubt[i]]
        if reason is Reason.EVENT_ID_REUSED:
            continue
        time = _EPOCH + timedelta(microseconds=int(events.times[i]))
        received = time if reason is not Reason.FUTURE_DATE else _EPOCH
        event = Event(
            event_id="", source=sources[i], source_event_id=ids[i], type=facts["type"][i],
            customer_key=int(events.customers[i]), product_id=facts["product"][i], staff_id=staff[i],
            channel=facts["channel"][i],
            amount_fen=None if reason is Reason.UNREADABLE_AMOUNT else int(events.amounts[i]),
            origin_event_id=origins[i], occur_time=time, receive_time=received,
            customer_type=facts["customer_type"][i], cell_id=cells[i], grid_id=grids[i],
        )  # fmt: skip
        told.append(Told(event, facts["category"][i], facts["staff_role"][i], int(events.known[i])))
        place[event.key] = i
    return told, place


def _texts(column: Coded) -> list[str]:
    return [column.values[code] for code in column.codes.tolist()]
