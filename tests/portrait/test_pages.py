"""Pages that rest on one run: none misses a row or tells one twice because another was published in between."""

from typing import Any

import pytest
from pyroaring import BitMap
from sqlalchemy import insert, literal, select

from lifecircle.portrait import v1
from services.kit import paging
from services.kit.db import Database
from services.kit.ids import system_ids
from services.portrait.store import Runs
from services.portrait.tables import dwell_area, place_task, portrait, run, run_file
from tests.fixtures.serving import Served
from tests.portrait import test_curation
from tests.portrait.test_audience_rights import refusal, run_of
from tests.portrait.test_curation import PublishedRun, computed, published
from tests.portrait.test_matching import Here, here, served, stub

__all__ = ["computed", "curated", "here", "published", "served"]  # fixtures

CHANGED: tuple[str, str, Any] = ("ABORTED", "PAGES_CHANGED", {})
curated = test_curation.served


async def test_members_are_of_one_run_or_refused_and_a_frozen_audience_goes_on(here: Here, served: Served) -> None:
    """R002-005: who is listed page by page is listed whole, though a run is published in between."""
    await run_of(here, BitMap(range(1, 101)), BitMap(range(1, 51)), "first")
    ask = stub(served)
    freeze = v1.FreezeAudienceRequest(text="HU01", purpose="plan 7", request_id=system_ids())
    frozen = (await ask.FreezeAudience(freeze)).frozen
    await ask.UpdateCustomerList(v1.UpdateCustomerListRequest(list_id="l", customer_keys=range(1, 51), request_id="1"))
    told = "HU01", f"FROZEN '{frozen.frozen_id}'", "LIST 'l'", "NOT LIST 'l'"
    asked = [v1.ListAudienceMembersRequest(text=each, page_size=20, with_tags=True) for each in told]

    tags = v1.ListTagsRequest(page_size=1)
    tags.page_token = (await ask.ListTags(tags)).next_page_token

    async def page(request: v1.ListAudienceMembersRequest) -> list[int]:
        answer = await ask.ListAudienceMembers(request)
        request.page_token = answer.next_page_token
        return [each.customer_key for each in answer.members]

    assert [(await page(each))[0] for each in asked] == [1, 1, 1, 51]
    await run_of(here, BitMap(range(1, 101)), BitMap(range(41, 61)), "second")
    assert await refusal(ask.ListAudienceMembers(asked[0])) == CHANGED
    assert await refusal(ask.ListAudienceMembers(asked[3])) == CHANGED
    assert await refusal(ask.ListTags(tags)) == CHANGED, "counts of two runs do not stand side by side"
    assert await page(asked[1]) + await page(asked[1]) == list(range(21, 51)), "what was frozen never changes"
    assert await page(asked[2]) == list(range(21, 41)), "nor does a list by a run"
    await ask.UpdateCustomerList(v1.UpdateCustomerListRequest(list_id="l", customer_keys=[1, 45], request_id="2"))
    assert await refusal(ask.ListAudienceMembers(asked[2])) == CHANGED
    again = v1.ListAudienceMembersRequest(text="HU01", page_size=20)
    answer = await ask.ListAudienceMembers(again)
    assert ([each.customer_key for each in answer.members], answer.run_id) == (list(range(41, 61)), "second")
    again.page_token, again.text = answer.next_page_token, "NOT HU01"
    assert (await refusal(ask.ListAudienceMembers(again)))[1] == "BAD_PAGE_TOKEN", "of another question"


@pytest.mark.parametrize("place", ["²", "1" * 400, "-1", "x"])
async def test_a_forged_position_is_refused_in_every_paged_call_of_a_run(
    curated: Served, published: PublishedRun, place: str
) -> None:
    ask = v1.PortraitServiceStub(curated.channel(roles={"operator"}, subject="ann"))
    forged = paging.encode({"of": "ListPlaceTasks", "after": place, "on": published.run.run_id})
    assert (await refusal(ask.ListPlaceTasks(v1.ListPlaceTasksRequest(page_token=forged))))[1] == "BAD_PAGE_TOKEN"


async def test_pages_of_two_runs_are_refused_wherever_rows_or_figures_are_a_runs(
    curated: Served, published: PublishedRun, db: Database
) -> None:
    """The dwell, track and history of one customer; the city's areas, classes and tasks."""
    ask = v1.PortraitServiceStub(curated.channel(roles={"operator"}, subject="ann"))
    one: dict[str, Any] = {"customer_key": 6, "purpose": "complaint 9", "page_size": 1}
    asked: list[tuple[Any, Any]] = [
        (ask.ListTrack, v1.ListTrackRequest(**one)),
        (ask.ListTagHistory, v1.ListTagHistoryRequest(**one)),
        (ask.ListDwellAreas, v1.ListDwellAreasRequest(page_size=1)),
        (ask.ListPlaceClasses, v1.ListPlaceClassesRequest(page_size=1)),
        (ask.ListPlaceTasks, v1.ListPlaceTasksRequest(page_size=1)),
    ]
    for call, request in asked:
        request.page_token = (await call(request)).next_page_token
        assert request.page_token
        assert (await call(request)).next_page_token, "within one run it goes on"
    await _again(db)
    for call, request in asked:
        assert await refusal(call(request)) == CHANGED
        request.page_token = ""
        assert (await call(request)).next_page_token


async def _again(db: Database) -> None:
    """The run is published once more, as another."""
    async with db.begin() as tx:
        known = [each for each in run.c if each.name not in ("run_no", "run_id")]
        copied = select(literal("second"), *known)
        put = insert(run).from_select(["run_id", *(each.name for each in known)], copied).returning(run.c.run_no)
        run_no = await tx.value(put)
        for table in (portrait, run_file, dwell_area, place_task):
            columns = [each for each in table.c if each.name != "run_no"]
            rows = select(literal(run_no), *columns)
            await tx.execute(insert(table).from_select(["run_no", *(each.name for each in columns)], rows))
        await Runs().make_current(tx, run_no)
        await tx.commit()
