"""The main job: one campaign from operator files to effect, as a client of the platform (`make demo`).

Everything goes through the front door by gRPC; the only files touched are those that an operator touches: the landing
folder, where files are dropped, and OCRM's folder, where the hand-over appears. The city plays the operator and its
customers; its planted truth is read here, at the end, to score what the platform found.

Run twice, it changes nothing twice: every write has a request id made from its own content.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.type.date_pb2 import Date
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import offers
import summary
import truth
from lifecircle import Lifecircle, fault
from lifecircle.contact import v1 as contact
from lifecircle.ingest import v1 as ingest
from lifecircle.points import v1 as points
from lifecircle.portrait import v1 as portrait
from lifecircle.recommend import v1 as recommend

ENDED = {"LOADED", "QUARANTINED", "SUPERSEDED"}
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Stage:
    """One bar: `done` of `total`, and what is being done."""

    progress: Progress
    task: TaskID

    def show(self, done: float, total: float, text: str = "") -> None:
        """Moves the bar."""
        self.progress.update(self.task, completed=done, total=max(total, 1), text=text)


@dataclass
class Journey:
    """The platform as operator and as second person, the folders, and what was found so far."""

    platform: Lifecircle
    author: Lifecircle
    run: dict[str, Any]
    state: Path
    city: Path
    seed: int
    patience: float
    progress: Progress
    found: dict[str, Any]

    @asynccontextmanager
    async def stage(self, name: str) -> AsyncIterator[Stage]:
        """Shows a stage; a refusal inside it ends the journey with the platform's own words."""
        started = time.monotonic()
        stage = Stage(self.progress, self.progress.add_task(name, total=1, text=""))
        try:
            yield stage
        except grpc.aio.AioRpcError as error:
            raise SystemExit(f"{name}: {fault(error)}") from error
        self.found.setdefault("seconds", {})[name] = round(time.monotonic() - started, 1)

    async def until(self, ask: Callable[[], Awaitable[Any | None]], what: str) -> Any:
        """Asks four times a second until there is an answer; gives up after `patience` seconds."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            try:
                answer = await ask()
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
                answer = None  # a service that restarts: what it does goes on afterwards
            if answer is not None:
                return answer
            await asyncio.sleep(0.25)
        raise SystemExit(f"{what} did not come within {self.patience:.0f} s; see the logs in {self.state / 'logs'}")


def request_id(*parts: object) -> str:
    """Names a write by its own content, so that saying it twice does it once."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "lifecircle-journey/" + "/".join(map(str, parts))))


async def prepare(journey: Journey) -> None:
    """Sets policy, campaigns and points rules: everything that people decide before the data come."""
    async with journey.stage("policy, campaigns, rules") as stage:
        policy = offers.policy(journey.found["customers"])
        key = request_id("policy", policy)
        await journey.platform.contact.UpdatePolicy(contact.UpdatePolicyRequest(policy=policy, request_id=key))
        drafts = offers.campaigns()
        for number, draft in enumerate(drafts):
            key = request_id("campaign", draft)
            created = await journey.platform.contact.CreateCampaign(
                contact.CreateCampaignRequest(campaign=draft, request_id=key)
            )
            await journey.platform.contact.ActivateCampaign(
                contact.ActivateCampaignRequest(
                    campaign_id=created.campaign.campaign_id, request_id=request_id("activate", draft)
                )
            )
            stage.show(number + 1, len(drafts) + 1, draft.name)
        # Two persons: who writes the rules does not publish them.
        text = (ROOT / "services" / "points" / "examples" / "full_business.yaml").read_text()
        rules = points.RuleSet(name="full_business", definition=text)
        drafted = await journey.author.points.CreateRuleSet(
            points.CreateRuleSetRequest(rule_set=rules, request_id=request_id("rules", text))
        )
        await approve(journey, drafted.rule_set, text)
        await journey.platform.points.PublishRuleSet(
            points.PublishRuleSetRequest(
                rule_set_id=drafted.rule_set.rule_set_id,
                sha256=drafted.rule_set.sha256,
                effective_date=Date(year=2026, month=1, day=1),
                request_id=request_id("publish", text),
            )
        )
        stage.show(1, 1, f"{len(drafts)} campaigns, rules version {drafted.rule_set.version}")


async def approve(journey: Journey, draft: points.RuleSet, text: str) -> None:
    """Takes a draft through its gate: proved, shown on real events, approved as it was shown."""
    of, platform = draft.rule_set_id, journey.platform.points
    await platform.ValidateRuleSet(points.ValidateRuleSetRequest(rule_set_id=of, request_id=request_id("valid", text)))
    await platform.SimulateRuleSet(points.SimulateRuleSetRequest(rule_set_id=of, request_id=request_id("shown", text)))
    await platform.ApproveRuleSet(
        points.ApproveRuleSetRequest(rule_set_id=of, sha256=draft.sha256, request_id=request_id("approved", text))
    )


def data_files(folder: Path) -> list[Path]:
    """Gives the data files of a folder, what refers to places after them, signalling last: portraits wait for it."""
    return sorted(folder.glob("*.TXT"), key=lambda path: (path.name.startswith(("CITYEVT", "SIGNAL")), path.name))


async def drop(journey: Journey, folder: Path, name: str) -> None:
    """Drops files as an operator does, the control file last, and waits until every one is settled."""
    files = data_files(folder)
    landing = Path(journey.run["paths"]["landing"])
    async with journey.stage(name) as stage:
        for number, path in enumerate(files):
            for source in (path, path.with_suffix(".CHK")):
                part = landing / f".{source.name}.part"
                await asyncio.to_thread(shutil.copyfile, source, part)
                part.rename(landing / source.name)
            stage.show(number, 2 * len(files), f"dropped {path.name}")

        async def settled() -> list[ingest.Delivery] | None:
            known = {delivery.file_name: delivery for delivery in await deliveries(journey)}
            mine = [known[path.name] for path in files if path.name in known]
            ended = [one for one in mine if ingest.Delivery.State.Name(one.state).removeprefix("STATE_") in ENDED]
            rows = sum(one.source_rows for one in ended)
            stage.show(len(files) + len(ended), 2 * len(files), f"{len(ended)} of {len(files)} files, {rows:,} rows")
            waiting = any((landing / path.name).exists() for path in files)
            return ended if len(ended) == len(files) and not waiting else None

        ended = await journey.until(settled, "the end of the load")
        loaded = [one for one in ended if one.state == ingest.Delivery.STATE_LOADED]
        source, good, bad = (
            sum(getattr(one, field) for one in loaded) for field in ("source_rows", "loaded_rows", "rejected_rows")
        )
        held = "".join(f"; {one.file_name}: {one.problems[0].reason}" for one in ended if one.problems)
        stage.show(1, 1, f"{source:,} rows = {good:,} loaded + {bad:,} rejected{held}")
        journey.found[name] = {"files": len(files), "source": source, "loaded": good, "rejected": bad}
        if source != good + bad:
            raise SystemExit(f"{name}: {source} source rows are not {good} loaded + {bad} rejected")


async def deliveries(journey: Journey) -> list[ingest.Delivery]:
    """Gives every delivery that the platform knows."""
    found: list[ingest.Delivery] = []
    token = ""
    while True:
        page = await journey.platform.ingest.ListDeliveries(
            ingest.ListDeliveriesRequest(page_size=1000, page_token=token)
        )
        found += page.deliveries
        token = page.next_page_token
        if not token:
            return found


async def job(journey: Journey, stage: Stage, stub: Any, messages: Any, kind: str) -> Any:
    """Follows the latest job of a kind to its end; a failed one ends the journey with its reason."""

    async def ended() -> Any | None:
        listed = await stub.ListJobs(messages.ListJobsRequest(page_size=100))
        mine = [one for one in listed.jobs if one.HasField(kind)]
        if not mine:
            return None
        latest = mine[0]
        stage.show(latest.done, latest.total, latest.message)
        if latest.state in (messages.Job.STATE_FAILED, messages.Job.STATE_CANCELLED):
            raise SystemExit(
                f"{kind} ended as {messages.Job.State.Name(latest.state)}: {latest.error} {latest.message}"
            )
        return latest if latest.state == messages.Job.STATE_SUCCEEDED else None

    return await journey.until(ended, f"the job `{kind}`")


async def know(journey: Journey) -> None:
    """Follows the chain that the files set off: portraits, model, matrix, plan."""
    platform, found = journey.platform, journey.found
    async with journey.stage("portrait: visits, dwell, anchors, tags") as stage:
        done = await job(journey, stage, platform.portrait, portrait, "compute")
        stage.show(1, 1, ", ".join(f"{count:,} {name}" for name, count in sorted(done.counts.items())))
        found["portraits"] = dict(done.counts)
    async with journey.stage("recommend: train RF-CF, one ONNX graph") as stage:
        await job(journey, stage, platform.recommend, recommend, "train")
        model = (await platform.recommend.GetModel(recommend.GetModelRequest())).model
        metrics = model.metrics
        text = f"ndcg@5 {metrics['ndcg@5']:.3f} (popularity {metrics['popularity_ndcg@5']:.3f}), {model.bytes:,} bytes"
        stage.show(1, 1, text)
        found["model"] = dict(metrics)
    async with journey.stage("recommend: customer × product matrix") as stage:
        await job(journey, stage, platform.recommend, recommend, "matrix")
        matrix = (await platform.recommend.GetMatrix(recommend.GetMatrixRequest())).matrix
        stage.show(1, 1, f"{matrix.customers:,} customers, {matrix.cells:,} cells")
        found["matrix_id"] = matrix.matrix_id
    async with journey.stage("contact: arbitrate under caps and capacity") as stage:
        await job(journey, stage, platform.contact, contact, "arbitrate")
        plan = (await platform.contact.GetPlan(contact.GetPlanRequest())).plan
        share = 100 * (1 - plan.gap)
        stage.show(1, 1, f"{plan.contacts:,} contacts, {plan.control_contacts:,} held out, {share:.3f} % of the bound")
        found["plan"] = plan


async def hand_over(journey: Journey) -> Path:
    """Has the plan written for OCRM and gives a folder with exactly those files."""
    plan = journey.found["plan"]
    out = Path(journey.run["paths"]["ocrm_out"])
    async with journey.stage("contact: hand-over to OCRM") as stage:
        spec = contact.HandoverSpec(plan_id=plan.plan_id)
        await journey.platform.contact.CreateJob(
            contact.CreateJobRequest(handover=spec, request_id=request_id("handover", plan.plan_id))
        )
        await job(journey, stage, journey.platform.contact, contact, "handover")
        plan = (await journey.platform.contact.GetPlan(contact.GetPlanRequest(plan_id=plan.plan_id))).plan
        files = [file.file_name for file in plan.handover_files]
        stage.show(1, 1, f"{', '.join(files)}: {sum(file.rows for file in plan.handover_files):,} rows")
        journey.found["handover"], journey.found["plan"] = files, plan
    taken = journey.city / "taken"
    shutil.rmtree(taken, ignore_errors=True)
    taken.mkdir(parents=True)
    for name in files:
        for source in (out / name, (out / name).with_suffix(".CHK")):
            shutil.copyfile(source, taken / source.name)
    return taken


async def answer(journey: Journey, taken: Path) -> None:
    """The city's customers answer; the answers come back as files, and their effect is seen."""
    answers = journey.city / "answers"
    async with journey.stage("the city answers") as stage:
        command = [sys.executable, "-m", "city", "answer", "--handover", str(taken), "--out", str(answers)]
        command += ["--truth", str(journey.city / "truth"), "--seed", str(journey.seed)]
        made = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
        if made.returncode:
            raise SystemExit(f"the city could not answer: {made.stderr}")
        stage.show(1, 1, ", ".join(sorted(path.name for path in answers.glob("*.TXT"))))
    await drop(journey, answers, "ingest: feedback, orders, business events")


def steady(times: int = 3) -> Callable[[Any], bool]:
    """Gives a judge of readings: true when the last `times` of them were the same."""
    seen: list[Any] = []

    def judge(reading: Any) -> bool:
        seen[:] = [*(seen if seen and seen[-1] == reading else []), reading]
        return len(seen) >= times

    return judge


async def outcomes(journey: Journey) -> int:
    """Counts the outcomes that contact has recorded, matched or not."""
    count, token = 0, ""
    while True:
        page = await journey.platform.contact.ListOutcomes(
            contact.ListOutcomesRequest(page_size=1000, page_token=token)
        )
        count, token = count + len(page.outcomes), page.next_page_token
        if not token:
            return count


async def effect(journey: Journey) -> None:
    """Waits until contact has recorded every feedback, then reads the effect against the control groups."""
    async with journey.stage("contact: response and opening against control") as stage:
        answered = sum(path.read_bytes().count(b"\n") for path in (journey.city / "answers").glob("FEEDBACK_*.TXT"))
        calm = steady()

        async def counted() -> Any | None:
            recorded = await outcomes(journey)
            stage.show(recorded, answered, f"{recorded:,} of {answered:,} feedbacks recorded")
            effects = list((await journey.platform.contact.ListEffects(contact.ListEffectsRequest())).effects)
            await asyncio.sleep(0.5)  # openings come by another feed than feedback, so the figures must stand still too
            return effects if calm((recorded, effects)) and recorded >= answered else None

        journey.found["effects"] = await journey.until(counted, "the effect")
        stage.show(1, 1, f"{len(journey.found['effects'])} campaigns, {answered:,} feedbacks")


async def earn(journey: Journey) -> None:
    """Waits until points has scored what there is, then reads the leaderboard and explains its top entry."""
    async with journey.stage("points: score, leaderboard, explanation") as stage:
        day = journey.found["plan"].plan_date
        period = f"{day.year}-{day.month:02d}"  # of the business that the contacts brought
        calm = steady()

        async def scored() -> Any | None:
            ask = points.ListLeaderboardRequest(period_id=period, page_size=5)
            lines = list((await journey.platform.points.ListLeaderboard(ask)).lines)
            stage.show(sum(line.entries for line in lines), 0, "scoring")
            await asyncio.sleep(0.5)
            return lines if lines and calm(lines) else None

        lines = await journey.until(scored, "the leaderboard")
        explained = await journey.platform.points.ExplainEntry(
            points.ExplainEntryRequest(entry_id=lines[0].top_entry_id)
        )
        journey.found["leaderboard"], journey.found["explained"] = lines, explained.explanation
        journey.found["period"] = (
            await journey.platform.points.GetPeriod(points.GetPeriodRequest(period_id=period))
        ).period
        stage.show(1, 1, f"{journey.found['period'].entries:,} entries in {period}")


async def travel(state: Path, city: Path, *, patience: float = 600.0, console: Console | None = None) -> dict[str, Any]:
    """Makes the whole journey on the platform of `state` and gives what was found; prints as it goes."""
    console = console or Console()
    if not (state / "run.json").exists():
        raise SystemExit(f"no platform runs in {state}: start it with `make up`")
    run = json.loads((state / "run.json").read_text())
    manifest = json.loads((city / "truth" / "manifest.json").read_text())

    def token(who: str) -> Callable[[], str]:
        return lambda: Path(run["tokens"][who]).read_text().strip()

    columns = (
        TextColumn("{task.description:46}"),
        BarColumn(20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
    )
    started = time.monotonic()
    async with (
        Lifecircle(run["front_door"], token=token("demo")) as platform,
        Lifecircle(run["front_door"], token=token("operator")) as author,
    ):
        with Progress(*columns, console=console) as progress:
            found = {"customers": manifest["customers"]}
            journey = Journey(platform, author, run, state, city, manifest["seed"], patience, progress, found)
            await prepare(journey)
            await drop(journey, city / "files", "ingest: operator files")
            await know(journey)
            await answer(journey, await hand_over(journey))
            await effect(journey)
            await earn(journey)
            async with journey.stage("the planted truth") as stage:
                found["truth"] = await truth.score(platform, city / "truth", stage.show)
                stage.show(1, 1, "scored")
        summary.tell(found, run, state, console)
        await summary.report(platform, state, console)
    console.print(f"{time.monotonic() - started:.0f} s")
    return found


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(prog="journey.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, default=Path(".lifecircle"), help="the platform's state folder")
    parser.add_argument("--city", type=Path, help="folder with files/ and truth/ (default: STATE/city)")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds to wait for any one stage")
    arguments = parser.parse_args()
    state = arguments.state.resolve()
    asyncio.run(travel(state, (arguments.city or state / "city").resolve(), patience=arguments.patience))


if __name__ == "__main__":
    main()
