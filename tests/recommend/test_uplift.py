"""What a contact changes, where a campaign held customers out by chance: from contact's plans to a served uplift."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np

from lifecircle.contact import v1 as contact
from lifecircle.recommend import v1
from services.kit import jobs
from services.recommend import peers
from services.recommend.domain.ownership import Orders
from services.recommend.domain.trial import DAYS, Trial, experiments, opened_after
from services.recommend.training import program
from services.recommend.usecases import Accepting, Recipe
from services.recommend.usecases.asking import ACCEPTANCE
from tests.recommend.house import NOW, PLACE, House
from tests.recommend.neighbours import Contact, Context, neighbours, pair
from tests.recommend.test_acceptances import facts, note
from tests.recommend.town import CATALOGUE, Row, order_delivery


def trial(name: str, key: int, day: int = 0, campaign: str = "a", treated: bool = True, product: str = "C1") -> Trial:
    return Trial(name, key, product, campaign, NOW + timedelta(days=day), treated)


def test_an_experiment_is_one_campaign_and_every_customer_counts_once_at_his_first_contact() -> None:
    told = [
        trial("1", 1, day=2), trial("2", 1, day=1, treated=False), trial("3", 2, treated=False), trial("4", 3),
        trial("5", 4), trial("6", 5, campaign="b", treated=False), trial("7", 6, campaign="c", product="A1"),
    ]  # fmt: skip
    found, campaigns = experiments(told, {3: 0, 4: 9})
    assert campaigns == {"C1": "a"}  # b held out fewer, c nobody
    assert [each.contact_id for each in found] == ["3", "5", "2"]


def test_an_opening_counts_from_the_contact_on_for_as_long_as_it_is_answerable() -> None:
    start, day = NOW.timestamp(), 86_400.0
    times = [start - 1, start, start + DAYS * day - 1, start + DAYS * day, start + day, start + day]
    orders = Orders(
        np.arange(1, 7), np.array(["C1"] * 5 + ["A1"], dtype=object), np.array([f"o{n}" for n in range(6)], object),
        np.array([int(each * 1000) for each in times]), np.array([True, True, True, True, False, True]),
    )  # fmt: skip
    product = np.full(6, CATALOGUE.index["C1"])
    told = opened_after(np.arange(1, 7), product, np.full(6, start), orders, CATALOGUE)
    assert told.tolist() == [False, True, True, False, False, False]


class Campaigns(Contact):
    """Has one plan, of which it gives seven contacts a page."""

    def __init__(self, contacts: list[contact.Contact]) -> None:
        super().__init__()
        self.contacts = contacts

    async def ListPlans(self, request: contact.ListPlansRequest, context: Context) -> contact.ListPlansResponse:
        if not request.page_token:  # a plan that held nobody out tells nothing of what contacts change
            return contact.ListPlansResponse(plans=[contact.Plan(plan_id="none")], next_page_token="2")
        return contact.ListPlansResponse(plans=[contact.Plan(plan_id="p", control_contacts=1)])

    async def ListContacts(
        self, request: contact.ListContactsRequest, context: Context
    ) -> contact.ListContactsResponse:
        assert request.plan_id == "p"
        first = int(request.page_token or 0)
        token = str(first + 7) if first + 7 < len(self.contacts) else ""
        return contact.ListContactsResponse(contacts=self.contacts[first : first + 7], next_page_token=token)


def planted() -> tuple[list[contact.Contact], list[Row], set[int]]:
    """Who is of the circle HU01 opens C1 when contacted, hardly otherwise; others are not moved. And who is of it."""
    rng = np.random.default_rng(11)
    contacts, rows, homes = [], [], set()
    states = {True: contact.Contact.STATE_HANDED_OVER, False: contact.Contact.STATE_CONTROL}
    for number in np.flatnonzero(~PLACE.owned[:, CATALOGUE.index["C1"]]).tolist():
        key, home, treated = int(PLACE.keys[number]), bool(PLACE.profile[number, 3] > 0.5), bool(rng.random() < 0.5)
        homes |= {key} if home else set()
        one = contact.Contact(contact_id=f"t{key}", customer_key=key, product_id="C1", campaign_id="homes")
        one.state = states[treated]
        one.contact_time.FromDatetime(NOW + timedelta(days=1))
        contacts.append(one)
        if rng.random() < (0.95 if home and treated else 0.1):
            at = datetime(2026, 10, 5, tzinfo=UTC) + timedelta(seconds=number)
            rows.append((key, "C1", f"U{key}", "open", int(at.timestamp() * 1000)))
    contacts.append(contact.Contact(contact_id="later", customer_key=3, product_id="C1", campaign_id="homes"))
    return contacts, rows, homes


async def learned(
    house: House, stub: Any, folder: Path, trials: Callable[[int], Awaitable[list[Trial]]]
) -> v1.AcceptanceModel:
    """The model of C1 that a job makes."""

    async def train(place: Path, tell: Any) -> None:
        await asyncio.to_thread(program.main, place)
        await tell("learned")

    spec = v1.CreateJobRequest(acceptance=v1.AcceptanceSpec(seed=3), request_id="a")
    job = (await stub.CreateJob(spec)).job
    recipe = Recipe(20, 1, 10_000, folder / "scratch")
    accepting = Accepting(house.db, house.inputs, house.lake, train, recipe, house.tick, house.asking, trials)
    stop = asyncio.Event()
    working = asyncio.create_task(
        jobs.work(house.db, {ACCEPTANCE: accepting.learn}, owner="t", clock=house.tick, stop=stop, poll=0.02)
    )
    try:
        async with asyncio.timeout(60):
            while job.state in (v1.Job.STATE_QUEUED, v1.Job.STATE_RUNNING):
                await asyncio.sleep(0.05)
                job = (await stub.GetJob(v1.GetJobRequest(job_id=job.job_id))).job
    finally:
        stop.set()
        await working
    assert job.state == v1.Job.STATE_SUCCEEDED, job
    told: v1.AcceptanceModel = (await stub.GetAcceptanceModel(v1.GetAcceptanceModelRequest(product_id="C1"))).model
    return told


async def test_who_is_moved_by_a_contact_is_found_and_served(house: House, stub: Any, tmp_path: Path) -> None:
    """R002-038: Qini and AUUC with intervals on the randomised control, and customers by what a contact changes."""
    contacts, rows, homes = planted()
    await house.learn()
    async with house.db.begin() as tx:
        await house.taking.take_delivery(tx, order_delivery(house.folder, rows, number=2))
        await tx.commit()
    await note(house, facts(1, 2))
    async with neighbours(*pair(), Campaigns(contacts)) as door, grpc.aio.insecure_channel(door) as channel:  # type: ignore[abstract]
        told = await learned(house, stub, tmp_path, peers.Contact(contact.ContactServiceStub(channel)).trials)
    assert told.code_version
    report = json.loads(told.report)["uplift"]
    assert (report["campaign_id"], report["opened"]) == ("homes", len(rows))
    assert report["treated"] + report["held_out"] == len(contacts) - 1
    assert told.metrics["uplift_proven"] == 1.0
    assert 0.0 < told.metrics["qini_low"] <= told.metrics["qini"] <= told.metrics["qini_high"]
    assert told.metrics["auuc_low"] <= told.metrics["auuc"] <= told.metrics["auuc_high"]
    assert told.metrics["uplift_low"] > 0.0
    asked = v1.ListAcceptanceScoresRequest(product_id="C1", by_uplift=True, page_size=20)
    page = await stub.ListAcceptanceScores(asked)
    uplifts = [each.uplift for each in page.scores]
    assert uplifts == sorted(uplifts, reverse=True)
    left = {each.customer_key for each in page.scores}
    assert len(left & homes) > len(left) / 2
    plain = await stub.ListAcceptanceScores(v1.ListAcceptanceScoresRequest(product_id="C1", page_size=1000))
    assert all(each.HasField("uplift") and -1.0 <= each.uplift <= 1.0 for each in plain.scores)


async def test_without_a_control_or_without_contact_acceptance_is_learned_and_the_report_says_so(
    house: House, stub: Any, tmp_path: Path
) -> None:
    await house.learn()
    await note(house, facts(1, 2))
    async with neighbours(*pair()) as door, grpc.aio.insecure_channel(door) as channel:  # nobody answers for contact
        told = await learned(house, stub, tmp_path, peers.Contact(contact.ContactServiceStub(channel)).trials)
    assert json.loads(told.report)["uplift"] == {"refusal": "no campaign is known that held customers out"}
    assert "qini" not in told.metrics
    page = await stub.ListAcceptanceScores(v1.ListAcceptanceScoresRequest(product_id="C1", page_size=5))
    assert not any(each.HasField("uplift") for each in page.scores)
    none = await stub.ListAcceptanceScores(v1.ListAcceptanceScoresRequest(product_id="C1", by_uplift=True))
    assert not none.scores
