"""Inbound gRPC: proto in → plain values → use case → proto out. No rule, no SQL."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from lifecircle.points import v1
from services.kit import interceptors, paging
from services.kit.clock import Clock
from services.kit.errors import invalid_field
from services.kit.idempotency import key_of
from services.points.api import answers, asked, reports
from services.points.api.asked import Context
from services.points.api.corrections import CorrectionsApi
from services.points.domain.period import State
from services.points.usecases import Periods, Reading, RuleBook, Scoring

_READERS = frozenset({"viewer", "operator", "service"})
_WRITERS = frozenset({"operator"})
RIGHTS: Mapping[str, frozenset[str]] = {
    "CreateRuleSet": _WRITERS,
    "PublishRuleSet": _WRITERS,
    "GetRuleSet": _READERS,
    "ListRuleSets": _READERS,
    "ScoreEvent": frozenset({"operator", "service"}),
    "ExplainEntry": _READERS,
    "ListEntries": _READERS,
    "ListSuspense": _READERS,
    "ListAssignments": _READERS,
    "ListLeaderboard": _READERS,
    "GetPeriod": _READERS,
    "ValidateRuleSet": _WRITERS,
    "SimulateRuleSet": _WRITERS,
    "ApproveRuleSet": _WRITERS,
    "GetRuleSetWorkbook": _READERS,
    "ScoreEvents": frozenset({"operator", "service"}),
    "ExplainMissing": _READERS,
    "ListPeriods": _READERS,
    "CalculatePeriod": _WRITERS,
    "ReopenPeriod": _WRITERS,
    "LockPeriod": _WRITERS,
    "PayPeriod": _WRITERS,
    "CreateRecalculation": _WRITERS,
    "GetScoreRun": _READERS,
    "PostScoreRun": _WRITERS,
    "GetJob": _READERS,
    "CreateAdjustment": _WRITERS,
    "DecideAdjustment": _WRITERS,
    "ListAdjustments": _READERS,
    "CreateDispute": _READERS,
    "AnswerDispute": _WRITERS,
    "ResolveDispute": _WRITERS,
    "ListDisputes": _READERS,
    "GetStatement": _READERS,
    "GetAppraisal": _READERS,
    "GetAnalysis": _READERS,
    "GetUnitStatement": _READERS,
    "FindFraud": _WRITERS,
    "ListFraudCases": _READERS,
    "DecideFraudCase": _WRITERS,
    "ExportPeriod": _READERS,
}
"""Who may call what."""


@dataclass(frozen=True)
class PointsApi(CorrectionsApi, v1.PointsServiceServicer):
    """The servicer of PointsService."""

    rules: RuleBook
    scoring: Scoring
    reading: Reading
    periods: Periods
    clock: Clock

    async def CreateRuleSet(self, request: v1.CreateRuleSetRequest, context: Context) -> v1.CreateRuleSetResponse:
        """Keep a draft."""
        asked.check(request)
        draft, author = request.rule_set, interceptors.caller().subject
        if not draft.definition and not request.workbook:
            raise invalid_field([("rule_set.definition", "is needed, or a workbook")])
        key = key_of(request, context)
        version = await self.rules.create(key, draft.name, draft.definition, author, request.workbook)
        return v1.CreateRuleSetResponse(rule_set=answers.rule_set(version))

    async def PublishRuleSet(self, request: v1.PublishRuleSetRequest, context: Context) -> v1.PublishRuleSetResponse:
        """Publish a draft from a business day on."""
        asked.check(request)
        effective = asked.day(request.effective_date, "effective_date")
        version = await self.rules.publish(
            key_of(request, context), request.rule_set_id, request.sha256, effective, interceptors.caller().subject,
            retroactive=request.retroactive,
        )  # fmt: skip
        return v1.PublishRuleSetResponse(rule_set=answers.rule_set(version))

    async def GetRuleSet(self, request: v1.GetRuleSetRequest, context: Context) -> v1.GetRuleSetResponse:
        """One version."""
        asked.check(request)
        return v1.GetRuleSetResponse(rule_set=answers.rule_set(await self.rules.get(request.rule_set_id)))

    async def ListRuleSets(self, request: v1.ListRuleSetsRequest, context: Context) -> v1.ListRuleSetsResponse:
        """Versions, the latest first."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.time_place(request.page_token, str)
        found = await self.rules.page(request.name, after, size + 1)
        token = answers.next_token(found, size, lambda last: [last.create_time.isoformat(), last.rule_set_id])
        return v1.ListRuleSetsResponse(rule_sets=map(answers.rule_set, found[:size]), next_page_token=token)

    async def ScoreEvent(self, request: v1.ScoreEventRequest, context: Context) -> v1.ScoreEventResponse:
        """Post one event."""
        asked.check(request)
        return answers.scored(await self.scoring.score(asked.event(request.event, self.clock())))

    async def ExplainEntry(self, request: v1.ExplainEntryRequest, context: Context) -> v1.ExplainEntryResponse:
        """One entry with its arithmetic."""
        asked.check(request)
        explained = await self.reading.explain(request.entry_id)
        return v1.ExplainEntryResponse(explanation=answers.explanation(explained))

    async def ListEntries(self, request: v1.ListEntriesRequest, context: Context) -> v1.ListEntriesResponse:
        """Entries in posting order."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.number_place(request.page_token)
        found = await self.reading.entries(
            staff_id=request.staff_id,
            event_id=request.event_id,
            period_id=request.period_id,
            after=after,
            size=size + 1,
        )
        token = answers.next_token(found, size, lambda last: [last.posting])
        return v1.ListEntriesResponse(entries=map(answers.posted, found[:size]), next_page_token=token)

    async def ListSuspense(self, request: v1.ListSuspenseRequest, context: Context) -> v1.ListSuspenseResponse:
        """Events that wait, by arrival."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.number_place(request.page_token)
        found = await self.reading.suspended(after, size + 1)
        token = answers.next_token(found, size, lambda last: [last[0]])
        suspended = [answers.suspense(event, (reason, message)) for _, event, reason, message in found[:size]]
        return v1.ListSuspenseResponse(suspended=suspended, next_page_token=token)

    async def ListAssignments(self, request: v1.ListAssignmentsRequest, context: Context) -> v1.ListAssignmentsResponse:
        """One subject's assignments, as known at an instant."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.time_place(request.page_token, str, int)
        known = asked.instant(request.known_time, "known_time") if request.HasField("known_time") else None
        found = await self.reading.assignments(asked.subject(request), known, after, size + 1)
        token = answers.next_token(found, size, answers.assignment_place)
        return v1.ListAssignmentsResponse(assignments=map(answers.assignment, found[:size]), next_page_token=token)

    async def ListLeaderboard(self, request: v1.ListLeaderboardRequest, context: Context) -> v1.ListLeaderboardResponse:
        """Employees of a period, the highest first."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.points_place(request.page_token)
        found = await self.reading.leaders(request.period_id, after, size + 1)
        token = answers.next_token(found, size, lambda last: [last.milli_points, last.staff_id])
        lines = [answers.leader(line, self.reading.zone) for line in found[:size]]
        return v1.ListLeaderboardResponse(lines=lines, next_page_token=token)

    async def GetPeriod(self, request: v1.GetPeriodRequest, context: Context) -> v1.GetPeriodResponse:
        """One period with its sums and checksum."""
        asked.check(request)
        return v1.GetPeriodResponse(period=answers.period(await self.reading.period(request.period_id)))

    async def ValidateRuleSet(self, request: v1.ValidateRuleSetRequest, context: Context) -> v1.ValidateRuleSetResponse:
        """Prove bounds and list findings."""
        asked.check(request)
        version, found, most = await self.rules.validate(key_of(request, context), request.rule_set_id)
        return v1.ValidateRuleSetResponse(
            rule_set=answers.rule_set(version), findings=map(reports.finding, found), most_milli_points=most
        )

    async def SimulateRuleSet(self, request: v1.SimulateRuleSetRequest, context: Context) -> v1.SimulateRuleSetResponse:
        """The effect on a month's real events."""
        asked.check(request)
        key = key_of(request, context)
        version, effect = await self.rules.simulate(key, request.rule_set_id, request.period_id)
        return v1.SimulateRuleSetResponse(rule_set=answers.rule_set(version), simulation=reports.simulation(effect))

    async def ApproveRuleSet(self, request: v1.ApproveRuleSetRequest, context: Context) -> v1.ApproveRuleSetResponse:
        """Approve what was simulated."""
        asked.check(request)
        who = interceptors.caller().subject
        version = await self.rules.approve(key_of(request, context), request.rule_set_id, request.sha256, who)
        return v1.ApproveRuleSetResponse(rule_set=answers.rule_set(version))

    async def GetRuleSetWorkbook(
        self, request: v1.GetRuleSetWorkbookRequest, context: Context
    ) -> v1.GetRuleSetWorkbookResponse:
        """One version as Excel."""
        asked.check(request)
        return v1.GetRuleSetWorkbookResponse(workbook=await self.rules.workbook(request.rule_set_id))

    async def ScoreEvents(self, request: v1.ScoreEventsRequest, context: Context) -> v1.ScoreEventsResponse:
        """Score many events, and post them unless only the score is asked for."""
        if request.score_only:
            return reports.previewed(await self.scoring.preview(asked.batch(request.events, self.clock())))
        events = asked.events(request.events, self.clock())
        return v1.ScoreEventsResponse(results=map(reports.posted, await self.scoring.score_many(events)))

    async def ExplainMissing(self, request: v1.ExplainMissingRequest, context: Context) -> v1.ExplainMissingResponse:
        """The nearest rows missed."""
        asked.check(request)
        return reports.missing(await self.corrections.missing(request.source, request.source_event_id))

    async def ListPeriods(self, request: v1.ListPeriodsRequest, context: Context) -> v1.ListPeriodsResponse:
        """Periods, the latest first."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.named(request.page_token)
        found = await self.periods.page(after, size + 1)
        token = answers.next_token(found, size, lambda last: [last.period_id])
        return v1.ListPeriodsResponse(periods=map(answers.period, found[:size]), next_page_token=token)

    async def CalculatePeriod(self, request: v1.CalculatePeriodRequest, context: Context) -> v1.CalculatePeriodResponse:
        """Queue the check of a period."""
        asked.check(request)
        who = interceptors.caller().subject
        job = await self.periods.begin(key_of(request, context), "calculate", request.period_id, who)
        return v1.CalculatePeriodResponse(job=reports.job(job))

    async def ReopenPeriod(self, request: v1.ReopenPeriodRequest, context: Context) -> v1.ReopenPeriodResponse:
        """CALCULATED becomes OPEN."""
        return v1.ReopenPeriodResponse(period=await self._move(request, context, State.OPEN))

    async def LockPeriod(self, request: v1.LockPeriodRequest, context: Context) -> v1.LockPeriodResponse:
        """CALCULATED becomes LOCKED."""
        return v1.LockPeriodResponse(period=await self._move(request, context, State.LOCKED))

    async def PayPeriod(self, request: v1.PayPeriodRequest, context: Context) -> v1.PayPeriodResponse:
        """LOCKED becomes PAID."""
        return v1.PayPeriodResponse(period=await self._move(request, context, State.PAID))

    async def _move(self, request: Any, context: Context, to: State) -> v1.Period:
        asked.check(request)
        key, who = key_of(request, context), interceptors.caller().subject
        return answers.period(await self.periods.move(key, request.period_id, to, who))

    async def CreateRecalculation(
        self, request: v1.CreateRecalculationRequest, context: Context
    ) -> v1.CreateRecalculationResponse:
        """Queue a recalculation's report."""
        asked.check(request)
        who = interceptors.caller().subject
        job = await self.periods.begin(key_of(request, context), "recalculate", request.period_id, who)
        return v1.CreateRecalculationResponse(job=reports.job(job))

    async def GetScoreRun(self, request: v1.GetScoreRunRequest, context: Context) -> v1.GetScoreRunResponse:
        """A run with its hashes and differences."""
        asked.check(request)
        return v1.GetScoreRunResponse(run=reports.run(*await self.periods.run(request.run_id)))

    async def PostScoreRun(self, request: v1.PostScoreRunRequest, context: Context) -> v1.PostScoreRunResponse:
        """Queue the posting of differences."""
        asked.check(request)
        who = interceptors.caller().subject
        job = await self.periods.begin_posting(key_of(request, context), request.run_id, who)
        return v1.PostScoreRunResponse(job=reports.job(job))

    async def ExportPeriod(
        self, request: v1.ExportPeriodRequest, context: Context
    ) -> AsyncIterator[v1.ExportPeriodResponse]:
        """An archive for `replay`."""
        asked.check(request)
        async for data in self.periods.export(request.period_id):
            yield v1.ExportPeriodResponse(data=data)

    async def GetJob(self, request: v1.GetJobRequest, context: Context) -> v1.GetJobResponse:
        """A job as it stands."""
        asked.check(request)
        return v1.GetJobResponse(job=reports.job(await self.periods.job(request.job_id)))
