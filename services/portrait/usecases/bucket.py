"""One bucket of a run, from signalling to the four published tables: pure computation, run in a thread."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from services.portrait.domain import anchor, dwell, feature, track
from services.portrait.domain.calendar import Window, WorkCalendar
from services.portrait.domain.run import KeptDay, LakeFile
from services.portrait.domain.tag import Catalogue, Event, Facts, answers, judge, place_time, plan
from services.portrait.lake import Base, Lake, write_bucket
from services.portrait.lake.city import areas_table, crowd_table, visits_table
from services.portrait.lake.interests import interests_table
from services.portrait.lake.past import Past, read_past
from services.portrait.lake.results import Bucket
from services.portrait.lake.trial import attendance_table, stats_table
from services.portrait.usecases.days import Days, followed

PAST = ("tags", "anchors", "attendance", "interests")
"""What a run takes over from the run before."""


@dataclass(frozen=True)
class Outcome:
    """What one bucket came to."""

    bucket: int
    files: dict[str, LakeFile]
    customers: int
    signalling_rows: int
    visits: int
    checksum: dwell.Checksum
    days_followed: int = 0
    """Days of signalling that were followed for it; the others were kept from earlier runs."""
    mapped_rows: int = 0
    """Rows of signalling, flicker aside, whose cell serves a place: how complete the map is (映射完整率)."""
    days: Days = field(default=Days((), ()), compare=False, repr=False)
    """The days that it was computed from, to be kept; none in an outcome that is read from a checkpoint."""

    def to_json(self) -> dict[str, Any]:
        """As a job's checkpoint keeps it."""
        sums = [
            str(each) for each in (self.checksum.rows, self.checksum.secs, self.checksum.first, self.checksum.second)
        ]
        return {
            "files": {name: [file.uri, file.rows, file.sha256] for name, file in self.files.items()},
            "counts": [self.customers, self.signalling_rows, self.visits, self.days_followed, self.mapped_rows],
            "checksum": sums,
        }

    @staticmethod
    def of_json(bucket: int, kept: dict[str, Any]) -> "Outcome":
        """What to_json() kept."""
        counts = [*map(int, kept["counts"]), 0]  # a checkpoint of before the map was counted has one less
        customers, signalling_rows, visits, days_followed, mapped_rows = counts[:5]
        return Outcome(
            bucket,
            {name: LakeFile(uri, rows, sha256, bucket) for name, (uri, rows, sha256) in kept["files"].items()},
            customers,
            signalling_rows,
            visits,
            dwell.Checksum(*(int(each) for each in kept["checksum"])),
            days_followed,
            mapped_rows,
        )


@dataclass(frozen=True)
class Work:
    """What every bucket of a run is computed with."""

    run_id: str
    base: Base
    window: Window
    calendar: WorkCalendar
    catalogue: Catalogue
    buckets: int


def compute(
    work: Work,
    bucket: int,
    signalling: Sequence[LakeFile],
    lake: Lake,
    before: Sequence[Sequence[LakeFile]] = (),
    known: Sequence[KeptDay] = (),
) -> Outcome:
    """Compute one bucket and write its tables; doing it again writes the same files. `before` are the files of the
    tables PAST of the run before, if there was one; `known` are kept days of the bucket."""
    base = work.base
    at = base.bucket(bucket, work.buckets)
    keys, customers = base.customer_key[at], len(at)
    days, stays = followed(base, work.window, work.catalogue.track, bucket, at, signalling, lake, known)
    past = read_past(before[:3], keys, base.places, work.window.from_date) if before else None
    visits, found = lives(work, bucket, at, stays, past)
    workdays = work.window.workdays(work.calendar)
    city = {
        "visits": visits_table(visits, keys, base.places),
        "areas": areas_table(found.dwell, workdays, base.places),
        "crowd": crowd_table(visits, work.window, workdays, base.places),
        "stats": stats_table(keys, found.columns, base.active[at]),
        "attendance": attendance_table(keys, found.attendance or dwell.NOBODY_ATTENDED, found.events),
        "interests": interests_table(keys, found.dwell, base.places, work.window, before[3] if before else ()),
    }
    files = write_bucket(lake, work.run_id, found, base.places, work.window, workdays, city)
    checksum = dwell.checksum(found.dwell, keys, base.places)
    mapped = int(stays.rows[stays.place >= 0].sum())
    return Outcome(bucket, files, customers, days.rows, len(visits.place), checksum, len(days.fresh), mapped, days)


def events_of(work: Work) -> list[Event]:
    """The city events of a run as attendance counts them."""
    return [Event(event.type, work.window.local_date(event.start), event.event_id) for event in work.base.events]


def attended(
    work: Work, visits: track.Visits, customers: int, past: Past | None
) -> tuple[dwell.Attendance, Sequence[Event]]:
    """Who was at which city event, with those of before the window that earlier runs knew: a rule may look back for
    longer than a window."""
    own, events = dwell.attendance(visits, work.base.events, customers), events_of(work)
    if past is None or not past.events:
        return own, events
    number = {event.event_id: at for at, event in enumerate(events)}
    for event in past.events:
        if event.event_id not in number:
            number[event.event_id] = len(events)
            events.append(event)
    named = np.array([number[event.event_id] for event in past.events], dtype=np.int32)
    earlier = replace(past.attendance, event=named[past.attendance.event])
    return dwell.with_earlier(own, earlier), events


def lives(
    work: Work, bucket: int, at: npt.NDArray[np.int64], stays: track.Stays, past: Past | None = None
) -> tuple[track.Visits, Bucket]:
    """Visits of the customers at the positions `at` of the base, and all that follows from them; `past` is what the
    run before said of them."""
    base, window, catalogue = work.base, work.window, work.catalogue
    customers = len(at)
    workdays = window.workdays(work.calendar)
    home = next((rule for rule in catalogue.anchors if rule.role == anchor.ROLES[0]), None)
    lived_at = base.places.of_class(home.candidates if home is not None else ())
    shared = base.cells.cells.shared
    visits, dwelt = track.lived(stays, customers, window.borders(), catalogue.track, shared, lived_at, workdays)
    asked = plan(catalogue, window.days)
    time = place_time(dwelt, customers)
    anchors = anchor.find(catalogue.anchors, time, base.places, customers)
    leaves, landmarks = answers(asked, dwelt, workdays, anchors, base.places, customers, catalogue.grading)
    columns = {name: column[at] for name, column in base.columns.items()}
    if "silent_days" in columns and np.isnan(np.asarray(columns["silent_days"], dtype=np.float64)).all():
        columns["silent_days"] = dwell.silent_days(stays, window.borders(), customers)
    ties = (
        anchor.ties(anchors, base.places.place_id, window, past.place_id, past.since_day, past.moved_day)
        if past
        else {}
    )
    today = (window.to_date - date(1970, 1, 1)).days
    attendance, events = attended(work, visits, customers, past)
    facts = Facts(
        customers=customers,
        days=window.days,
        to_date=window.to_date,
        dwell=leaves,
        landmarks=landmarks,
        anchors=anchors,
        attendance=attendance,
        events=events,
        columns=columns,
        percentiles=base.percentiles,
        places=base.places,
        place_time=time,
        moved_days={role: np.where(tie.moved_day >= 0, today - tie.moved_day, -1) for role, tie in ties.items()},
    )
    verdicts = judge(catalogue, facts, past.tags if past else None)
    features = feature.features(
        columns=columns,
        dwell=dwelt,
        workdays=workdays,
        anchors=anchors,
        radius_km=dwell.radius(dwelt, base.places, customers),
        verdicts=verdicts,
        catalogue=catalogue,
        places=base.places,
        branches=catalogue.branches,
        customers=customers,
    )
    return visits, Bucket(
        bucket, base.customer_key[at], base.org_id[at], dwelt, anchors, verdicts, features, ties, columns,
        attendance, events,
    )  # fmt: skip
