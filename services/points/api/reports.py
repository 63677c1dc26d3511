"""Proto out: periods, runs, corrections, analysis."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.points import v1
from services.kit.jobs import Job
from services.points.domain.effect import Effect
from services.points.domain.gate import Finding
from services.points.domain.month import Run
from services.points.domain.preview import Preview
from services.points.store.analysis import Cell, Sum
from services.points.store.corrections import Adjustment, Dispute, FraudCase
from services.points.usecases import Appraisal, Missing, Scored


def job(value: Job) -> v1.Job:
    """A job as it stands."""
    return v1.Job(
        job_id=value.job_id,
        kind=value.kind,
        state=v1.Job.State.Value(f"STATE_{value.state.value}"),
        done=value.done,
        total=value.total,
        counts=dict(value.counts),
        message=value.message,
        error=value.error,
        run_id=str(value.spec.get("run_id", "")),
        create_time=_time(value.create_time),
        end_time=None if value.end_time is None else _time(value.end_time),
    )


def run(value: Run, author: str) -> v1.ScoreRun:
    """What a run found."""
    differences = [
        v1.ScoreRun.Difference(staff_id=s, rule_id=r, posted_milli_points=p, wanted_milli_points=w)
        for s, r, p, w in value.differences
    ]
    return v1.ScoreRun(
        run_id=value.run_id,
        kind=value.kind,
        period_id=value.period_id,
        state=v1.ScoreRun.State.Value(f"STATE_{value.state}"),
        rules_sha256=value.rules_sha256,
        events_sha256=value.events_sha256,
        fields_sha256=value.fields_sha256,
        output_sha256=value.output_sha256,
        events=value.events,
        differences=differences,
        posted_milli_points=value.posted,
        wanted_milli_points=value.wanted,
        author=author,
    )


def finding(value: Finding) -> v1.RuleFinding:
    """Something to look at."""
    return v1.RuleFinding(kind=value.kind, place=value.place, message=value.message)


def simulation(value: Effect) -> v1.Simulation:
    """The effect on a month."""
    effects = [
        v1.Simulation.Effect(component=name, now_milli_points=now, then_milli_points=then)
        for name, (now, then) in sorted(value.components.items())
    ]
    return v1.Simulation(
        period_id=value.period_id,
        sha256=value.sha256,
        events=value.events,
        effects=effects,
        most_milli_points=value.most_milli_points,
        gaining=value.gaining,
        losing=value.losing,
    )


def adjustment(value: Adjustment | None) -> v1.Adjustment | None:
    """A correction by hand, if there is one."""
    if value is None:
        return None
    return v1.Adjustment(
        adjustment_id=value.adjustment_id,
        staff_id=value.staff_id,
        component=value.component,
        milli_points=value.milli_points,
        reason=value.reason,
        state=v1.Adjustment.State.Value(f"STATE_{value.state}"),
        author=value.author,
        approver=value.approver,
        period_id=value.period_id,
        dispute_id=value.dispute_id,
        create_time=_time(value.create_time),
    )


def adjustments(values: Sequence[Adjustment]) -> list[v1.Adjustment]:
    """Corrections by hand."""
    return [made for made in map(adjustment, values) if made is not None]


def dispute(value: Dispute) -> v1.Dispute:
    """A dispute."""
    return v1.Dispute(
        dispute_id=value.dispute_id,
        staff_id=value.staff_id,
        source=value.source,
        source_event_id=value.source_event_id,
        claim=value.claim,
        state=v1.Dispute.State.Value(f"STATE_{value.state}"),
        posted_milli_points=value.posted_milli_points or 0,
        replayed_milli_points=value.replayed_milli_points or 0,
        answer=value.answer,
        opener=value.opener,
        resolver=value.resolver,
        create_time=_time(value.create_time),
    )


def case(value: FraudCase) -> v1.FraudCase:
    """A case of fraud."""
    return v1.FraudCase(
        case_id=value.case_id,
        pattern=value.pattern,
        staff_id=value.staff_id,
        source=value.source,
        source_event_id=value.source_event_id,
        explanation=value.explanation,
        milli_points=value.milli_points,
        state=v1.FraudCase.State.Value(f"STATE_{value.state}"),
        decider=value.decider,
        period_id=value.period_id,
    )


def cell(value: Cell) -> v1.AnalysisRow:
    """One cell of the analysis."""
    return v1.AnalysisRow(
        values=dict(value.values),
        grouped=list(value.values),
        milli_points=value.points,
        development_milli_points=value.development,
        stock_milli_points=value.stock,
        revenue_fen=value.fen,
        new_events=value.new,
        churned_events=value.churned,
        kept_events=value.kept,
        events=value.events,
    )


def statement(staff_id: str, period_id: str, sums: list[Sum], balance: int) -> v1.Statement:
    """An employee's statement."""
    lines = [
        v1.Statement.Line(rule_id=s.rule_id, component=s.component, kind=s.kind, entries=s.entries,
                          milli_points=s.milli_points)
        for s in sums
    ]  # fmt: skip
    return v1.Statement(
        staff_id=staff_id, period_id=period_id, lines=lines, milli_points=balance,
        budget_milli_points=-sum(s.milli_points for s in sums),
    )  # fmt: skip


def appraisal(value: Appraisal) -> v1.Appraisal:
    """An employee's sheet."""
    parts = [
        v1.Appraisal.Part(component=name, milli_points=points, weight_bps=weight, score_milli_points=score)
        for name, points, weight, score in value.parts
    ]
    return v1.Appraisal(
        staff_id=value.staff_id,
        period_id=value.period_id,
        parts=parts,
        score_milli_points=value.score,
        field_customers=value.customers,
        field_churned=value.churned,
        churn_deduction_bps=value.churn_bps,
        reconciled=value.reconciled,
    )


def missing(value: Missing) -> v1.ExplainMissingResponse:
    """Why an event gave nothing or less."""
    rows = [
        v1.MissedRow(rule_id=m.rule_id, table=m.table, reasons=m.reasons, milli_points=m.milli_points)
        for m in value.missed
    ]
    return v1.ExplainMissingResponse(
        reason=value.reason, message=value.message, given=value.given, missed=rows, capped_milli_points=value.capped
    )


def posted(value: Scored) -> v1.Scored:
    """What became of one of many events."""
    mine = [each.entry for each in value.entries if each.entry.kind in ("EVENT", "REFUND")]
    gained = [entry for entry in mine if not entry.account.startswith("budget:")]
    return v1.Scored(
        milli_points=sum(entry.milli_points for entry in gained),
        rule_ids=sorted({entry.rule_id for entry in gained}),
        reason=value.suspense[0] if value.suspense else "",
        entries=len(value.entries),
    )


def previewed(value: Preview) -> v1.ScoreEventsResponse:
    """What each of many events would give."""
    response = v1.ScoreEventsResponse()
    add = response.results.add
    for points, rule_ids, reason in zip(value.milli_points, value.rule_ids, value.reasons, strict=True):
        add(milli_points=points, rule_ids=rule_ids, reason=reason)
    return response


def counts(found: Mapping[str, int]) -> v1.FindFraudResponse:
    """Cases by pattern."""
    return v1.FindFraudResponse(found=dict(found))


def _time(value: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(value)
    return message
