"""The offline verb `arbitrate`: an auction over files, by the same domain code as the service's."""

import argparse
import json
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import yaml

from services.contact.domain import arbitration
from services.contact.domain.arbitration.checker import Limits, Won, violations
from services.contact.domain.arbitration.problem import NO_LIMIT, Ints, Problem, from_columns
from services.contact.domain.policy import UNLIMITED
from services.kit.errors import Refusal

_HELP = """
Chooses the contacts of greatest total value within all limits, and proves how near to the best they are.

files (.parquet or .csv):
  candidates   customer_id, offer_id, channel, value     value of the contact before its channel's cost
  customers    customer_id, cap [, tier]                 cap empty: the tier's, else unlimited; 0: nobody contacts him

limits (YAML), everything optional; a bound that is not set is no bound, 0 is none at all:
  channels:                                   # a channel that is not listed has no capacity limit and no cost
    sms:  {capacity: 55000, cost: 0.05}
    call: {capacity: 4000, cost: 1.0}
  campaigns:                                  # offers of which together at least min and at most max are made
    summer: {offers: [o1, o2], min: 100, max: 9000}
    o3: {max: 500}                            # without offers: the offer of that name
  exclusive_groups: [[o1, o4], [o5, o6, o7]]  # of each group a customer gets one at most; of an offer always
  tiers: {gold: 3, plain: 1}

example:
  python -m services.contact arbitrate --candidates c.parquet --customers p.csv --limits l.yaml --out plan.parquet \\
      --report report.json

exit status: 0 a plan, 1 the minima cannot be met (the limits that block them are named), 2 wrong input
"""


class WrongInput(Exception):
    """What is wrong with a file, in a sentence."""


@dataclass(frozen=True)
class Instance:
    """A problem with the names behind its numbers, and the limits as the checker takes them."""

    problem: Problem
    candidates: pa.Table
    row: Ints
    groups: Mapping[str, int]
    campaign_of: Mapping[str, str]
    limits: Limits


def arbitrate(words: Sequence[str]) -> int:
    """Hold an auction over files; gives the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m services.contact arbitrate", description=_HELP, formatter_class=formatter
    )
    for name in ("candidates", "customers", "limits", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="kept in the report; nothing in the auction is random")
    told = parser.parse_args(words)
    started = time.perf_counter(), time.process_time()
    try:
        instance = _instance(_table(told.candidates), _table(told.customers), _limits(told.limits))
        solution = arbitration.solve(instance.problem)
    except WrongInput as error:
        print(f"arbitrate: {error}", file=sys.stderr)
        return 2
    except Refusal as refusal:
        print(f"arbitrate: {refusal}", file=sys.stderr)
        if told.report:
            told.report.write_text(json.dumps({"infeasible": refusal.metadata["rows"].split(", ")}, ensure_ascii=False))
        return 1
    plan = _plan(instance, solution)
    pq.write_table(plan, told.out, compression="zstd")
    found = violations(_won(instance, plan), instance.limits)
    report = {
        "objective": solution.objective,
        "bound": solution.bound,
        "gap": solution.gap,
        "violations": found,
        "contacts": plan.num_rows,
        "candidates": instance.problem.candidates,
        "prices": {row.name: row.price for row in solution.rows if row.price != 0},
        "wall_seconds": time.perf_counter() - started[0],
        "cpu_seconds": time.process_time() - started[1],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seed": told.seed,
    }
    if told.report:
        told.report.write_text(json.dumps(report, indent=2, ensure_ascii=False))
    print(f"{plan.num_rows:,} contacts worth {solution.objective:,.2f}, gap {solution.gap:.6%}, violations {found}")
    return 0 if not any(found.values()) else 1


def _instance(candidates: pa.Table, customers: pa.Table, limits: Mapping[str, Any]) -> Instance:
    _columns(candidates, "candidates", "customer_id", "offer_id", "channel", "value")
    _columns(customers, "customers", "customer_id", "cap")
    offers, offer = np.unique(_text(candidates, "offer_id"), return_inverse=True)
    channels, channel = np.unique(_text(candidates, "channel"), return_inverse=True)
    told = {str(name): dict(one or {}) for name, one in (limits.get("channels") or {}).items()}
    cost = np.array([float(told.get(name, {}).get("cost", 0)) for name in channels] or [0.0])
    value = candidates["value"].cast(pa.float64()).to_numpy()
    if not np.all(np.isfinite(value)):
        raise WrongInput(f"candidates: row {int(np.flatnonzero(~np.isfinite(value))[0]) + 1}: value is not a number")
    caps = _caps(customers, limits.get("tiers") or {})
    known = np.array(list(caps))
    wanted = _text(candidates, "customer_id")
    order = np.argsort(known)
    at = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)] if len(known) else None
    if at is None or np.any(known[at] != wanted):
        raise WrongInput("candidates: a customer_id is not among the customers")
    campaigns, campaign_of = _campaigns(limits.get("campaigns") or {}, [str(name) for name in offers])
    groups = _groups(limits.get("exclusive_groups") or [], [str(name) for name in offers])
    names = list(campaigns)
    problem, where = from_columns(
        customer=at.astype(np.int64),
        group=np.array([groups[str(name)] for name in offers] or [0], np.int32)[offer],
        channel=channel.astype(np.int32),
        campaign=np.array([names.index(campaign_of[str(name)]) for name in offers] or [0], np.int32)[offer],
        value=value - cost[channel],
        order=offer.astype(np.int64),
        cap=np.array(list(caps.values()), np.int32),
        capacity=[_bound(told.get(str(name), {}), "capacity") for name in channels],
        most=[_bound(campaigns[name], "max") for name in names],
        least=[max(0, _bound(campaigns[name], "min")) for name in names],
        channels=[str(name) for name in channels],
        campaigns=names,
    )
    checked = Limits(
        cap=dict(caps),
        capacity={name: _bound(one, "capacity") for name, one in told.items() if _bound(one, "capacity") >= 0},
        most={name: _bound(one, "max") for name, one in campaigns.items() if _bound(one, "max") >= 0},
        least={name: _bound(one, "min") for name, one in campaigns.items() if _bound(one, "min") > 0},
    )
    return Instance(problem, candidates, where, groups, campaign_of, checked)


def _plan(instance: Instance, solution: arbitration.Solution) -> pa.Table:
    """The picked candidates with their values after cost, in the order of the customers."""
    rows = instance.candidates.take(instance.row[solution.picked])
    rows = rows.select(["customer_id", "offer_id", "channel"])
    return rows.append_column("value", pa.array(instance.problem.value[solution.picked]))


def _won(instance: Instance, plan: pa.Table) -> list[Won]:
    columns = [_text(plan, name).tolist() for name in ("customer_id", "offer_id", "channel")]
    return [
        Won(customer, instance.groups[offer], channel, instance.campaign_of[offer])
        for customer, offer, channel in zip(*columns, strict=True)
    ]


def _caps(customers: pa.Table, tiers: Mapping[str, Any]) -> dict[str, int]:
    """Customer → cap. Empty: the tier's; without one unlimited."""
    caps = customers["cap"].to_pylist()
    tier = _text(customers, "tier").tolist() if "tier" in customers.column_names else [""] * len(caps)
    found: dict[str, int] = {}
    for row, (customer, cap, level) in enumerate(
        zip(_text(customers, "customer_id").tolist(), caps, tier, strict=True)
    ):
        most = tiers.get(level, UNLIMITED) if cap is None else cap
        if customer in found or not isinstance(most, int | float) or not math.isfinite(most) or most < 0:
            raise WrongInput(f"customers: row {row + 1}: customer_id comes twice, or cap is not a number from 0 on")
        found[customer] = min(int(most), UNLIMITED)
    return found


def _campaigns(told: Mapping[str, Any], offers: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Campaign → its limits, and offer → campaign; an offer of no campaign is one of its own without limits."""
    campaigns: dict[str, dict[str, Any]] = {}
    campaign_of: dict[str, str] = {}
    for name, one in told.items():
        campaigns[str(name)] = dict(one or {})
        for offer in campaigns[str(name)].get("offers", [name]):
            if str(offer) in campaign_of:
                raise WrongInput(f"limits: offer {offer} is in two campaigns")
            campaign_of[str(offer)] = str(name)
    for offer in offers:
        if offer not in campaign_of:
            campaign_of[offer] = offer if offer not in campaigns else f"{offer} (offer)"
            campaigns[campaign_of[offer]] = {}
    return campaigns, campaign_of


def _groups(told: Sequence[Sequence[Any]], offers: list[str]) -> dict[str, int]:
    """Offer → group; groups that share an offer are one."""
    group_of = {offer: index for index, offer in enumerate(offers)}
    for listed in told:
        members = {group_of[str(offer)] for offer in listed if str(offer) in group_of}
        if members:
            group_of = {offer: min(members) if group in members else group for offer, group in group_of.items()}
    return group_of


def _bound(told: Mapping[str, Any], name: str) -> int:
    bound = told.get(name)
    if bound is None:
        return NO_LIMIT
    if not isinstance(bound, int) or bound < 0:
        raise WrongInput(f"limits: {name} is {bound!r}, not a whole number from 0 on")
    return bound


def _limits(path: Path) -> Mapping[str, Any]:
    try:
        limits = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise WrongInput(f"{path}: {error}") from error
    if not isinstance(limits, dict):
        raise WrongInput(f"{path}: the limits are not a mapping")
    unknown = set(limits) - {"channels", "campaigns", "exclusive_groups", "tiers"}
    if unknown:
        raise WrongInput(f"{path}: not known: {', '.join(sorted(map(str, unknown)))}")
    return limits


def _table(path: Path) -> pa.Table:
    try:
        return pa.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise WrongInput(f"{path}: {error}") from error


def _columns(table: pa.Table, what: str, *names: str) -> None:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise WrongInput(f"{what}: missing columns: {', '.join(missing)}")


def _text(table: pa.Table, name: str) -> "np.typing.NDArray[Any]":
    return np.asarray(table[name].cast(pa.string()).to_numpy(zero_copy_only=False), dtype=str)
