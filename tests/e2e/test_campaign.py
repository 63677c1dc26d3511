"""The campaign over five real processes, PostgreSQL and Envoy; and what strangers, slips and dirt meet there."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from pathlib import Path

import asyncpg
import grpc
import pytest
from rich.console import Console

import journey
from deploy.local.services import environment
from lifecircle import Lifecircle, fault, items, refusal, tokens
from lifecircle.admin.v1 import ListOperationsRequest, ListOrganisationsRequest, Organisation, VerifyOperationsRequest
from lifecircle.contact.v1 import CreateOrdersRequest, ListContactsRequest
from lifecircle.ingest.v1 import Delivery, ListDeliveriesRequest, ListRejectsRequest
from lifecircle.points.v1 import ListEntriesRequest
from lifecircle.portrait.v1 import GetPortraitRequest, ListAudienceMembersRequest
from lifecircle.recommend.v1 import ListBestCustomersRequest, RecommendRequest
from tests.e2e.conftest import Walked, running
from tests.e2e.dimensions import of_one_customer
from tests.fixtures import traces
from tools.tidy import ROOT, SERVICES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def walked(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    state = tmp_path_factory.mktemp("platform")
    with traces.receiver() as heard:
        exporter = {"OTEL_EXPORTER_OTLP_ENDPOINT": heard.endpoint, "OTEL_TRACES_SAMPLER": "always_on"}
        with running(state, exporter) as run:
            paper = Console(file=StringIO(), width=160)
            first = asyncio.run(journey.travel(state, city, patience=300, console=paper))
            second = asyncio.run(journey.travel(state, city, patience=60, console=paper))
            printed = paper.file.getvalue()  # type: ignore[attr-defined]
            yield Walked(run, city, first, second, heard, printed)


@pytest.fixture
async def platform(walked: Walked) -> AsyncIterator[Lifecircle]:
    async with Lifecircle(walked.run.front_door, token=walked.token("operator")) as client:
        yield client


def test_every_source_row_is_loaded_or_rejected_as_the_city_planted(walked: Walked) -> None:
    manifest = json.loads((walked.city / "truth" / "manifest.json").read_text())
    loads = walked.first["ingest: operator files"]
    assert loads["source"] == loads["loaded"] + loads["rejected"]
    assert loads["rejected"] == sum(file["rejects"] for file in manifest["files"].values())
    assert loads["files"] == len(manifest["files"])


def test_the_planted_truth_is_found(walked: Walked) -> None:
    truth = walked.first["truth"]
    assert truth["home F1"] >= 0.95
    assert next(value for name, value in truth.items() if name.startswith("tag F1, macro")) >= 0.90
    # 300 customers teach little; the demo's 5,000 come nearer to what is possible.
    assert 0.62 <= truth["acceptance AUC"] <= truth["acceptance AUC, best possible"]
    assert walked.first["model"]["ndcg@5"] > walked.first["model"]["popularity_ndcg@5"]


def test_the_plan_is_near_its_bound_and_within_the_caps(walked: Walked) -> None:
    plan = walked.first["plan"]
    assert plan.contacts > 0
    assert plan.control_contacts > 0
    assert 0 <= plan.gap < 0.02
    for price in plan.prices:
        assert price.most < 0 or price.used <= price.most, price


def test_the_handover_file_is_what_its_control_file_says(walked: Walked) -> None:
    for name in walked.first["handover"]:
        data = (walked.run.ocrm_out / name).read_bytes()
        control = (walked.run.ocrm_out / name).with_suffix(".CHK").read_text().strip().split("|")
        rows = [line.split("|") for line in data.decode("gb18030").splitlines()]
        tagged = sum(bool(row[-1]) for row in rows)
        assert control == [name, str(len(rows)), hashlib.md5(data).hexdigest(), str(len(data)), str(tagged)]


def test_the_campaign_works_better_than_its_control(walked: Walked) -> None:
    effects = walked.first["effects"]
    opened = sum(one.opening.successes for one in effects) / sum(one.opening.trials for one in effects)
    control = sum(one.control_opening.successes for one in effects) / sum(one.control_opening.trials for one in effects)
    assert opened > control


def test_an_entry_is_explained_to_its_rule_and_event(walked: Walked) -> None:
    why = walked.first["explained"]
    assert why.entry.rule_id
    assert why.rule_set_name == "full_business"
    assert why.steps[-1].milli_points == why.entry.milli_points
    assert why.source.startswith("business_events ")


def test_made_twice_it_changes_nothing_twice(walked: Walked) -> None:
    for name in ("ingest: operator files", "effects", "leaderboard", "period", "plan", "handover", "truth"):
        assert walked.first[name] == walked.second[name], name


def test_one_trace_goes_from_ingest_to_contact(walked: Walked) -> None:
    edges = walked.heard.edges()
    assert {("ingest", "portrait"), ("portrait", "recommend"), ("recommend", "contact")} <= edges
    assert any(_within(("ingest", "portrait", "recommend", "contact"), chain) for chain in walked.heard.chains())


def _within(wanted: tuple[str, ...], chain: tuple[str, ...]) -> bool:
    rest = iter(chain)
    return all(service in rest for service in wanted)


def test_the_ocrm_integration_takes_the_lists_and_returns_what_came_of_them(walked: Walked, tmp_path: Path) -> None:
    """R001-128, R001-110: the example as OCRM runs it, a process with a token of its own, through the front door."""

    def run(*words: str | Path, code: int = 0) -> str:
        environ = {
            "LIFECIRCLE_TARGET": walked.run.front_door,
            "LIFECIRCLE_TOKEN_FILE": str(walked.run.keys.token("demo")),
        }
        done = subprocess.run(
            [sys.executable, "clients/python/examples/ocrm.py", *words],
            cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    plan = walked.first["plan"]
    take = "take", "--plan", plan.plan_id, "--to", tmp_path
    run(*take)
    lists = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.csv")}
    rows = [row for text in lists.values() for row in csv.DictReader(StringIO(text))]
    assert len({row["contact_id"] for row in rows}) == len(rows) == sum(file.rows for file in plan.handover_files)
    with (walked.city / "truth" / "customers.csv").open() as file:
        numbers = {line.split(",")[0] for line in file}
    assert {row["msisdn"] for row in rows} <= numbers
    run(*take)
    assert {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.csv")} == lists, "taken again, the same"

    outcomes = tmp_path / "outcomes.csv"
    outcomes.write_text(f"contact_id,result,opened\n{rows[0]['contact_id']},responded,是\nnobody,refused,\n", "utf-8")
    said = run("report", outcomes)
    assert "1 of nobody's" in said
    assert "not known: nobody" in said
    assert run("report", outcomes) == said, "sent again, it changes nothing"
    outcomes.write_text("contact_id,result\nx,perhaps\n", "utf-8")
    assert "line 2" in run("report", outcomes, code=2)
    assert "PLAN_NOT_FOUND" in run("take", "--plan", "nothing", "--to", tmp_path, code=1)


async def test_every_act_of_a_person_is_in_the_chained_log(walked: Walked) -> None:
    """R000-006: what any service remembers of a person's request, admin's log tells of, and of who saw numbers."""
    admin = await asyncpg.connect(walked.run.database_url)
    done: set[tuple[str, str]] = set()
    for service in SERVICES:
        for row in await admin.fetch(f"SELECT DISTINCT caller, method FROM {service}.request"):
            if row["caller"] not in SERVICES:
                done.add((row["caller"], f"{service}.{row['method'].rpartition('/')[2]}"))
    await admin.close()
    assert {action.partition(".")[0] for _, action in done} >= {"points", "contact"}
    wanted = done | {("contact", "ingest.RevealIdentities")}
    async with Lifecircle(walked.run.front_door, token=walked.token("administrator")) as platform:
        for _ in range(240):
            lines = [each async for each in items(platform.admin.ListOperations, ListOperationsRequest(page_size=1000))]
            told = {(each.caller, each.action) for each in lines}
            if wanted <= told:
                break
            await asyncio.sleep(0.25)
        assert not wanted - told
        assert (await platform.admin.VerifyOperations(VerifyOperationsRequest())).checked >= len(lines)


async def test_no_service_role_can_read_or_write_the_schema_of_another(walked: Walked) -> None:
    admin = await asyncpg.connect(walked.run.database_url)
    tables = await admin.fetch("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY($1)", list(SERVICES))
    await admin.close()
    assert {row["schemaname"] for row in tables} == set(SERVICES)
    for service in SERVICES:
        own = await asyncpg.connect(environment(walked.run, service, 0)["DATABASE_URL"])
        for schema, table in tables:
            statements = (f'SELECT 1 FROM {schema}."{table}" LIMIT 1', f'DELETE FROM {schema}."{table}" WHERE false')
            for statement in statements if schema != service else ():
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await own.execute(statement)
        await own.close()


async def test_no_clear_number_stands_in_any_table_or_log(walked: Walked) -> None:
    """R002-094: every column of every table and every log is scanned for every customer's number."""
    with (walked.city / "truth" / "customers.csv").open() as file:
        numbers = [line.split(",")[0] for line in list(file)[1:]]
    assert all(len(number) == 11 for number in numbers)
    admin = await asyncpg.connect(walked.run.database_url)
    tables = await admin.fetch("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY($1)", list(SERVICES))
    for schema, table in tables:
        text = await admin.fetchval(f'SELECT string_agg(t::text, chr(10)) FROM {schema}."{table}" t')
        found = [number for number in numbers if number in (text or "")]
        assert not found, f"{schema}.{table} holds clear numbers"
    await admin.close()
    for log in (walked.run.state / "logs").glob("*.log"):
        said = log.read_text(errors="replace")
        assert not any(number in said for number in numbers), f"{log.name} holds clear numbers"


async def test_a_missing_and_an_oversized_field_are_named(platform: Lifecircle) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await platform.portrait.GetPortrait(GetPortraitRequest())
    assert fault(missing.value).code == grpc.StatusCode.INVALID_ARGUMENT
    assert set(fault(missing.value).fields) == {"customer_key"}
    with pytest.raises(grpc.aio.AioRpcError) as oversized:
        await platform.ingest.ListDeliveries(ListDeliveriesRequest(page_token="x" * 5000))
    assert set(fault(oversized.value).fields) == {"page_token"}


async def test_an_unknown_customer_is_not_found(platform: Lifecircle) -> None:
    for call in (
        platform.portrait.GetPortrait(GetPortraitRequest(customer_key=10**12)),
        platform.recommend.Recommend(RecommendRequest(customer_key=10**12)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await call
        assert fault(unknown.value).reason == "CUSTOMER_NOT_FOUND"


def test_the_front_door_speaks_json_too(walked: Walked) -> None:
    request = urllib.request.Request(
        f"http://{walked.run.front_door}/lifecircle.recommend.v1.RecommendService/ListProducts",
        data=b'{"page_size": 1}',
        headers={"authorization": f"Bearer {walked.token('viewer')}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert [one["productId"] for one in json.load(answer)["products"]] == ["P01"]


def write_orders(
    walked: Walked, name: str, rows: list[str], control: str | None = None, encoding: str = "gb18030"
) -> None:
    """Drops an ORDER file of a later period; `control` overrides the control line, "" leaves it out."""
    data = "".join(f"{row}\n" for row in rows).encode(encoding)
    (walked.run.landing / f".{name}.part").write_bytes(data)
    (walked.run.landing / f".{name}.part").rename(walked.run.landing / name)
    line = f"{name}|{len(rows)}|{hashlib.md5(data).hexdigest()}|{len(data)}" if control is None else control
    if line:
        (walked.run.landing / name).with_suffix(".CHK").write_text(line + "\n")


async def settled(platform: Lifecircle, name: str, state: Delivery.State.ValueType) -> Delivery:
    """Waits until the latest delivery of a file name has this state."""
    for _ in range(120):
        found = await platform.ingest.ListDeliveries(ListDeliveriesRequest(file_name=name))
        if found.deliveries and found.deliveries[0].state == state:
            return found.deliveries[0]
        await asyncio.sleep(0.25)
    raise AssertionError(f"{name} did not become {Delivery.State.Name(state)}: {found.deliveries}")


def good_rows(count: int, first: int = 0) -> list[str]:
    return [f"T{first + row:06d}|1390000{row:04d}|P01|open|20261105120000" for row in range(count)]


@pytest.mark.parametrize(
    ("name", "rows", "control", "reason"),
    [
        ("ORDER_20261101_001.TXT", good_rows(20), "", "CONTROL_FILE_MISSING"),
        ("ORDER_20261102_001.TXT", good_rows(20), "ORDER_20261102_001.TXT|21|{md5}|{size}", "ROW_COUNT_WRONG"),
        ("ORDER_20261103_001.TXT", [row.rsplit("|", 2)[0] for row in good_rows(20)], None, "COLUMNS_MISSING"),
    ],
)
async def test_a_broken_delivery_is_held_whole_and_its_correction_loads(
    walked: Walked, platform: Lifecircle, name: str, rows: list[str], control: str | None, reason: str
) -> None:
    data = "".join(f"{row}\n" for row in rows).encode()
    if control:
        control = control.format(md5=hashlib.md5(data).hexdigest(), size=len(data))
    write_orders(walked, name, rows, control)
    held = await settled(platform, name, Delivery.STATE_QUARANTINED)
    assert [problem.reason for problem in held.problems] == [reason]
    assert held.loaded_rows == 0
    write_orders(walked, name, good_rows(21, first=100))
    loaded = await settled(platform, name, Delivery.STATE_LOADED)
    assert (loaded.source_rows, loaded.loaded_rows) == (21, 21)


async def test_a_file_that_does_not_decode_is_held_whole(walked: Walked, platform: Lifecircle) -> None:
    name = "ORDER_20261104_001.TXT"
    data = b"\n".join(b"T%d|13900000000|P\xff\xff\x00|open|20261105120000" % row for row in range(20)) + b"\n"
    (walked.run.landing / name).write_bytes(data)
    (walked.run.landing / name).with_suffix(".CHK").write_text(
        f"{name}|20|{hashlib.md5(data).hexdigest()}|{len(data)}\n"
    )
    held = await settled(platform, name, Delivery.STATE_QUARANTINED)
    assert [problem.reason for problem in held.problems] == ["ENCODING_BROKEN"]


async def test_a_bad_row_is_kept_with_file_line_and_reason(walked: Walked, platform: Lifecircle) -> None:
    name = "ORDER_20261106_001.TXT"
    rows = good_rows(200, first=1000)
    rows[6] = rows[6].replace("|open|", "|opened|")
    write_orders(walked, name, rows)
    loaded = await settled(platform, name, Delivery.STATE_LOADED)
    assert (loaded.source_rows, loaded.loaded_rows, loaded.rejected_rows) == (200, 199, 1)
    rejects = (await platform.ingest.ListRejects(ListRejectsRequest(delivery_id=loaded.delivery_id))).rejects
    assert [(one.file_name, one.line, one.column) for one in rejects] == [(name, 7, "action")]
    assert rejects[0].reason
    assert rejects[0].message


async def test_lists_of_two_domains_are_disjoint_and_the_company_sees_both(walked: Walked) -> None:
    """R000-004: the same calls over the same data, by callers of a town, of another town, and of the company."""

    async def seen(org: str) -> dict[str, set[object]]:
        token = walked.run.keys.mint("victor", ["viewer", "operator"], org=org)
        async with Lifecircle(walked.run.front_door, token=token) as platform:
            plan = ListContactsRequest(plan_id=walked.first["plan"].plan_id)
            everybody = ListAudienceMembersRequest(text="HU04 OR NOT HU04")
            return {
                "contacts": {each.customer_key async for each in items(platform.contact.ListContacts, plan)},
                "entries": {
                    each.entry_id
                    async for each in items(platform.points.ListEntries, ListEntriesRequest())
                    if each.staff_id
                },
                "members": {
                    each.customer_key async for each in items(platform.portrait.ListAudienceMembers, everybody)
                },
                "offered": {
                    each.customer_key
                    async for each in items(
                        platform.recommend.ListBestCustomers, ListBestCustomersRequest(product_id="P01")
                    )
                },
            }

    async with Lifecircle(walked.run.front_door, token=walked.token("administrator")) as platform:
        tree = [each async for each in items(platform.admin.ListOrganisations, ListOrganisationsRequest())]
    towns = [each.org_id for each in tree if each.level == Organisation.LEVEL_DISTRICT]
    assert len(towns) > 1, "the operator's own organisation file made the tree"
    company, parts = await seen("44"), [await seen(town) for town in towns]
    for name, whole in company.items():
        found = [part[name] for part in parts]
        assert sum(map(len, found)) == len(set().union(*found)), f"{name}: a row is seen by two towns"
        assert set().union(*found) == whole, f"{name}: the towns together are not the company"
        assert whole

    key = next(iter(parts[0]["members"]))
    token = walked.run.keys.mint("victor", ["viewer"], org=towns[1])
    async with Lifecircle(walked.run.front_door, token=token) as platform:
        for call in (
            platform.portrait.GetPortrait(GetPortraitRequest(customer_key=key)),
            platform.recommend.Recommend(RecommendRequest(customer_key=key)),
        ):
            with pytest.raises(refusal("CUSTOMER_NOT_FOUND")):
                await call


async def test_six_dimensions_are_reached_by_one_customer_id_over_one_data_set(platform: Lifecircle) -> None:
    """R002-001: segmentation, theme analysis, product association, target locking, service features, warning."""
    seen = await of_one_customer(platform)
    assert len(seen.there) == 6
    assert all(seen.there.values()), seen
    assert len(set(seen.runs.values())) == 1, seen.runs


async def test_who_signs_in_once_goes_from_a_file_to_a_marketing_order(walked: Walked) -> None:
    """R000-001: system management, data, points and marketing, each by its own service's interface, for one user."""
    words = ["-m", "console", "--state", str(walked.run.state), "--invite", "smoke", "--roles", "operator"]
    said = await asyncio.to_thread(subprocess.check_output, [sys.executable, *words], cwd=ROOT, text=True)
    signed_in = tokens.issued(walked.run.front_door, "smoke", said.split()[3])
    async with Lifecircle(walked.run.front_door, token=signed_in) as mine:
        files = (await mine.ingest.ListDeliveries(ListDeliveriesRequest(feed_id="customers"))).deliveries
        assert {each.state for each in files} == {Delivery.STATE_LOADED}
        assert (await mine.points.ListEntries(ListEntriesRequest())).entries
        asked = CreateOrdersRequest(plan_id=walked.first["plan"].plan_id, dispatch=True, request_id="smoke")
        assert (await mine.contact.CreateOrders(asked)).created > 0
