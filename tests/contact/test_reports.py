"""Reports through the service, against counts made by hand."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio
import pytest
from sqlalchemy import text

from lifecircle.contact import v1 as proto
from services.contact.domain.fact import Closing, Complained, Opening
from services.contact.lake import Folder
from services.contact.store import Store
from services.contact.usecases import Inflow
from tests.contact.conftest import Quiet
from tests.contact.test_campaign_life import contacted, write
from tests.fixtures.serving import refused

NOW = datetime(2026, 10, 1, 2, tzinfo=UTC)
Split, KpiSplit = proto.ListEffectReportsRequest, proto.ListKpiValuesRequest
numbers = itertools.count()


async def made(quiet: Quiet) -> proto.Campaign:
    """A campaign of 90 contacts at 10:00 on a Thursday, 9 openings, 10 held out; two complaints, four answers."""
    campaign = await write(quiet.stub("li"))
    await contacted(quiet, campaign, sent=90, opened=9, controls=10)
    async with quiet.db.read() as read:
        plan = (await Store().plans.page(read, None, 1))[0]
    async with quiet.db.begin() as tx:
        await Inflow(Store(), quiet.clock, Folder(Path())).told(
            tx,
            [
                Complained("k1", 3, "marketing", "", NOW + timedelta(days=2), ""),
                Complained("k1", 3, "marketing", "", NOW + timedelta(days=3), "Y"),
                Complained("k2", 4, "service", f"{plan.plan_id}-4", NOW + timedelta(days=4), "N"),
                Complained("k3", 5, "service", "", NOW + timedelta(days=4), ""),
                Complained("k4", 6, "marketing", "", NOW + timedelta(days=8), ""),
                Closing(1, campaign.offers[0].product_id, NOW + timedelta(days=20)),
                Opening(200, "P09", NOW - timedelta(days=70)),
            ],
        )
        await tx.commit()
    results = [proto.Outcome.RESULT_RESPONDED] * 3 + [proto.Outcome.RESULT_REFUSED]
    outcomes = [proto.Outcome(contact_id=f"{plan.plan_id}-{at}", result=one) for at, one in enumerate(results, start=1)]
    told = proto.RecordOutcomesRequest(outcomes=outcomes, request_id=f"o{next(numbers)}")
    await quiet.stub("li").RecordOutcomes(told)
    return campaign


async def test_the_effect_report_has_its_columns_and_is_the_raw_counts(quiet: Quiet) -> None:
    """R001-007, R001-016, R001-111, R001-126, R002-091, R001-143: time, campaign, channel, response, openings, the
    funnel, the money. R003-070: touches by their rates in each channel, a campaign by its return and complaints.
    """
    campaign, stub = await made(quiet), quiet.stub("li")
    spent = proto.Assessment(kind=proto.Assessment.KIND_COST, text="海报", cost_fen=550)
    said = proto.Assessment(kind=proto.Assessment.KIND_OPINION, text="有人说短信太多")
    for one in (spent, said):
        asked = proto.RecordAssessmentRequest(campaign_id=campaign.campaign_id, assessment=one, request_id=one.text)
        assert await stub.RecordAssessment(asked) == await stub.RecordAssessment(asked)
    (whole,) = (await stub.ListEffectReports(proto.ListEffectReportsRequest())).lines
    assert (whole.campaign_id, whole.won, whole.sent, whole.reached) == (campaign.campaign_id, 100, 90, 4)
    assert (whole.response.successes, whole.opening.successes, whole.control_opening.trials) == (3, 9, 10)
    assert (whole.cost_fen, whole.other_cost_fen, whole.income_fen) == (450, 550, 90_000)
    assert whole.roi == pytest.approx(89.0)
    assert whole.complaints == 2
    assert whole.first_time.ToDatetime(tzinfo=UTC) == NOW
    for split, group in ((Split.SPLIT_CHANNEL, "sms"), (Split.SPLIT_LEVEL, "A"), (Split.SPLIT_ORG, "G01")):
        (part,) = (await stub.ListEffectReports(proto.ListEffectReportsRequest(split=split))).lines
        assert (part.group, part.sent, part.opening, part.other_cost_fen) == (group, 90, whole.opening, 0)
        assert (part.reached, part.response, part.control_opening) == (4, whole.response, whole.control_opening)
        assert (part.cost_fen, part.contacts_per_success) == (450, 10.0), "45 fen for each who opened"
    listed = proto.ListAssessmentsRequest(campaign_id=campaign.campaign_id)
    assert [one.text for one in (await stub.ListAssessments(listed)).assessments] == ["海报", "有人说短信太多"]


SLOT_WITH_CLICKS = """
INSERT INTO slot VALUES ('top', '', '首页', 'web', 0, 0, 'DATA', 'ROTATE', 'VALID', '', now());
INSERT INTO content SELECT name, 'top', '', name, 1, 'APPROVED', '', '', 'CAMPAIGN', 'P01', 'li'
    FROM unnest(ARRAY['a', 'b']) AS told (name);
INSERT INTO slot_event SELECT 'top', 'shown' || n, '', 'EXPOSURE', 'a', 0, now(), 0, ''
    FROM generate_series(1, 40) AS n;
INSERT INTO slot_event SELECT 'top', 'click' || n, '', 'CLICK', 'a', 0, now(), 0, '' FROM generate_series(1, 7) AS n;
INSERT INTO suggestion VALUES ('s', 'top', '', 'b', 'a', 'show b less than a', 0.1, now())
"""


async def test_an_evaluation_has_its_four_parts_out_of_clicks_cost_comments_and_resources(quiet: Quiet) -> None:
    """R002-084: data, analysis, effect, measures. R003-081: clicks of the halls with cost, opinions and resources."""
    campaign, stub = await made(quiet), quiet.stub("li")
    asked = proto.GetEvaluationRequest(campaign_id=campaign.campaign_id)
    kinds = {proto.Assessment.KIND_COST: 550, proto.Assessment.KIND_OPINION: 0, proto.Assessment.KIND_RESOURCE: 0}
    for kind, cost in kinds.items():
        told = proto.Assessment(kind=kind, text=f"说{kind}", cost_fen=cost)
        request = proto.RecordAssessmentRequest(campaign_id=campaign.campaign_id, assessment=told, request_id=told.text)
        await stub.RecordAssessment(request)
    async with quiet.db.begin() as tx:
        for statement in SLOT_WITH_CLICKS.split(";\n"):
            await tx.execute(text(statement.replace("CAMPAIGN", campaign.campaign_id)))
        await tx.commit()
    found = (await stub.GetEvaluation(asked)).evaluation
    gathered = found.gathered
    assert (gathered.exposures, gathered.clicks, gathered.contacts, gathered.responses) == (40, 7, 90, 3)
    assert gathered.cost_fen == 450 + 550
    assert [[one.text for one in told] for told in (gathered.opinions, gathered.resources)] == [["说2"], ["说3"]]
    assert [(one.group, one.sent) for one in found.analysis] == [("sms", 90)]
    assert found.effect == (await stub.ListEffectReports(proto.ListEffectReportsRequest())).lines[0]
    assert list(found.measures) == ["show b less than a"]


async def test_what_went_out_online_is_counted_beside_the_comparison_and_never_in_it(quiet: Quiet) -> None:
    """R001-111, R002-091, R003-004: confirmed grants are in the report beside the plan's, in KPIs and complaints."""
    campaign, stub = await made(quiet), quiet.stub("li")
    offer = campaign.offers[0]
    grants = [("g1", 201, "CONFIRMED"), ("g2", 202, "CONFIRMED"), ("g3", 203, "CONFIRMED"), ("g4", 204, "EXPIRED")]
    rows = [
        {"grant": grant, "key": key, "state": state, "campaign": campaign.campaign_id, "at": NOW}
        | {"offer": offer.offer_id, "product": offer.product_id}
        for grant, key, state in grants
    ]
    stmt = (
        "INSERT INTO decision VALUES (:grant, '', :key, 'G01', :state, '2026-10-01', '', 'sms', 'marketing', :campaign,"
        " :offer, :product, '', '', '', 1.0, :at, :at, 1, '{}')"
    )
    async with quiet.db.begin() as tx:
        await tx.execute(text(stmt), rows)
        told: list[Opening | Complained] = [
            Opening(201, offer.product_id, NOW + timedelta(days=1)),
            Complained("k5", 203, "marketing", "", NOW + timedelta(days=1), ""),
            Complained("k6", 202, "service", "g2", NOW + timedelta(days=1), ""),
        ]
        await Inflow(Store(), quiet.clock, Folder(Path())).told(tx, told)
        await tx.commit()
    answered = [proto.Outcome(contact_id=grant, result=proto.Outcome.RESULT_RESPONDED) for grant in ("g2", "g4")]
    done = await stub.RecordOutcomes(proto.RecordOutcomesRequest(outcomes=answered, request_id=f"o{next(numbers)}"))
    listed = [
        (await stub.ListOutcomes(proto.ListOutcomesRequest(**asked))).outcomes
        for asked in ({"unmatched": True}, {"contact_id": "g2"}, {"contact_id": "g3"})
    ]
    assert [[(one.outcome.contact_id, one.matched) for one in told] for told in listed] == [
        [("g4", False)],
        [("g2", True)],
        [],
    ], "a grant that was confirmed matches, one that expired does not, and of a third nothing is told yet"
    assert list(done.unmatched_contact_ids) == ["g4"]
    (line,) = (await stub.ListEffectReports(proto.ListEffectReportsRequest())).lines
    assert (line.sent, line.opening.successes, line.cost_fen, line.income_fen) == (90, 9, 450, 90_000)
    online = line.online
    assert (online.sent, online.response.successes, online.opening.successes) == (3, 1, 1)
    assert (online.cost_fen, online.worth_fen, line.complaints) == (15, offer.worth_fen, 4)
    assert (line.opening.rate, online.opening.rate) == pytest.approx((9 / 90, 1 / 3))
    assert line.opening.low < line.opening.rate < line.opening.high < online.opening.high
    found = (await stub.ListComplaints(proto.ListComplaintsRequest(campaign_id=campaign.campaign_id))).complaints
    assert {one.complaint_id: one.link for one in found if one.contact_id in ("g2", "g3")} == {
        "k5": "last",
        "k6": "given",
    }
    for name, expected in (("response_rate", (4, 93)), ("opening_rate", (10, 93)), ("cost_per_opening", (465, 10))):
        (value,) = (await stub.ListKpiValues(proto.ListKpiValuesRequest(name=name))).values
        assert (value.numerator, value.denominator) == expected


async def test_a_complaint_is_linked_to_the_contact_that_it_names_or_follows(quiet: Quiet) -> None:
    """R001-018: the link is by the contact named, or the last contact within 7 days of a complaint of marketing."""
    campaign, stub = await made(quiet), quiet.stub("li")
    found = (await stub.ListComplaints(proto.ListComplaintsRequest())).complaints
    assert {one.complaint_id: one.link for one in found} == {"k1": "last", "k2": "given", "k3": "", "k4": ""}
    first = next(one for one in found if one.complaint_id == "k1")
    assert (first.satisfied, first.campaign_id) == ("Y", campaign.campaign_id)
    assert first.open_time.ToDatetime(tzinfo=UTC) == NOW + timedelta(days=2)
    linked = proto.ListComplaintsRequest(linked=True, campaign_id=campaign.campaign_id, page_size=1)
    page = await stub.ListComplaints(linked)
    linked.page_token = page.next_page_token
    rest = (await stub.ListComplaints(linked)).complaints
    assert [one.complaint_id for one in (*page.complaints, *rest)] == ["k2", "k1"]


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("complaints_per_10000", KpiSplit.SPLIT_UNSPECIFIED, [("", 2, 90)]),
        ("response_rate", KpiSplit.SPLIT_LEVEL, [("A", 3, 90)]),
        ("opening_rate", KpiSplit.SPLIT_TYPE, [("event", 9, 90)]),
        ("cost_per_opening", KpiSplit.SPLIT_UNSPECIFIED, [("", 450, 9)]),
        ("satisfaction", KpiSplit.SPLIT_LEVEL, [("A", 1, 2)]),
        ("model_targeted_share", KpiSplit.SPLIT_UNSPECIFIED, [("", 90, 90)]),
        ("offer_diversity", KpiSplit.SPLIT_UNSPECIFIED, [("", 0, 8_100)]),
        ("launch_lead_days", KpiSplit.SPLIT_UNSPECIFIED, []),
        ("orders_in_time", KpiSplit.SPLIT_UNSPECIFIED, []),
        ("order_response", KpiSplit.SPLIT_TYPE, []),
    ],
)
async def test_each_kpi_is_the_quotient_that_its_formula_says(
    quiet: Quiet, name: str, split: "proto.ListKpiValuesRequest.Split.ValueType", expected: list[tuple[str, int, int]]
) -> None:
    """R002-008, R004-002, R004-032, R004-035, R004-036, R002-089: KPI by month and group, against counts by hand."""
    await made(quiet)
    asked = proto.ListKpiValuesRequest(name=name, split=split)
    found = (await quiet.stub("li").ListKpiValues(asked)).values
    assert [(one.group, one.numerator, one.denominator) for one in found] == expected
    assert all((one.period_date.year, one.period_date.month) == (2026, 10) for one in found)


async def test_contacts_are_spread_over_business_time_and_place(quiet: Quiet) -> None:
    """R001-123: marketing in time and space: weekday and hour of business time, organisation, channel."""
    campaign, stub = await made(quiet), quiet.stub("li")
    asked = proto.ListTimeSpaceRequest(campaign_id=campaign.campaign_id)
    (line,) = (await stub.ListTimeSpace(asked)).lines
    assert (line.weekday, line.hour, line.org_id, line.channel) == (4, 10, "G01", proto.CHANNEL_SMS)
    assert (line.sent, line.responded, line.opened) == (90, 3, 9)


async def test_quartiles_before_and_after_are_told_of_contacted_and_control(quiet: Quiet) -> None:
    """R004-008: quartiles of openings per customer, before and after, per group."""
    campaign = await made(quiet)
    found = (await quiet.stub("li").GetQuartiles(proto.GetQuartilesRequest(campaign_id=campaign.campaign_id))).quartiles
    assert {(one.group, one.period): (one.customers, one.mean) for one in found} == {
        ("contacted", "before"): (90, 0.0),
        ("contacted", "after"): (90, 0.1),
        ("control", "before"): (10, 0.0),
        ("control", "after"): (10, 0.0),
    }
    assert all(one.first <= one.median <= one.third for one in found)


async def test_cohorts_show_who_kept_the_product(quiet: Quiet) -> None:
    """R002-047, R002-090: monthly subscribers of a campaign's product, and the retention of each month's."""
    campaign, stub = await made(quiet), quiet.stub("li")
    quiet.clock.advance(days=62)
    asked = proto.ListCohortsRequest(product_id=campaign.offers[0].product_id)
    found = (await stub.ListCohorts(asked)).cohorts
    assert [(one.month_date.month, one.opened, list(one.kept), one.holding) for one in found] == [
        (10, 9, [8, 8], 8),
        (11, 0, [0], 8),
        (12, 0, [], 8),
    ]


async def test_an_outcome_is_attributed_by_its_token_alone(quiet: Quiet) -> None:
    """R000-047: the attribution token that went out with the contact brings its outcome home."""
    campaign, stub = await made(quiet), quiet.stub("li")
    async with quiet.db.read() as read:
        plan = (await Store().plans.page(read, None, 1))[0]
    listed = await stub.ListContacts(proto.ListContactsRequest(plan_id=plan.plan_id, page_size=50))
    contact = listed.contacts[19]
    results = [
        proto.Outcome(attribution_token=token, result=proto.Outcome.RESULT_RESPONDED)
        for token in (contact.attribution_token, "nobody's")
    ]
    done = await stub.RecordOutcomes(proto.RecordOutcomesRequest(outcomes=results, request_id=f"o{next(numbers)}"))
    assert (done.recorded, len(done.unmatched_contact_ids)) == (2, 1)
    (kept,) = (await stub.ListOutcomes(proto.ListOutcomesRequest(contact_id=contact.contact_id))).outcomes
    assert kept.matched
    effect = await stub.ListEffectReports(proto.ListEffectReportsRequest(campaign_id=campaign.campaign_id))
    assert effect.lines[0].response.successes == 4
    with pytest.raises(grpc.aio.AioRpcError) as nameless:
        await stub.RecordOutcomes(
            proto.RecordOutcomesRequest(outcomes=[proto.Outcome(result=proto.Outcome.RESULT_RESPONDED)], request_id="x")
        )
    assert refused(nameless.value)[1] == "INVALID_FIELD"


async def test_the_catalogue_is_listed_and_an_unknown_kpi_is_refused(quiet: Quiet) -> None:
    stub = quiet.stub("li")
    listed = (await stub.ListKpis(proto.ListKpisRequest())).kpis
    assert all(one.formula and one.owner for one in listed)
    for one in listed:
        await stub.ListKpiValues(proto.ListKpiValuesRequest(name=one.name))
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stub.ListKpiValues(proto.ListKpiValuesRequest(name="luck"))
    assert refused(unknown.value)[:2] == ("NOT_FOUND", "KPI_NOT_FOUND")
