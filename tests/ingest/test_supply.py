"""The supply is watched: each fault raises its own alarm, cleared when the reason is gone; and it is reported."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.ingest.domain import freshness
from services.ingest.domain.delivery import Delivery, Problem, State
from services.ingest.domain.feed import Cycle, Schedule
from services.ingest.domain.freshness import Kind, Span
from tests.ingest.house import House
from tests.ingest.made import ZONE, feed_of

SHANGHAI = ZoneInfo(ZONE)
DAILY = {"cycle": "daily", "due": "09:00"}
TODAY = datetime.now(SHANGHAI).date()
ROW = "R{}|13900000001|20260901120000|1000|app|\n"


def name_of(day: date, sequence: int = 1) -> str:
    return f"RECHARGE_{day:%Y%m%d}_{sequence:03}.TXT"


def rows(count: int, bad: int = 0, first: int = 0) -> str:
    good = "".join(ROW.format(f"{first + number}") for number in range(count - bad))
    return good + "".join(ROW.format(f"B{first + number}").replace("|1000|", "|x|") for number in range(bad))


async def open_alarms(house: House) -> set[str]:
    await house.supply.watch()
    found = await house.supply.alarms(feed_id="recharges", open_only=True, before=None, size=50)
    return {each.kind.value for each in found}


async def test_a_late_file_raises_an_alarm_that_its_coming_clears(house: House) -> None:
    """R000-011, R000-012: a file withheld past its due time."""
    before = TODAY - timedelta(days=3)
    await house.deliver(name_of(before), rows(100))
    house.ahead = datetime.combine(before + timedelta(days=2), time(7, 59), SHANGHAI) - datetime.now(UTC)
    assert await open_alarms(house) == set()
    house.ahead += timedelta(minutes=2)
    assert await open_alarms(house) == {"LATE"}
    await house.deliver(name_of(before + timedelta(days=1)), rows(100, first=1000))
    assert await open_alarms(house) == set()
    (told,) = await house.supply.alarms(feed_id="", open_only=False, before=None, size=50)
    assert told.clear_time is not None
    assert told.period == before + timedelta(days=1)
    assert "was due at" in told.message


async def test_half_the_usual_rows_too_many_rejects_and_a_broken_format_are_alarms_of_their_own(house: House) -> None:
    """R000-011: volume, reject rate and format; R000-013: what is not as its control file says."""
    for back in range(6, 1, -1):
        await house.deliver(name_of(TODAY - timedelta(days=back)), rows(100, first=1000 * back))
    assert "VOLUME" not in await open_alarms(house)
    last = TODAY - timedelta(days=1)
    await house.deliver(name_of(last), rows(40, first=10_000))
    assert "VOLUME" in await open_alarms(house)
    await house.deliver(name_of(last), rows(100, bad=15, first=20_000))
    assert {"VOLUME", "REJECT_RATE"} & await open_alarms(house) == {"REJECT_RATE"}
    await house.deliver(name_of(last), rows(100, bad=60, first=30_000))  # held: what was loaded stays
    assert "REJECT_RATE" in await open_alarms(house)
    await house.deliver(name_of(last), "\n".join("a;b;c" for _ in range(100)))
    assert "BROKEN_FORMAT" in await open_alarms(house)
    house.ahead = timedelta(seconds=10)
    await house.deliver(name_of(last), rows(100, first=40_000), b"no control line\n")
    assert "INTEGRITY" in await open_alarms(house)
    await house.deliver(name_of(last), rows(100, first=50_000))
    assert await open_alarms(house) & {"VOLUME", "REJECT_RATE", "BROKEN_FORMAT", "INTEGRITY"} == set()


async def test_rows_that_came_under_another_sequence_too_are_loaded_and_reported(house: House) -> None:
    day = TODAY - timedelta(days=1)
    feed = "app_logs"
    log = [f"13900000001|{day:%Y%m%d}1200{row % 60:02}|app|view|page{row}|||s|1" for row in range(400)]
    await house.deliver(f"APPLOG_{day:%Y%m%d}_001.TXT", "\n".join(log[:300]))
    second = await house.deliver(f"APPLOG_{day:%Y%m%d}_002.TXT", "\n".join(log[200:]))
    assert second.state is State.LOADED
    assert [note.reason for note in second.notes] == ["OVERLAPPING"]
    assert "about 50% of the rows" in second.notes[0].message
    await house.supply.watch()
    found = await house.supply.alarms(feed_id=feed, open_only=True, before=None, size=5)
    assert Kind.OVERLAP in {each.kind for each in found}
    third = await house.deliver(f"APPLOG_{day:%Y%m%d}_003.TXT", "\n".join(row.replace("page", "x") for row in log))
    assert third.notes == ()


async def test_health_and_the_sla_report_say_how_fresh_complete_and_stable_a_feed_is(house: House) -> None:
    """R000-012, R000-013, R000-014, R002-066: what the rules found, delivery by delivery."""
    first = TODAY - timedelta(days=4)
    await house.deliver(name_of(first), rows(100))  # long after it was due
    await house.deliver(name_of(first + timedelta(days=2)), rows(99, bad=9, first=1000))
    await house.deliver(name_of(first + timedelta(days=3)), "broken\n")
    await house.supply.watch()
    (health,) = [each for each in await house.supply.health("", 100) if each.counts.feed_id == "recharges"]
    assert health.latest_period == first + timedelta(days=2)
    assert health.freshness is not None
    assert health.freshness > timedelta(days=1)
    assert [health.completeness, health.stability] == pytest.approx([190 / 199, 2 / 3])
    assert {each.kind for each in health.alarms} >= {Kind.LATE, Kind.BROKEN_FORMAT}
    assert health.next_due_time is not None
    (sla,) = [each for each in await house.supply.sla(first, TODAY) if each.feed_id == "recharges"]
    assert (sla.deliveries, sla.loaded, sla.quarantined) == (3, 2, 1)
    assert sla.source_rows == sla.loaded_rows + sla.rejected_rows == 199
    assert sla.due == sla.on_time + sla.late + sla.missing
    assert sla.missing >= 1
    assert sla.worst_delay > timedelta(days=1)
    (none,) = [each for each in await house.supply.sla(first, TODAY) if each.feed_id == "places"]
    assert none.due == 0


def loaded(day: int, sequence: int = 1, source: int = 100, rejected: int = 0, **changed: object) -> Delivery:
    period = date(2026, 9, day)
    at = datetime.combine(period + timedelta(days=1), time(8), SHANGHAI)
    plain: dict[str, object] = {
        "delivery_id": f"{day}-{sequence}", "feed_id": "tests", "revision": 1, "period": period,
        "sequence": sequence, "file_name": "", "sha256": "", "state": State.LOADED, "source_rows": source,
        "loaded_rows": source - rejected, "rejected_rows": rejected, "problems": (), "receive_time": at,
        "load_time": at, "delivery_no": 100 * day + sequence,
    }  # fmt: skip
    return Delivery(**(plain | changed))  # type: ignore[arg-type]


NOW = datetime(2026, 9, 12, 8, 0, tzinfo=SHANGHAI)  # the period of the 11th is not due yet


@pytest.mark.parametrize(
    ("keys", "sent", "expected"),
    [
        ({}, [], set()),
        ({}, [loaded(5)], set()),  # no schedule: nothing is late
        ({"schedule": DAILY}, [loaded(9), loaded(10)], set()),
        ({"schedule": DAILY}, [loaded(8), loaded(10)], {Kind.LATE}),
        ({"schedule": DAILY}, [loaded(day) for day in (6, 7, 8, 9)] + [loaded(10, source=49)], {Kind.VOLUME}),
        ({"schedule": DAILY}, [loaded(day) for day in (6, 7, 8, 9)] + [loaded(10, source=151)], {Kind.VOLUME}),
        ({"schedule": DAILY}, [loaded(day) for day in (6, 7, 8, 9)] + [loaded(10, source=60)], set()),
        ({"schedule": DAILY}, [loaded(9), loaded(10, source=1)], set()),  # no history yet
        ({"volume": {"least": 2}}, [loaded(9), loaded(10, source=1)], {Kind.VOLUME}),
        ({"volume": {"most": 50}}, [loaded(10)], {Kind.VOLUME}),
        # Half of the files of a day have come, and it is not due yet: that is no missing volume.
        (
            {"schedule": DAILY},
            [loaded(day, part, 50) for day in (6, 7, 8, 9, 10) for part in (1, 2)] + [loaded(11, 1, 45)],
            set(),
        ),
        ({"rejects": {"alarm": 0.01}}, [loaded(10, rejected=2)], {Kind.REJECT_RATE}),
        ({"rejects": {"alarm": 0.02}}, [loaded(10, rejected=2)], set()),
        # What was rejected came again, corrected.
        ({}, [loaded(10, rejected=2), loaded(10, 1001, source=2, replay_of="10-1")], set()),
        ({}, [loaded(10, state=State.QUARANTINED, problems=(Problem("COLUMNS_MISSING", ""),))], {Kind.BROKEN_FORMAT}),
        ({}, [loaded(10, state=State.QUARANTINED, problems=(Problem("CHECKSUM_WRONG", ""),))], {Kind.INTEGRITY}),
    ],
)
def test_what_is_wrong_is_found_from_the_deliveries_alone(
    keys: dict[str, object], sent: list[Delivery], expected: set[Kind]
) -> None:
    feed = feed_of({"name": "word", "type": "string"}, **keys)
    assert {each.kind for each in freshness.findings(feed, sent, SHANGHAI, NOW)} == expected


def test_periods_are_due_after_they_have_ended() -> None:
    monthly = Schedule(Cycle.MONTHLY, time(18), 3)
    assert monthly.due_time(date(2026, 1, 1), SHANGHAI) == datetime(2026, 2, 4, 18, tzinfo=SHANGHAI)
    weekly = Schedule(Cycle.WEEKLY, time(6))
    assert weekly.due_time(date(2026, 9, 7), SHANGHAI) == datetime(2026, 9, 14, 6, tzinfo=SHANGHAI)
    due = freshness.due_periods(Schedule(Cycle.DAILY, time(9)), date(2026, 9, 8), date(2026, 9, 30), SHANGHAI, NOW)
    assert list(due) == [date(2026, 9, 8), date(2026, 9, 9), date(2026, 9, 10)]


def test_the_report_tells_on_time_from_late_and_missing() -> None:
    feed = feed_of({"name": "word", "type": "string"}, schedule=DAILY)
    late = loaded(8, load_time=datetime(2026, 9, 9, 11, tzinfo=SHANGHAI))
    sent = [loaded(7), late, loaded(10, state=State.SUPERSEDED)]
    told = freshness.sla(feed, date(2026, 9, 7), sent, Span(date(2026, 9, 1), date(2026, 9, 30)), SHANGHAI, NOW)
    assert (told.due, told.on_time, told.late, told.missing) == (4, 2, 1, 1)
    assert told.worst_delay == timedelta(hours=2)
