"""Campaigns, pilots and lessons as messages and as values."""

import dataclasses

from lifecircle.contact import v1 as proto
from services.contact.api import incoming, outgoing
from services.contact.domain.campaign import Brief, Campaign, Lesson, Moved, Offer
from services.contact.domain.campaign_type import STANDARD, CampaignType
from services.contact.domain.pilot import Finding, Pilot, Ratio
from services.contact.usecases.campaigns import Learned, Round, kept_finding


def draft(message: proto.Campaign, org_id: str) -> Campaign:
    """A draft of the organisation; what is output only is left out."""
    return Campaign(
        org_id=org_id,
        name=message.name,
        offers=tuple(
            Offer(
                offer_id="",
                product_id=offer.product_id,
                content=offer.content,
                channels=tuple(incoming.channel(one) for one in offer.channels),
                worth_fen=offer.worth_fen,
                exclusive_group=offer.exclusive_group,
            )
            for offer in message.offers
        ),
        start_date=incoming.day(message.start_date, "campaign.start_date"),
        end_date=incoming.day(message.end_date, "campaign.end_date"),
        control_bps=message.control_bps,
        contacts_max=message.contacts_max if message.HasField("contacts_max") else None,
        contacts_min=message.contacts_min,
        type=message.type or STANDARD,
        brief=_brief(message.brief) if message.HasField("brief") else None,
        pilot=_pilot(message.pilot) if message.HasField("pilot") else None,
        previous_campaign_id=message.previous_campaign_id,
        purpose=incoming.purpose(message.purpose),
    )


def _brief(message: proto.CampaignBrief) -> Brief:
    return Brief(
        goal=message.goal,
        audience=message.audience,
        creative=message.creative,
        budget_fen=message.budget_fen,
        places=tuple(message.places),
        plan=message.plan,
        promotion=message.promotion,
        moments=tuple(message.moments),
        event_tag=message.event_tag,
        findings=tuple(message.finding_ids),
    )


def _pilot(message: proto.Pilot) -> Pilot:
    return Pilot(
        share_bps=message.share_bps,
        tolerance=message.tolerance,
        least_trials=message.least_trials,
        predicted=message.predicted,
        earlier_successes=message.earlier_successes,
        earlier_trials=message.earlier_trials,
    )


def lesson(message: proto.Lesson) -> Lesson:
    """What was learned."""
    return Lesson(**{field.name: getattr(message, field.name) for field in dataclasses.fields(Lesson)})


def campaign(value: Campaign, moves: list[Moved] | None = None) -> proto.Campaign:
    """A campaign, with its history if given."""
    message = proto.Campaign(
        campaign_id=value.campaign_id,
        name=value.name,
        state=proto.Campaign.State.Value(f"STATE_{value.state}"),
        offers=[
            proto.Offer(
                offer_id=offer.offer_id,
                product_id=offer.product_id,
                content=offer.content,
                channels=[outgoing.channel(name) for name in offer.channels],
                worth_fen=offer.worth_fen,
                exclusive_group=offer.exclusive_group,
            )
            for offer in value.offers
        ],
        start_date=outgoing.day(value.start_date),
        end_date=outgoing.day(value.end_date),
        control_bps=value.control_bps,
        contacts_max=value.contacts_max,
        contacts_min=value.contacts_min,
        etag=value.etag,
        create_time=outgoing.moment(value.create_time),
        type=value.type,
        author=value.author,
        previous_campaign_id=value.previous_campaign_id,
        purpose=proto.Purpose.Value(f"PURPOSE_{value.purpose.upper()}"),
        moves=[_move(move) for move in moves or ()],
    )
    if value.brief is not None:
        told = dataclasses.asdict(value.brief)
        message.brief.CopyFrom(proto.CampaignBrief(finding_ids=told.pop("findings"), **told))
    if value.pilot is not None:
        message.pilot.CopyFrom(proto.Pilot(**dataclasses.asdict(value.pilot)))
    return message


def _move(move: Moved) -> proto.CampaignMove:
    finding_then = kept_finding(move.finding)
    return proto.CampaignMove(
        verb=move.verb,
        state=proto.Campaign.State.Value(f"STATE_{move.state}"),
        actor=move.actor,
        note=move.note,
        override=move.override,
        finding=None if finding_then is None else finding(finding_then),
        move_time=outgoing.moment(move.time),
    )


def finding(value: Finding) -> proto.PilotFinding:
    """What a pilot shows."""
    return proto.PilotFinding(
        treated=outgoing.rate(value.treated),
        control=outgoing.rate(value.control),
        earlier=outgoing.rate(value.earlier),
        predicted=value.predicted,
        to_control=_ratio(value.to_control),
        to_earlier=_ratio(value.to_earlier),
        difference=value.difference,
        sequence_low=value.sequence_low,
        sequence_high=value.sequence_high,
        mismatch_p=value.mismatch_p,
        calibration_error=value.calibration_error,
        corrected=value.corrected,
        blocks=value.blocks,
    )


def _ratio(value: Ratio) -> proto.SuccessRatio:
    return proto.SuccessRatio(ratio=value.ratio, low=value.low, high=value.high)


def type_(value: CampaignType) -> proto.CampaignType:
    """An entry of the catalogue."""
    return proto.CampaignType(
        name=value.name,
        title=value.title,
        mechanism=value.mechanism,
        audience=value.audience,
        goal=value.goal,
        measure=value.measure,
    )


def knowledge(value: Learned) -> proto.KnowledgeEntry:
    """What was learned of a campaign."""
    return proto.KnowledgeEntry(
        campaign_id=value.campaign_id,
        name=value.name,
        type=value.type,
        product_ids=value.product_ids,
        channels=[outgoing.channel(name) for name in value.channels],
        audience=value.audience,
        lesson=proto.Lesson(**dataclasses.asdict(value.lesson)),
        effect=outgoing.effect(value.effect),
        close_time=outgoing.moment(value.close_time),
    )


def round_(number: int, value: Round) -> proto.Round:
    """One round of a chain."""
    named = {"campaign_id": value.campaign.campaign_id, "name": value.campaign.name}
    return proto.Round(number=number, finding=finding(value.finding), **named)
