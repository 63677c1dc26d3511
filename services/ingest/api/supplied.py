"""Protos of the supply: health, alarms, reports, uploads and jobs."""

from datetime import date, timedelta

from google.protobuf.duration_pb2 import Duration
from google.type.date_pb2 import Date

from lifecircle.ingest.v1 import Alarm, FeedHealth, FeedSla, Job, Upload
from services.ingest.api.translate import when
from services.ingest.domain import freshness
from services.ingest.domain import upload as uploads
from services.ingest.usecases.supply import Health
from services.kit import jobs


def health(found: Health) -> FeedHealth:
    """How a feed is doing."""
    return FeedHealth(
        feed_id=found.counts.feed_id,
        last_load_time=when(found.counts.last_load_time),
        deliveries=found.counts.deliveries,
        quarantined=found.counts.quarantined,
        source_rows=found.counts.source_rows,
        loaded_rows=found.counts.loaded_rows,
        rejected_rows=found.counts.rejected_rows,
        latest_period=_date(found.latest_period),
        freshness=_duration(found.freshness),
        next_due_time=when(found.next_due_time),
        completeness=found.completeness,
        stability=found.stability,
        alarms=map(alarm, found.alarms),
    )


def alarm(found: freshness.Alarm) -> Alarm:
    """An alarm."""
    return Alarm(
        alarm_id=found.alarm_id,
        feed_id=found.feed_id,
        kind=Alarm.Kind.Value(f"KIND_{found.kind.value}"),
        period=_date(found.period),
        message=found.message,
        raise_time=when(found.raise_time),
        clear_time=when(found.clear_time),
    )


def sla(found: freshness.Sla) -> FeedSla:
    """The report of one feed."""
    return FeedSla(
        feed_id=found.feed_id,
        due=found.due,
        on_time=found.on_time,
        late=found.late,
        missing=found.missing,
        worst_delay=_duration(found.worst_delay),
        deliveries=found.deliveries,
        loaded=found.loaded,
        quarantined=found.quarantined,
        source_rows=found.source_rows,
        loaded_rows=found.loaded_rows,
        rejected_rows=found.rejected_rows,
        alarms=dict(found.alarms),
    )


def upload(found: uploads.Upload) -> Upload:
    """An upload."""
    return Upload(
        upload_id=found.upload_id,
        file_name=found.file_name,
        received_bytes=found.received_bytes,
        expire_time=when(found.expire_time),
    )


def job(found: jobs.Job) -> Job:
    """A job."""
    return Job(
        job_id=found.job_id,
        kind=found.kind,
        state=Job.State.Value(f"STATE_{found.state.value}"),
        done=found.done,
        total=found.total,
        counts=dict(found.counts),
        message=found.message,
        error=found.error,
        attempt=found.attempt,
        delivery_id=str(found.spec.get("delivery_id", "")),
        create_time=when(found.create_time),
        start_time=when(found.start_time),
        end_time=when(found.end_time),
    )


def _duration(span: timedelta | None) -> Duration | None:
    if span is None:
        return None
    made = Duration()
    made.FromTimedelta(span)
    return made


def _date(day: date | None) -> Date | None:
    return None if day is None else Date(year=day.year, month=day.month, day=day.day)
