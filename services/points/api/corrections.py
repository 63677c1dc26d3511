"""Inbound gRPC: corrections, disputes, fraud, statements and analysis."""

from dataclasses import dataclass

from lifecircle.points import v1
from services.kit import interceptors, paging
from services.kit.errors import invalid_field
from services.kit.idempotency import key_of
from services.points.api import answers, asked, reports
from services.points.api.asked import Context
from services.points.store.analysis import DIMENSIONS
from services.points.usecases import Analysis, Corrections


@dataclass(frozen=True)
class CorrectionsApi:
    """The part of the servicer that PointsApi hands corrections and reports to."""

    corrections: Corrections
    analysis: Analysis

    async def CreateAdjustment(
        self, request: v1.CreateAdjustmentRequest, context: Context
    ) -> v1.CreateAdjustmentResponse:
        """Propose a correction."""
        asked.check(request)
        made = await self.corrections.propose(
            key_of(request, context), request.staff_id, request.component, request.milli_points, request.reason,
            interceptors.caller().subject,
        )  # fmt: skip
        return v1.CreateAdjustmentResponse(adjustment=reports.adjustment(made))

    async def DecideAdjustment(
        self, request: v1.DecideAdjustmentRequest, context: Context
    ) -> v1.DecideAdjustmentResponse:
        """Post or reject one."""
        asked.check(request)
        key, who = key_of(request, context), interceptors.caller().subject
        made = await self.corrections.decide(key, request.adjustment_id, who, post=request.post)
        return v1.DecideAdjustmentResponse(adjustment=reports.adjustment(made))

    async def ListAdjustments(self, request: v1.ListAdjustmentsRequest, context: Context) -> v1.ListAdjustmentsResponse:
        """The latest first."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.time_place(request.page_token, str)
        found = await self.corrections.adjustments(request.staff_id, after, size + 1)
        token = answers.next_token(found, size, lambda last: [last.create_time.isoformat(), last.adjustment_id])
        return v1.ListAdjustmentsResponse(adjustments=reports.adjustments(found[:size]), next_page_token=token)

    async def CreateDispute(self, request: v1.CreateDisputeRequest, context: Context) -> v1.CreateDisputeResponse:
        """Open a dispute."""
        asked.check(request)
        event = (request.source, request.source_event_id)
        who = interceptors.caller().subject
        made = await self.corrections.dispute(key_of(request, context), request.staff_id, event, request.claim, who)
        return v1.CreateDisputeResponse(dispute=reports.dispute(made))

    async def AnswerDispute(self, request: v1.AnswerDisputeRequest, context: Context) -> v1.AnswerDisputeResponse:
        """Answer by replay."""
        asked.check(request)
        made = await self.corrections.answer(key_of(request, context), request.dispute_id)
        return v1.AnswerDisputeResponse(dispute=reports.dispute(made))

    async def ResolveDispute(self, request: v1.ResolveDisputeRequest, context: Context) -> v1.ResolveDisputeResponse:
        """Accept or reject."""
        asked.check(request)
        key, who = key_of(request, context), interceptors.caller().subject
        made, proposed = await self.corrections.resolve(key, request.dispute_id, who, accept=request.accept)
        told = reports.adjustments(proposed)
        return v1.ResolveDisputeResponse(
            dispute=reports.dispute(made), adjustment=told[0] if told else None, adjustments=told
        )

    async def ListDisputes(self, request: v1.ListDisputesRequest, context: Context) -> v1.ListDisputesResponse:
        """The latest first."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.time_place(request.page_token, str)
        found = await self.corrections.disputes(request.staff_id, after, size + 1)
        token = answers.next_token(found, size, lambda last: [last.create_time.isoformat(), last.dispute_id])
        return v1.ListDisputesResponse(disputes=map(reports.dispute, found[:size]), next_page_token=token)

    async def GetStatement(self, request: v1.GetStatementRequest, context: Context) -> v1.GetStatementResponse:
        """An employee's lines."""
        asked.check(request)
        sums, balance = await self.analysis.statement(request.staff_id, request.period_id)
        statement = reports.statement(request.staff_id, request.period_id, sums, balance)
        return v1.GetStatementResponse(statement=statement)

    async def GetAppraisal(self, request: v1.GetAppraisalRequest, context: Context) -> v1.GetAppraisalResponse:
        """An employee's sheet."""
        asked.check(request)
        found = await self.analysis.appraisal(request.staff_id, request.period_id)
        return v1.GetAppraisalResponse(appraisal=reports.appraisal(found))

    async def GetAnalysis(self, request: v1.GetAnalysisRequest, context: Context) -> v1.GetAnalysisResponse:
        """Every level of a roll-up."""
        asked.check(request)
        if unknown := sorted(request.filters.keys() - DIMENSIONS.keys()):
            raise invalid_field([("filters", f"{unknown[0]} is not a dimension")])
        size, place = paging.clamp(request.page_size), asked.number_place(request.page_token)
        span = (request.from_period_id, request.to_period_id)
        found = await self.analysis.cells(span, list(request.dimensions), dict(request.filters), place, size + 1)
        token = answers.next_token(found, size, lambda _: [place + size])
        return v1.GetAnalysisResponse(rows=map(reports.cell, found[:size]), next_page_token=token)

    async def GetUnitStatement(
        self, request: v1.GetUnitStatementRequest, context: Context
    ) -> v1.GetUnitStatementResponse:
        """A contracted unit's sums by month."""
        asked.check(request)
        cells, staff = await self.analysis.unit(request.org_id, (request.from_period_id, request.to_period_id))
        total, rows = cells[0], cells[1:]
        return v1.GetUnitStatementResponse(statement=v1.UnitStatement(
            org_id=request.org_id, from_period_id=request.from_period_id, to_period_id=request.to_period_id,
            milli_points=total.points, revenue_fen=total.fen, employees=staff, rows=map(reports.cell, rows),
        ))  # fmt: skip

    async def FindFraud(self, request: v1.FindFraudRequest, context: Context) -> v1.FindFraudResponse:
        """Look for patterns in a month."""
        asked.check(request)
        key, own = key_of(request, context), dict(request.own_customers)
        return reports.counts(await self.corrections.find_fraud(key, request.period_id, own))

    async def ListFraudCases(self, request: v1.ListFraudCasesRequest, context: Context) -> v1.ListFraudCasesResponse:
        """By case."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.named(request.page_token)
        found = await self.corrections.fraud_cases(request.period_id, after, size + 1)
        token = answers.next_token(found, size, lambda last: [last.case_id])
        return v1.ListFraudCasesResponse(cases=map(reports.case, found[:size]), next_page_token=token)

    async def DecideFraudCase(self, request: v1.DecideFraudCaseRequest, context: Context) -> v1.DecideFraudCaseResponse:
        """Confirm or dismiss."""
        asked.check(request)
        key, who = key_of(request, context), interceptors.caller().subject
        case, proposed = await self.corrections.decide_fraud(key, request.case_id, who, confirm=request.confirm)
        told = reports.adjustments(proposed)
        return v1.DecideFraudCaseResponse(
            case=reports.case(case), adjustment=told[0] if told else None, adjustments=told
        )
