"""The RPCs of moments."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.portrait import v1
from services.kit import idempotency, paging
from services.kit.errors import bad_page_token, invalid_field
from services.kit.interceptors import caller
from services.portrait.api import audiences, translate
from services.portrait.domain import moment as ast
from services.portrait.domain.audience import expression_of
from services.portrait.domain.moment.pattern import HOUR, words
from services.portrait.store.moments import FoundMoment, StoredRule
from services.portrait.usecases.moment_rules import MomentDesk, Reach

Context = grpc.aio.ServicerContext[Any, Any]


class MomentRpcs:
    """What PortraitApi answers about moments."""

    _moments: MomentDesk
    _stop: asyncio.Event

    async def CreateMomentRule(
        self, request: v1.CreateMomentRuleRequest, context: Context
    ) -> v1.CreateMomentRuleResponse:
        """Write a draft."""
        key = idempotency.key_of(request, context)
        rule, audience = _rule(request.rule), _audience(request.rule)
        made = await self._moments.create(rule, audience, caller().subject, key, sensitive=audiences.sees_all())
        return v1.CreateMomentRuleResponse(rule=_stored(made))

    async def PublishMomentRule(
        self, request: v1.PublishMomentRuleRequest, context: Context
    ) -> v1.PublishMomentRuleResponse:
        """Watch for a version from now on."""
        key = idempotency.key_of(request, context)
        published, reach = await self._moments.publish(request.rule_id, request.version, key)
        return v1.PublishMomentRuleResponse(rule=_stored(published), known_since=_known(reach), warnings=reach.warnings)

    async def RetireMomentRule(
        self, request: v1.RetireMomentRuleRequest, context: Context
    ) -> v1.RetireMomentRuleResponse:
        """Watch for it no more."""
        key = idempotency.key_of(request, context)
        return v1.RetireMomentRuleResponse(rule=_stored(await self._moments.retire(request.rule_id, key)))

    async def GetMomentRule(self, request: v1.GetMomentRuleRequest, context: Context) -> v1.GetMomentRuleResponse:
        """A version of a rule."""
        return v1.GetMomentRuleResponse(rule=_stored(await self._moments.get(request.rule_id, request.version)))

    async def ListMomentRules(self, request: v1.ListMomentRulesRequest, context: Context) -> v1.ListMomentRulesResponse:
        """A page of rules."""
        size = paging.clamp(request.page_size)
        found = await self._moments.page(translate.page_after(request.page_token, "ListMomentRules"), size)
        token = translate.next_token("ListMomentRules", found[-1].rule.rule_id if found else "", len(found) == size)
        return v1.ListMomentRulesResponse(rules=map(_stored, found), next_page_token=token)

    async def ExplainMomentRule(
        self, request: v1.ExplainMomentRuleRequest, context: Context
    ) -> v1.ExplainMomentRuleResponse:
        """What a rule means."""
        meant = self._moments.meaning(_rule(request.rule))
        return v1.ExplainMomentRuleResponse(
            text=meant.text,
            event_types=meant.event_types,
            look_back_seconds=meant.look_back // 1000,
            by_clock=meant.by_clock,
        )

    async def CountMoments(self, request: v1.CountMomentsRequest, context: Context) -> v1.CountMomentsResponse:
        """A dry run."""
        since, to = _milliseconds(request.from_time), _milliseconds(request.to_time)
        if to <= since:
            raise invalid_field([("to_time", "lies after from_time")])
        rule, audience, size = _rule(request.rule), _audience(request.rule), request.sample_size
        ran = await self._moments.dry_run(rule, audience, since, to, size, sensitive=audiences.sees_all())
        hours = max(ran.per_hour, default=-1) + 1
        return v1.CountMomentsResponse(
            matches=ran.matches,
            customers=len(ran.customers),
            events=ran.events,
            per_hour=[ran.per_hour[hour] for hour in range(hours)],
            sample=[_moment(FoundMoment(match, "", request.rule.title)) for match in ran.sample],
            complete=ran.complete,
            known_since=_known(ran.reach),
            warnings=ran.reach.warnings,
        )

    async def ExplainMoment(self, request: v1.ExplainMomentRequest, context: Context) -> v1.ExplainMomentResponse:
        """Why a rule did or did not match."""
        at = request.time.ToDatetime(UTC) if request.HasField("time") else None
        why = await self._moments.explain(request.rule_id, request.version, request.customer_key, at)
        return v1.ExplainMomentResponse(
            matched=why.matched,
            because=why.because,
            findings=map(_finding, why.findings),
            moments=map(_moment, why.moments),
        )

    async def ListMoments(self, request: v1.ListMomentsRequest, context: Context) -> v1.ListMomentsResponse:
        """A page of moments."""
        size, position = paging.clamp(request.page_size), translate.page_after(request.page_token, "ListMoments")
        found_ms, _, moment_id = position.partition(" ")
        if position and not found_ms.isdigit():
            raise bad_page_token()
        after = (int(found_ms), moment_id) if position else None
        found = await self._moments.moments(request.rule_id, request.customer_key, after, size)
        last = f"{found[-1].match.found} {found[-1].match.match_id}" if found else ""
        token = translate.next_token("ListMoments", last, len(found) == size)
        return v1.ListMomentsResponse(moments=map(_moment, found), next_page_token=token)

    async def WatchMoments(
        self, request: v1.WatchMomentsRequest, context: Context
    ) -> AsyncIterator[v1.WatchMomentsResponse]:
        """Moments as they were found."""
        async for seen in self._moments.watch(request.cursor, self._stop):
            moment = _moment(seen.moment) if seen.moment else None
            yield v1.WatchMomentsResponse(cursor=seen.cursor, moment=moment, traceparent=seen.traceparent)


def pattern(told: v1.MomentPattern) -> ast.Pattern:
    """The pattern of a message."""
    kind = told.WhichOneof("kind") or ""
    part = getattr(told, kind)
    if kind == "happened":
        return ast.Happened(_match(part.event), _span(part.remember))
    if kind == "counted":
        return ast.Counted(_match(part.event), part.at_least, _span(part.within), _span(part.remember))
    if kind == "sequence":
        return ast.Sequence(tuple(map(_match, part.steps)), _span(part.within), _span(part.remember))
    if kind == "dwell":
        return ast.Dwell(_match(part.inside), _span(part.lasting))
    if kind == "absent":
        return ast.Absent(_match(part.after), _match(part.missing), _span(part.lasting), _span(part.remember))
    if kind == "not":
        return ast.Not(pattern(part))
    return (ast.All if kind == "all_of" else ast.Any)(tuple(map(pattern, part.parts)))


def message(told: ast.Pattern) -> v1.MomentPattern:
    """The message of a pattern."""
    made = v1.MomentPattern
    match told:
        case ast.Happened():
            return made(happened=made.Happened(event=_event(told.event), remember=_duration(told.remember)))
        case ast.Counted():
            within, kept = _duration(told.within), _duration(told.remember)
            event = _event(told.event)
            return made(counted=made.Counted(event=event, at_least=told.at_least, within=within, remember=kept))
        case ast.Sequence():
            within, kept = _duration(told.within), _duration(told.remember)
            return made(sequence=made.Sequence(steps=map(_event, told.steps), within=within, remember=kept))
        case ast.Dwell():
            return made(dwell=made.Dwell(inside=_event(told.inside), lasting=_duration(told.lasting)))
        case ast.Absent():
            after, missing = _event(told.after), _event(told.missing)
            lasting, kept = _duration(told.lasting), _duration(told.remember)
            return made(absent=made.Absent(after=after, missing=missing, lasting=lasting, remember=kept))
        case ast.All():
            return made(all_of=made.Parts(parts=map(message, told.parts)))
        case ast.Any():
            return made(any_of=made.Parts(parts=map(message, told.parts)))
    return made(**{"not": message(told.part)})  # type: ignore[arg-type]  # a keyword of Python


def _rule(told: v1.MomentRule) -> ast.Rule:
    stale = _span(told.stale_after) if told.HasField("stale_after") else HOUR
    return ast.Rule(
        told.rule_id,
        1,
        pattern(told.pattern),
        _span(told.cool_down),
        _span(told.lateness),
        stale,
        title=told.title,
    )


def _audience(told: v1.MomentRule) -> Any:
    return audiences.expression(told.audience) if told.HasField("audience") else None


def _stored(known: StoredRule) -> v1.MomentRule:
    rule = known.rule
    return v1.MomentRule(
        rule_id=rule.rule_id,
        version=rule.version,
        title=rule.title,
        state=v1.MomentRule.State.Value(f"STATE_{known.state}"),
        pattern=message(rule.pattern),
        audience=audiences.message(expression_of(known.audience)) if known.audience is not None else None,
        cool_down=_duration(rule.cool_down),
        lateness=_duration(rule.lateness),
        stale_after=_duration(rule.stale_after),
        publish_time=_time(rule.publish_time) if rule.publish_time else None,
        retire_time=_time(rule.retire_time) if rule.retire_time else None,
        text=words(rule.pattern),
    )


def _moment(known: FoundMoment) -> v1.Moment:
    match = known.match
    return v1.Moment(
        moment_id=match.match_id,
        customer_key=match.customer_key,
        pattern_id=match.rule_id,
        match_time=_time(match.time),
        rule_version=match.version,
        org_id=known.org_id,
        start_event_id=match.start_event_id,
        start_time=_time(match.start_time),
        detect_time=_time(match.found),
        title=known.title,
    )


def _finding(known: ast.Finding) -> v1.MomentFinding:
    return v1.MomentFinding(
        text=known.text,
        depth=known.depth,
        holds=known.holds,
        since_time=_time(known.since) if known.since is not None else None,
        until_time=_time(known.until) if known.until is not None else None,
        because=known.because,
    )


def _match(told: v1.EventMatch) -> ast.EventMatch:
    return ast.EventMatch(tuple(told.types), tuple(map(_test, told.tests)))


def _test(told: v1.FieldTest) -> ast.Test:
    kind = told.WhichOneof("kind") or ""
    if kind == "between":
        least = told.between.least if told.between.HasField("least") else None
        most = told.between.most if told.between.HasField("most") else None
        return ast.Test(told.field, kind, (), least, most)
    return ast.Test(told.field, kind, () if kind == "missing" else tuple(getattr(told, kind).values))


def _event(known: ast.EventMatch) -> v1.EventMatch:
    return v1.EventMatch(types=known.types, tests=map(_field_test, known.tests))


def _field_test(known: ast.Test) -> v1.FieldTest:
    if known.kind == "missing":
        return v1.FieldTest(field=known.field, missing=True)
    if known.kind == "between":
        bounds = v1.FieldTest.Bounds(least=known.least, most=known.most)
        return v1.FieldTest(field=known.field, between=bounds)
    return v1.FieldTest(field=known.field, **{known.kind: v1.FieldTest.Values(values=known.values)})  # type: ignore[arg-type]


def _span(told: Duration) -> int:
    return told.seconds * 1000 + told.nanos // 1_000_000


def _duration(milliseconds: int) -> Duration:
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def _known(reach: Reach) -> Timestamp | None:
    return _time(reach.known_since) if reach.known_since is not None else None


def _milliseconds(told: Timestamp) -> int:
    return told.seconds * 1000 + told.nanos // 1_000_000


def _time(milliseconds: int) -> Timestamp:
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)
