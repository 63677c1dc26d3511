"""What the journey prints at its end: effect, leaderboard, one entry explained, scores, and where to look next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lifecircle import Lifecircle, reports
from lifecircle.contact.v1 import Effect
from lifecircle.points.v1 import Explanation


def tell(found: Mapping[str, Any], run: Mapping[str, Any], state: Path, console: Console) -> None:
    """Prints the summary of what was `found` on the platform that `run` describes."""
    console.print(effects(found["effects"]))
    board = Table("rank", "employee", "organisation", "points", title=f"leaderboard {found['period'].period_id}")
    for line in found["leaderboard"]:
        board.add_row(str(line.rank), line.staff_id, line.org_id, points(line.milli_points))
    console.print(board)
    explain(found["explained"], console)
    scores = Table("against the planted truth", "score")
    for name, value in found["truth"].items():
        scores.add_row(name, f"{value:.3f}")
    console.print(scores)
    model = found["model"]
    console.print(f"model: ndcg@5 {model['ndcg@5']:.3f}, popularity {model['popularity_ndcg@5']:.3f}")
    where(run, state, console)


def points(milli: int) -> str:
    """Writes milli-points as points."""
    return f"{'-' if milli < 0 else ''}{abs(milli) // 1000:,}.{abs(milli) % 1000:03d}"


def effects(found: list[Effect]) -> Table:
    """Draws the campaigns against their control groups."""
    table = Table("campaign", "sent", "response", "opening", "control", "lift", "more openings, 95 %", title="effect")
    for one in found:
        rates = [f"{100 * rate.rate:.1f} %" for rate in (one.response, one.opening, one.control_opening)]
        interval = f"{100 * one.difference_low:+.1f} … {100 * one.difference_high:+.1f} points"
        table.add_row(one.name, f"{one.opening.trials:,}", *rates, f"{one.lift:.2f} ×" if one.lift else "–", interval)
    return table


def explain(why: Explanation, console: Console) -> None:
    """Prints how the top entry came to be."""
    console.print(f"why {points(why.entry.milli_points)} points for {why.entry.staff_id or why.entry.account}:")
    console.print(f"    event   {why.event_type} of {why.product_id}, {why.source}")
    console.print(f"    rule    {why.entry.rule_id} of {why.rule_set_name}, version {why.rule_set_version}")
    console.print(f"    field   {why.assignment_text}")
    for step in why.steps:
        console.print(f"    step    {step.text} → {points(step.milli_points)}")


def where(run: Mapping[str, Any], state: Path, console: Console) -> None:
    """Says where to look next."""
    front = run["front_door"]
    method = "lifecircle.portrait.v1.PortraitService/GetPortrait"
    token = run["tokens"]["viewer"]
    console.print(f"front door   {front}")
    console.print(f"files        {Path(run['paths']['landing']) / '.archive'}")
    console.print(f"hand-over    {run['paths']['ocrm_out']}")
    console.print(f"logs         {state / 'logs'}")
    ask = f'curl -H "authorization: Bearer $(cat {token})" -d \'{{"customer_key": 1}}\' http://{front}/{method}'
    console.print(f"ask it       {ask}", soft_wrap=True)
    console.print("stop it      make down")


async def report(platform: Lifecircle, state: Path, console: Console) -> None:
    """Writes the report on life circles as a page and a workbook, and says where they are."""
    overview = reports.write(await reports.fetch(platform, "circle_distribution"), state / "reports")
    console.print(f"report 生活圈分布报表: {' and '.join(map(str, overview))}", soft_wrap=True)
