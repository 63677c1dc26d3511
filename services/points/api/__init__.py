"""Inbound gRPC: proto in → plain values → use case → proto out. No rule, no SQL."""

from collections.abc import Mapping
from dataclasses import dataclass

from lifecircle.points import v1
from services.kit import interceptors, paging
from services.kit.clock import Clock
from services.kit.idempotency import key_of
from services.points.api import answers, asked
from services.points.api.asked import Context
from services.points.usecases import Reading, RuleBook, Scoring

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
}
"""Who may call what."""


@dataclass(frozen=True)
class PointsApi(v1.PointsServiceServicer):
    """The servicer of PointsService."""

    rules: RuleBook
    scoring: Scoring
    reading: Reading
    clock: Clock

    async def CreateRuleSet(self, request: v1.CreateRuleSetRequest, context: Context) -> v1.CreateRuleSetResponse:
        """Keep a draft."""
        asked.check(request)
        draft, author = request.rule_set, interceptors.caller().subject
        version = await self.rules.create(key_of(request, context), draft.name, draft.definition, author)
        return v1.CreateRuleSetResponse(rule_set=answers.rule_set(version))

    async def PublishRuleSet(self, request: v1.PublishRuleSetRequest, context: Context) -> v1.PublishRuleSetResponse:
        """Publish a draft from a business day on."""
        asked.check(request)
        effective = asked.day(request.effective_date, "effective_date")
        version = await self.rules.publish(
            key_of(request, context), request.rule_set_id, request.sha256, effective, interceptors.caller().subject
        )
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
        """One customer's assignments, as known at an instant."""
        asked.check(request)
        size, after = paging.clamp(request.page_size), asked.time_place(request.page_token, str, int)
        known = asked.instant(request.known_time, "known_time") if request.HasField("known_time") else None
        found = await self.reading.assignments(request.customer_key, known, after, size + 1)
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
