"""Proto out: domain values as callers see them."""

import dataclasses
from datetime import date, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.contact import v1 as proto
from services.contact.domain.experiment import Rate
from services.contact.domain.outcome import Effect, Kept
from services.contact.domain.plan import Contact, Plan, attribution_token
from services.contact.domain.policy import Policy
from services.contact.usecases.work import ARBITRATE, REPRICE
from services.kit.jobs import Job, State


def channel(name: str) -> proto.Channel.ValueType:
    """The channel of a name."""
    return proto.Channel.Value(f"CHANNEL_{name.upper()}")


def day(value: date) -> Date:
    """A date."""
    return Date(year=value.year, month=value.month, day=value.day)


def moment(value: datetime | None) -> Timestamp | None:
    """A time, or nothing."""
    if value is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(value)
    return stamp


def policy(value: Policy) -> proto.Policy:
    """A version of the policy."""
    return proto.Policy(
        version=value.version,
        customer_caps=[
            proto.Policy.CustomerCap(
                level=cap.level,
                most=cap.most,
                window_days=cap.window_days,
                calendar=proto.Policy.Calendar.Value(f"CALENDAR_{(cap.calendar or 'unspecified').upper()}"),
                channel=channel(cap.channel) if cap.channel else proto.CHANNEL_UNSPECIFIED,
                purpose=proto.Purpose.Value(f"PURPOSE_{cap.purpose.upper()}"),
            )
            for cap in value.customer_caps
        ],
        channel_limits=[
            proto.Policy.ChannelLimit(
                channel=channel(limit.channel),
                capacity=limit.capacity,
                cost_fen=limit.cost_fen,
                quiet_from_hour=limit.quiet_from_hour,
                quiet_to_hour=limit.quiet_to_hour,
                lift_bps=limit.lift_bps,
                hourly_capacity=limit.hourly_capacity,
            )
            for limit in value.channel_limits
        ],
        holdout_bps=value.holdout_bps,
        cooldown_days=value.cooldown_days,
        fatigue=proto.Policy.Fatigue(**dataclasses.asdict(value.fatigue)) if value.fatigue else None,
        blackouts=[
            proto.Policy.Blackout(
                name=one.name,
                from_date=day(one.from_date),
                to_date=day(one.to_date),
                channels=[channel(name) for name in one.channels],
            )
            for one in value.blackouts
        ],
        update_time=moment(value.update_time),
    )


def job(value: Job) -> proto.Job:
    """A job; what an auction makes has the job's own id."""
    message = proto.Job(
        job_id=value.job_id,
        state=proto.Job.State.Value(f"STATE_{value.state.value}"),
        done=value.done,
        total=value.total,
        counts=value.counts,
        message=value.message,
        error=value.error,
        attempt=value.attempt,
        create_time=moment(value.create_time),
        start_time=moment(value.start_time),
        end_time=moment(value.end_time),
    )
    spec, succeeded = value.spec, value.state is State.SUCCEEDED
    if value.kind == ARBITRATE:
        message.arbitrate.campaign_ids.extend(campaign_id for campaign_id, _ in spec["campaigns"])
        message.arbitrate.matrix_id = spec["matrix_id"]
        message.arbitrate.plan_date.CopyFrom(day(date.fromisoformat(spec["plan_date"])))
        message.arbitrate.engine = proto.Engine.Value(f"ENGINE_{spec.get('engine', 'UNSPECIFIED')}")
        message.result_id = value.job_id if succeeded else ""
    elif value.kind == REPRICE:
        message.reprice.matrix_id = spec["matrix_id"]
        message.reprice.business_day.CopyFrom(day(date.fromisoformat(spec["business_day"])))
    else:
        message.handover.plan_id = spec["plan_id"]
        message.result_id = spec["plan_id"] if succeeded else ""
    return message


def plan(value: Plan) -> proto.Plan:
    """A plan."""
    return proto.Plan(
        plan_id=value.plan_id,
        state=proto.Plan.State.Value(f"STATE_{value.state}"),
        matrix_id=value.matrix_id,
        policy_version=value.policy_version,
        plan_date=day(value.plan_date),
        candidates=value.candidates,
        contacts=value.contacts,
        control_contacts=value.control_contacts,
        withheld_contacts=value.withheld_contacts,
        objective_fen=value.objective_fen,
        bound_fen=value.bound_fen,
        gap=value.gap,
        prices=[
            proto.Plan.Price(constraint=one.constraint, price_fen=one.price_fen, used=one.used, most=one.bound)
            for one in value.prices
        ],
        sha256=value.sha256,
        handover_files=[
            proto.Plan.HandoverFile(file_name=file.file_name, rows=file.rows, md5=file.md5, tagged_rows=file.tagged)
            for file in value.files
        ],
        create_time=moment(value.create_time),
    )


def contact(value: Contact) -> proto.Contact:
    """A contact."""
    return proto.Contact(
        contact_id=value.contact_id,
        plan_id=value.plan_id,
        customer_key=value.customer_key,
        campaign_id=value.campaign_id,
        offer_id=value.offer_id,
        product_id=value.product_id,
        channel=channel(value.channel),
        value_fen=value.value_fen,
        control=value.control,
        contact_time=moment(value.contact_time),
        attribution_token=attribution_token(value.contact_id),
        state=proto.Contact.State.Value(f"STATE_{value.state}"),
    )


def outcome(value: Kept) -> proto.OutcomeRecord:
    """An outcome as it is kept."""
    kept = value.outcome
    return proto.OutcomeRecord(
        outcome=proto.Outcome(
            contact_id=kept.contact_id,
            result=proto.Outcome.Result.Value(f"RESULT_{kept.result}"),
            opened=kept.opened,
            open_time=moment(kept.open_time),
            contact_time=moment(kept.contact_time),
        ),
        source=kept.source,
        matched=value.matched,
        receive_time=moment(value.receive_time),
    )


def rate(value: Rate) -> proto.Rate:
    """A share with its interval."""
    return proto.Rate(successes=value.successes, trials=value.trials, rate=value.rate, low=value.low, high=value.high)


def effect(value: Effect) -> proto.Effect:
    """What a campaign achieved."""
    return proto.Effect(
        campaign_id=value.campaign_id,
        name=value.name,
        response=rate(value.response),
        opening=rate(value.opening),
        control_opening=rate(value.control_opening),
        lift=value.lift,
        difference=value.difference,
        difference_low=value.difference_low,
        difference_high=value.difference_high,
        cost_fen=value.cost_fen,
        income_fen=value.income_fen,
        unmatched=value.unmatched,
    )
