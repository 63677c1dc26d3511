"""The limits of an auction over files, as its YAML says them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from services.contact.domain.arbitration.problem import NO_LIMIT

_KEYS = {
    "": {"channels", "campaigns", "exclusive_groups", "tiers", "spacing_days"},
    "channels": {"capacity", "daily_capacity", "cost"},
    "campaigns": {"offers", "min", "max", "line"},
}


class WrongInput(Exception):
    """What is wrong with a file, in a sentence."""


@dataclass(frozen=True)
class Channel:
    """A channel: contacts in all and on each day (NO_LIMIT: unbounded), and what one costs."""

    capacity: int = NO_LIMIT
    daily: int = NO_LIMIT
    cost: float = 0.0


@dataclass(frozen=True)
class Campaign:
    """A campaign: contacts at least and at most (NO_LIMIT: unbounded), and its business line."""

    least: int = 0
    most: int = NO_LIMIT
    line: str = ""


@dataclass(frozen=True)
class Limits:
    """All limits. `campaign_of`: offer → campaign, for the offers that were told one."""

    channels: Mapping[str, Channel]
    campaigns: Mapping[str, Campaign]
    campaign_of: Mapping[str, str]
    exclusive_groups: Sequence[Sequence[str]]
    tiers: Mapping[str, int]
    spacing_days: int

    def completed(self, offers: Sequence[str]) -> tuple[dict[str, Campaign], dict[str, str]]:
        """Campaigns and offer → campaign; an offer of no campaign is one of its own without limits."""
        campaigns, campaign_of = dict(self.campaigns), dict(self.campaign_of)
        for offer in offers:
            if offer not in campaign_of:
                name = offer if offer not in campaigns else f"{offer} (offer)"
                campaigns[name] = Campaign()
                campaign_of[offer] = name
        return campaigns, campaign_of

    def groups(self, offers: Sequence[str]) -> dict[str, int]:
        """Offer → group; groups that share an offer are one."""
        group_of = {offer: index for index, offer in enumerate(offers)}
        for listed in self.exclusive_groups:
            members = {group_of[offer] for offer in listed if offer in group_of}
            if members:
                group_of = {offer: min(members) if group in members else group for offer, group in group_of.items()}
        return group_of


def read(path: Path) -> Limits:
    """The limits of a file. Raises WrongInput."""
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongInput(f"{path}: {_line(error)}") from error
    top = _mapping(told, f"{path}: the limits", _KEYS[""])
    campaigns: dict[str, Campaign] = {}
    campaign_of: dict[str, str] = {}
    for name, one in _mapping(top.get("campaigns"), "limits: campaigns").items():
        parts = _mapping(one, f"limits: campaign {name}", _KEYS["campaigns"])
        least, most = max(0, _bound(parts, "min", name)), _bound(parts, "max", name)
        if 0 <= most < least:
            raise WrongInput(f"limits: campaign {name}: min {least} is more than max {most}")
        campaigns[name] = Campaign(least, most, str(parts.get("line", "")))
        for offer in map(str, _list(parts.get("offers", [name]), f"limits: campaign {name}: offers")):
            if offer in campaign_of:
                raise WrongInput(f"limits: offer {offer} is in two campaigns")
            campaign_of[offer] = name
    return Limits(
        channels=_channels(top),
        campaigns=campaigns,
        campaign_of=campaign_of,
        exclusive_groups=[
            [str(offer) for offer in _list(group, "limits: an exclusive group")]
            for group in _list(top.get("exclusive_groups") or [], "limits: exclusive_groups")
        ],
        tiers={
            name: _whole(cap, f"limits: tiers: {name}")
            for name, cap in _mapping(top.get("tiers"), "limits: tiers").items()
        },
        spacing_days=_whole(top.get("spacing_days", 1), "limits: spacing_days"),
    )


def _channels(top: Mapping[str, Any]) -> dict[str, Channel]:
    channels: dict[str, Channel] = {}
    for name, one in _mapping(top.get("channels"), "limits: channels").items():
        parts = _mapping(one, f"limits: channel {name}", _KEYS["channels"])
        cost = parts.get("cost", 0)
        if not isinstance(cost, int | float) or isinstance(cost, bool) or not math.isfinite(cost):
            raise WrongInput(f"limits: channel {name}: cost is {cost!r}, not a number")
        channels[name] = Channel(_bound(parts, "capacity", name), _bound(parts, "daily_capacity", name), float(cost))
    return channels


def _mapping(told: Any, what: str, known: set[str] | None = None) -> dict[str, Any]:
    if told is None:
        return {}
    if not isinstance(told, dict):
        raise WrongInput(f"{what}: is {type(told).__name__}, not a mapping")
    found = {str(name): value for name, value in told.items()}
    unknown = sorted(set(found) - known) if known is not None else []
    if unknown:
        raise WrongInput(f"{what}: not known: {', '.join(unknown)}")
    return found


def _list(told: Any, what: str) -> list[Any]:
    if not isinstance(told, list):
        raise WrongInput(f"{what}: is {told!r}, not a list")
    return told


def _bound(told: Mapping[str, Any], name: str, whose: str) -> int:
    return NO_LIMIT if told.get(name) is None else _whole(told[name], f"limits: {whose}: {name}")


def _whole(told: Any, what: str) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or told < 0:
        raise WrongInput(f"{what} is {told!r}, not a whole number from 0 on")
    return told


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
