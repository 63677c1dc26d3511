"""The offline verb `arbitrate`: an auction over files, by the same domain code as the service's."""

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from services.contact.domain import arbitration
from services.contact.domain.arbitration import explanation
from services.contact.domain.arbitration.checker import Columns, counted
from services.contact.domain.arbitration.problem import Ints, from_columns
from services.contact.offline import instance as instances
from services.contact.offline import limits
from services.contact.offline.instance import Instance
from services.contact.offline.limits import WrongInput
from services.kit.errors import Refusal

_HELP = """
Chooses the contacts of greatest total value within all limits, and proves how near to the best they are.

files (.parquet or .csv):
  candidates   customer_id, offer_id, channel, value [, day]   value of the contact before its channel's cost
  customers    customer_id, cap [, tier]                cap empty: the tier's, else unlimited; 0: nobody contacts him

limits (YAML), everything optional; a bound that is not set is no bound, 0 is none at all:
  channels:                                   # a channel that is not listed has no capacity limit and no cost
    sms:  {capacity: 55000, cost: 0.05}
    call: {capacity: 4000, cost: 1.0}
  campaigns:                                  # offers of which together at least min and at most max are made
    summer: {offers: [o1, o2], min: 100, max: 9000, line: mobile}   # line: its business line, for the fairness
    o3: {max: 500}                            # without offers: the offer of that name
  exclusive_groups: [[o1, o4], [o5, o6, o7]]  # of each group a customer gets one at most; of an offer always
  tiers: {gold: 3, plain: 1}

with a column day (a date or a whole number) a customer gets at most one contact a day, and:
  spacing_days: 3                             # two contacts through the same channel are so many days apart
  channels: {sms: {daily_capacity: 8000}}     # the channel's capacity on each day, instead of capacity

report (JSON): objective, bound, gap, violations{cap, group, channel, max, min [, day]}, contacts, prices (money per
contact; of a minimum negative), wall_seconds, cpu_seconds, peak_memory_bytes, seed; candidates, customers, outcomes
(how many bids won, or lost and why), campaigns and lines (contacts and value won of what was asked for), evenness.
plan: customer_id, offer_id, channel [, day], value after the channel's cost.
losers: customer_id, offer_id, channel [, day], value, reason, lost_to (the offer that won instead), short (by how much)

example:
  python -m services.contact arbitrate --candidates c.parquet --customers p.csv --limits l.yaml --out plan.parquet \\
      --report report.json

exit status: 0 a plan, 1 the minima cannot be met (the limits that block them are named), 2 wrong input
"""


def arbitrate(words: Sequence[str]) -> int:
    """Hold an auction over files; gives the exit status."""
    told = _parser().parse_args(words)
    _warm()
    started = time.perf_counter(), time.process_time()
    try:
        with Progress(console=Console(stderr=True)) as progress:
            instance, solution = _held(told, progress)
    except WrongInput as error:
        print(f"arbitrate: {error}", file=sys.stderr)
        return 2
    except Refusal as refusal:
        print(f"arbitrate: {refusal}", file=sys.stderr)
        if told.report:
            rows = {"infeasible": refusal.metadata["rows"].split(", "), "proven": refusal.metadata["proven"] == "true"}
            told.report.write_text(json.dumps(rows, ensure_ascii=False))
        return 1
    where = np.flatnonzero(solution.picked)
    found = _checked(instance, where)
    pq.write_table(_rows(instance, where), told.out, compression="zstd")
    report = _report(instance, solution, found) | {
        "wall_seconds": time.perf_counter() - started[0],
        "cpu_seconds": time.process_time() - started[1],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seed": told.seed,
    }
    if told.losers:
        pq.write_table(_losers(instance, solution), told.losers, compression="zstd")
    if told.report:
        told.report.write_text(json.dumps(report, indent=2, ensure_ascii=False))
    print(f"{len(where):,} contacts worth {solution.objective:,.2f}, gap {solution.gap:.6%}, violations {found}")
    return 0 if not any(found.values()) else 1


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m services.contact arbitrate", description=_HELP, formatter_class=formatter
    )
    for name in ("candidates", "customers", "limits", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--losers", type=Path, help="every bid that lost, with its reason")
    engines = [arbitration.DUAL_PRICES.lower(), arbitration.GREEDY.lower()]
    parser.add_argument("--engine", choices=engines, default=engines[0], help="how the plan is found; the bound is one")
    parser.add_argument("--seed", type=int, default=0, help="kept in the report; nothing in the auction is random")
    return parser


def _warm() -> None:
    """Have the loops compiled, which is done once for an installation and is no part of an auction's cost."""
    for spacing in (0, 1):
        problem, _ = from_columns(
            customer=np.zeros(1, np.int32),
            kind=np.zeros(1, np.uint16),
            value=np.ones(1),
            cap=np.ones(1, np.int32),
            group_of=[0],
            channel_of=[0],
            campaign_of=[0],
            capacity=[1],
            most=[1],
            least=[0],
            channels=["a"],
            campaigns=["a"],
            spacing=spacing,
        )
        arbitration.warm(problem)


def _held(told: argparse.Namespace, progress: Progress) -> tuple[Instance, arbitration.Solution]:
    task = progress.add_task("reads", total=None)

    def read(rows: int, total: int) -> None:
        progress.update(task, completed=rows, total=total or None)

    instance = instances.read(told.candidates, told.customers, limits.read(told.limits), read)
    progress.update(task, description="holds the auction", total=None)
    solution = arbitration.solve(instance.problem, told.engine.upper())
    progress.update(task, description="writes the plan", completed=1, total=1)
    return instance, solution


def _customers(instance: Instance, where: Ints) -> Ints:
    """The customer of each of these candidates (ascending)."""
    return np.repeat(np.arange(instance.problem.customers), np.diff(np.searchsorted(where, instance.problem.starts)))


def _checked(instance: Instance, where: Ints) -> dict[str, int]:
    """What the plan breaks, counted apart from the solver."""
    problem = instance.problem
    kind = problem.kind[where]
    plan = Columns(
        customer=_customers(instance, where),
        group=problem.group_of[kind],
        channel=problem.channel_of[kind],
        campaign=problem.campaign_of[kind],
        medium=instance.medium_at[kind] if instance.days is not None else None,
        day=problem.day_of[kind] if instance.days is not None else None,
    )
    limited = problem.capacity, problem.most, problem.least
    return counted(plan, problem.cap, *limited, spacing=problem.spacing)


def _rows(instance: Instance, where: Ints) -> pa.Table:
    """These candidates with their values after cost, in the order of the customers."""
    kind = instance.problem.kind[where]
    columns = {
        "customer_id": instance.customers.take(pa.array(_customers(instance, where))),
        "offer_id": instance.offers.take(pa.array(instance.offer_at[kind])),
        "channel": instance.media.take(pa.array(instance.medium_at[kind])),
    }
    if instance.days is not None:
        columns["day"] = instance.days.take(pa.array(instance.day_at[kind]))
    return pa.table(columns | {"value": pa.array(instance.problem.value[where])})


def _losers(instance: Instance, solution: arbitration.Solution) -> pa.Table:
    """Every candidate that lost: why, to which offer, and how much it fell short."""
    told = explanation.losses(instance.problem, solution.prices, solution.picked)
    where = np.flatnonzero(~solution.picked)
    rival = told.rival[where]
    to = pa.array(instance.offer_at[instance.problem.kind[np.maximum(rival, 0)]], mask=rival < 0)
    reasons = pa.array(explanation.REASONS).take(pa.array(told.reason[where]))
    more = {"reason": reasons, "lost_to": instance.offers.take(to), "short": pa.array(told.short[where])}
    table = _rows(instance, where)
    return pa.table({name: table[name] for name in table.column_names} | more)


def _report(instance: Instance, solution: arbitration.Solution, found: dict[str, int]) -> dict[str, Any]:
    problem = instance.problem
    told = explanation.shares(problem, solution.picked)
    lines = explanation.by_line(told, instance.lines, instance.line_of)
    return {
        "objective": solution.objective,
        "bound": solution.bound,
        "gap": solution.gap,
        "violations": found,
        "contacts": int(np.count_nonzero(solution.picked)),
        "prices": {row.name: row.price for row in solution.rows if row.price != 0},
        "customers": problem.customers,
        "candidates": problem.candidates,
        "outcomes": explanation.reasons(problem, solution.prices, solution.picked),
        "campaigns": {share.name: _share(share) for share in told},
        "lines": {share.name: _share(share) for share in lines},
        "evenness": explanation.evenness(lines),
    }


def _share(share: explanation.Share) -> dict[str, float]:
    return {
        "candidates": share.candidates,
        "contacts": share.contacts,
        "asked": share.asked,
        "won": share.won,
        "part": share.part,
    }
