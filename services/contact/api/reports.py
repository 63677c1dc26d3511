"""Reports: effect, assessments, quartiles, KPIs, time and space, cohorts, complaints, touch points, traces."""

import dataclasses

from lifecircle.contact import v1 as proto
from services.contact.api import incoming, outgoing
from services.contact.api.pages import READ, WRITE, Context, number, request_key, texts, timed, timed_token
from services.contact.domain.effect import Assessment, Evaluation, Report
from services.contact.domain.kpi import KpiValue
from services.contact.domain.touchpoint import Step
from services.contact.usecases import Reports
from services.kit import paging
from services.kit.errors import invalid_field
from services.kit.interceptors import Rights, caller

RIGHTS: Rights = {
    "ListEffectReports": READ,
    "RecordAssessment": WRITE,
    "ListAssessments": READ,
    "GetQuartiles": READ,
    "ListKpis": READ,
    "ListKpiValues": READ,
    "ListTimeSpace": READ,
    "ListCohorts": READ,
    "ListComplaints": READ,
    "GetEvaluation": READ,
    "ListTouchPoints": READ,
    "GetTrace": READ,
}

_Kind = proto.Assessment.Kind


class ReportsApi:
    """Reports."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def ListEffectReports(
        self, request: proto.ListEffectReportsRequest, context: Context
    ) -> proto.ListEffectReportsResponse:
        """Lists the effect of campaigns."""
        size, told = paging.clamp(request.page_size), texts(request.page_token, "campaign_id", "group")
        split = proto.ListEffectReportsRequest.Split.Name(request.split).removeprefix("SPLIT_").lower()
        after = (told[0], told[1]) if told else None
        found = await self._reports.effects(request.campaign_id, split if request.split else "", after, size)
        last = found[-1].line if len(found) == size else None
        token = paging.encode({"campaign_id": last.campaign_id, "group": last.group} if last else {})
        return proto.ListEffectReportsResponse(lines=[_report(one) for one in found], next_page_token=token)

    async def RecordAssessment(
        self, request: proto.RecordAssessmentRequest, context: Context
    ) -> proto.RecordAssessmentResponse:
        """Records what people report of a campaign."""
        key, told = request_key(request), request.assessment
        if not told.kind or told.cost_fen < 0 or len(told.text) > 2_000:
            raise invalid_field([("assessment", "needs a kind, a cost from 0, and a text of at most 2,000 characters")])
        asked = Assessment(_Kind.Name(told.kind).removeprefix("KIND_"), told.text, told.cost_fen)
        made = await self._reports.assess(key, request.campaign_id, caller().org, asked)
        return proto.RecordAssessmentResponse(assessment=_assessment(made))

    async def ListAssessments(
        self, request: proto.ListAssessmentsRequest, context: Context
    ) -> proto.ListAssessmentsResponse:
        """Lists what people reported of a campaign."""
        size, after = paging.clamp(request.page_size), number(request.page_token)
        found = await self._reports.assessments(request.campaign_id, after, size)
        token = paging.encode({"number": after + size} if len(found) == size else {})
        return proto.ListAssessmentsResponse(assessments=[_assessment(one) for one in found], next_page_token=token)

    async def GetQuartiles(self, request: proto.GetQuartilesRequest, context: Context) -> proto.GetQuartilesResponse:
        """Gives quartiles before and after."""
        found = await self._reports.quartiles(request.campaign_id)
        return proto.GetQuartilesResponse(quartiles=[proto.Quartiles(**dataclasses.asdict(one)) for one in found])

    async def ListKpis(self, request: proto.ListKpisRequest, context: Context) -> proto.ListKpisResponse:
        """Lists the catalogue."""
        size, after = paging.clamp(request.page_size), (texts(request.page_token, "name") or [""])[0]
        found = self._reports.kpis(after, size)
        names = ("name", "title", "formula", "owner", "unit", "rising_is_good")
        kpis = [proto.Kpi(**{name: getattr(one, name) for name in names}) for one in found]
        token = paging.encode({"name": found[-1].name} if len(found) == size else {})
        return proto.ListKpisResponse(kpis=kpis, next_page_token=token)

    async def ListKpiValues(self, request: proto.ListKpiValuesRequest, context: Context) -> proto.ListKpiValuesResponse:
        """Lists a KPI month by month."""
        size, after = paging.clamp(request.page_size), number(request.page_token)
        split = proto.ListKpiValuesRequest.Split.Name(request.split).removeprefix("SPLIT_").lower()
        found = (await self._reports.kpi(request.name, split if request.split else ""))[after : after + size]
        token = paging.encode({"number": after + size} if len(found) == size else {})
        return proto.ListKpiValuesResponse(values=[_kpi(one) for one in found], next_page_token=token)

    async def ListTimeSpace(self, request: proto.ListTimeSpaceRequest, context: Context) -> proto.ListTimeSpaceResponse:
        """Lists contacts by when and where."""
        size, after = paging.clamp(request.page_size), number(request.page_token)
        found = await self._reports.time_space(request.campaign_id, after, size)
        lines = [
            proto.TimeSpaceLine(**{**dataclasses.asdict(one), "channel": outgoing.channel(one.channel)})
            for one in found
        ]
        token = paging.encode({"number": after + size} if len(found) == size else {})
        return proto.ListTimeSpaceResponse(lines=lines, next_page_token=token)

    async def ListCohorts(self, request: proto.ListCohortsRequest, context: Context) -> proto.ListCohortsResponse:
        """Lists who opened a product by month, and who kept it."""
        size, after = paging.clamp(request.page_size), number(request.page_token)
        found = (await self._reports.cohorts(request.product_id))[after : after + size]
        lines = [
            proto.Cohort(month_date=outgoing.day(one.month), opened=one.opened, kept=one.kept, holding=one.holding)
            for one in found
        ]
        token = paging.encode({"number": after + size} if len(found) == size else {})
        return proto.ListCohortsResponse(cohorts=lines, next_page_token=token)

    async def ListComplaints(
        self, request: proto.ListComplaintsRequest, context: Context
    ) -> proto.ListComplaintsResponse:
        """Lists complaints with their contacts."""
        size = paging.clamp(request.page_size)
        found = await self._reports.complaints(request.campaign_id, request.linked, timed(request.page_token), size)
        token = timed_token(*[(one.open_time, one.complaint_id) for one in found], size=size)
        complaints = [
            proto.Complaint(**{**dataclasses.asdict(one), "open_time": outgoing.moment(one.open_time)}) for one in found
        ]
        return proto.ListComplaintsResponse(complaints=complaints, next_page_token=token)

    async def GetEvaluation(self, request: proto.GetEvaluationRequest, context: Context) -> proto.GetEvaluationResponse:
        """Gives a campaign as a whole."""
        incoming.check(request)
        found = await self._reports.evaluation(request.campaign_id)
        return proto.GetEvaluationResponse(evaluation=_evaluation(found))

    async def ListTouchPoints(
        self, request: proto.ListTouchPointsRequest, context: Context
    ) -> proto.ListTouchPointsResponse:
        """Lists how well channels and slots are used."""
        size, after = paging.clamp(request.page_size), (texts(request.page_token, "name") or [""])[0]
        days = incoming.day(request.first_date, "first_date"), incoming.day(request.last_date, "last_date")
        found = await self._reports.touch_points(*days, after, size)
        token = paging.encode({"name": found[-1].name} if len(found) == size else {})
        points = [proto.TouchPoint(**dataclasses.asdict(one), fill_rate=one.fill_rate) for one in found]
        return proto.ListTouchPointsResponse(touch_points=points, next_page_token=token)

    async def GetTrace(self, request: proto.GetTraceRequest, context: Context) -> proto.GetTraceResponse:
        """Follows a grant through the loop."""
        incoming.check(request)
        steps = await self._reports.trace(request.grant_id)
        return proto.GetTraceResponse(steps=[_step(one) for one in steps])


def _evaluation(value: Evaluation) -> proto.Evaluation:
    line = value.effect.line if value.effect else None
    kinds: dict[str, list[proto.Assessment]] = {}
    for one in value.assessments:
        kinds.setdefault(one.kind, []).append(_assessment(one))
    return proto.Evaluation(
        gathered=proto.Evaluation.Gathered(
            exposures=value.exposures,
            clicks=value.clicks,
            contacts=line.sent + line.online_sent if line else 0,
            responses=line.responded + line.online_responded if line else 0,
            cost_fen=line.cost_fen + line.online_cost_fen + line.other_cost_fen
            if line
            else sum(one.cost_fen for one in value.assessments),
            opinions=kinds.get("OPINION", []),
            resources=kinds.get("RESOURCE", []),
        ),
        analysis=[_report(one) for one in value.analysis],
        effect=_report(value.effect) if value.effect else None,
        measures=value.measures,
    )


def _step(value: Step) -> proto.TraceStep:
    stage, time = proto.TraceStep.Stage.Value(f"STAGE_{value.stage}"), value.time
    return proto.TraceStep(
        stage=stage, ref=value.ref, text=value.text, time=None if time is None else outgoing.moment(time)
    )


def _report(found: Report) -> proto.EffectReport:
    line = found.line
    counted = ("campaign_id", "name", "group", "sent", "reached", "cost_fen", "other_cost_fen", "complaints")
    ratio = found.to_control
    return proto.EffectReport(
        **{name: getattr(line, name) for name in counted},
        first_time=outgoing.moment(line.first_time),
        last_time=outgoing.moment(line.last_time),
        won=line.sent + line.controls,
        response=outgoing.rate(found.response),
        opening=outgoing.rate(found.opening),
        control_opening=outgoing.rate(found.control_opening),
        to_control=proto.SuccessRatio(ratio=ratio.ratio, low=ratio.low, high=ratio.high),
        income_fen=found.income_fen,
        roi=found.roi,
        contacts_per_success=found.contacts_per_success,
        control_per_success=found.control_per_success,
        complaints_per_10000=found.complaints_per_10000,
        online=_online(found) if line.online_sent else None,
    )


def _online(found: Report) -> proto.EffectReport.Online:
    line = found.line
    return proto.EffectReport.Online(
        sent=line.online_sent,
        response=outgoing.rate(found.online_response),
        opening=outgoing.rate(found.online_opening),
        cost_fen=line.online_cost_fen,
        worth_fen=line.online_worth_fen,
    )


def _assessment(value: Assessment) -> proto.Assessment:
    stamp = outgoing.moment(value.report_time)
    return proto.Assessment(
        kind=_Kind.Value(f"KIND_{value.kind}"), text=value.text, cost_fen=value.cost_fen, report_time=stamp
    )


def _kpi(value: KpiValue) -> proto.KpiValue:
    count = value.count
    return proto.KpiValue(
        period_date=outgoing.day(count.month),
        group=count.group,
        numerator=count.numerator,
        denominator=count.denominator,
        value=value.value,
        change=value.change,
    )
