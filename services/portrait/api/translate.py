"""Between plain values and messages of lifecircle.portrait.v1."""

from datetime import date, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.portrait import v1
from services.kit import jobs, paging
from services.kit.errors import bad_page_token, invalid_field
from services.portrait.domain.run import AnchorValue, DwellLine, LakeFile, Run, TagValue
from services.portrait.domain.tag import Tag
from services.portrait.refusals import pages_changed
from services.portrait.usecases.journey import Step

_ROLES = {
    "home": v1.Anchor.ROLE_HOME,
    "work": v1.Anchor.ROLE_WORK,
    "study": v1.Anchor.ROLE_STUDY,
}


def dwell_line(line: DwellLine) -> v1.DwellLine:
    """A line of dwell."""
    return v1.DwellLine(
        place_id=line.place_id,
        place_class=line.place_class,
        day_type=line.day_type,
        slot=line.slot,
        days=line.days,
        dwell_seconds=line.dwell_seconds,
        grade=line.grade,
    )


def tag(known: Tag, customers: int) -> v1.Tag:
    """A definition with its bearers."""
    return v1.Tag(
        code=known.code,
        name=known.name,
        family=known.family,
        kind=known.kind,
        version=known.version,
        sensitivity=known.sensitivity,
        customers=customers,
    )


def run(told: Run) -> v1.Run:
    """A run."""
    return v1.Run(
        run_id=told.run_id,
        from_date=to_date(told.from_date),
        to_date=to_date(told.to_date),
        customers=told.customers,
        signalling_rows=told.signalling_rows,
        visits=told.visits,
        sha256=told.sha256,
        held=told.held,
        catalogue_version=told.catalogue_version,
    )


def file(known: LakeFile) -> v1.SnapshotFile:
    """A file of a manifest."""
    return v1.SnapshotFile(uri=known.uri, rows=known.rows, sha256=known.sha256, bucket=known.bucket)


def job(known: jobs.Job) -> v1.Job:
    """A job as it stands."""
    computes = "from_date" in known.spec
    return v1.Job(
        job_id=known.job_id,
        state=v1.Job.State.Value(f"STATE_{known.state.value}"),
        done=known.done,
        total=known.total,
        counts=known.counts,
        message=known.message,
        error=known.error,
        attempt=known.attempt,
        result_id=(known.spec["run_id"] if computes else known.job_id) if known.state is jobs.State.SUCCEEDED else "",
        create_time=_time(known.create_time),
        start_time=_time(known.start_time),
        end_time=_time(known.end_time),
        compute=v1.ComputeSpec(
            from_date=to_date(date.fromisoformat(known.spec["from_date"])),
            to_date=to_date(date.fromisoformat(known.spec["to_date"])),
        )
        if computes
        else None,
    )


def step(known: Step) -> v1.JourneyStep:
    """A step of a journey."""
    time = Timestamp(seconds=known.time // 1000, nanos=known.time % 1000 * 1_000_000)
    stage = v1.JourneyStep.Stage.Value(f"STAGE_{known.stage}")
    return v1.JourneyStep(stage=stage, time=time, type=known.type, event_id=known.event_id, attributes=known.attributes)


def day(message: Date, field: str) -> date:
    """A calendar day; raises invalid_field for one that does not exist."""
    try:
        return date(message.year, message.month, message.day)
    except ValueError as error:
        raise invalid_field([(field, "is not a day of the calendar")]) from error


def to_date(known: date) -> Date:
    """A day as a message."""
    return Date(year=known.year, month=known.month, day=known.day)


def page_after(token: str, method: str) -> str:
    """The position that a page token of `method` holds, "" for the first page. Raises bad_page_token."""
    position = paging.decode(token)
    if position and (position.get("of") != method or not isinstance(position.get("after"), str)):
        raise bad_page_token()
    return str(position.get("after", ""))


def next_token(method: str, after: str, full: bool) -> str:
    """The token of the page behind `after`; "" when this one is not full."""
    return paging.encode({"of": method, "after": after}) if full else ""


def token_within(ground: str, token: str, method: str, after: str, full: bool) -> str:
    """next_token where all pages must rest on one `ground`: a run, a segmentation, a scoring.

    `token` is that of the page in hand. Raises pages_changed when the pages before rested on another ground.
    """
    if paging.decode(token).get("on", ground) != ground:
        raise pages_changed()
    return paging.encode({"of": method, "after": after, "on": ground}) if full else ""


def anchor(known: AnchorValue) -> v1.Anchor:
    """An anchor."""
    return v1.Anchor(
        role=_ROLES[known.role],
        place_id=known.place_id,
        place_name=known.place_name,
        place_class=known.place_class,
        town=known.town,
        days=known.days,
        dwell_seconds=known.dwell_seconds,
        confidence=known.confidence,
    )


def tag_value(known: TagValue) -> v1.TagValue:
    """A tag that is borne."""
    return v1.TagValue(
        code=known.code,
        value=known.value,
        version=known.version,
        score=known.score,
        landmark=known.landmark,
        evidence=known.evidence,
        from_date=to_date(known.from_date),
        expire_date=to_date(known.expire_date),
    )


def _time(known: datetime | None) -> Timestamp | None:
    if known is None:
        return None
    message = Timestamp()
    message.FromDatetime(known)
    return message
