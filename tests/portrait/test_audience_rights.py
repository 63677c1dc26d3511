"""Audiences that are refused: by what they name, by who asks; and what an audience says while runs and people go."""

import io
from pathlib import Path
from typing import Any

import grpc.aio
import pyarrow as pa
import pytest
from pyroaring import BitMap
from sqlalchemy import text

from lifecircle.portrait import v1
from services.kit.ids import system_ids
from services.portrait.lake import Lake
from services.portrait.store import Audiences, Runs
from services.portrait.store.forgetting import Forgotten
from services.portrait.store.runs import Published
from services.portrait.usecases.audiences import Asked
from tests.fixtures.serving import Served, refused
from tests.portrait.test_api import RUN
from tests.portrait.test_matching import Here, happened, here, now, served, stub
from tests.portrait.test_whole import ready

__all__ = ["here", "served"]  # fixtures

SENSITIVE = "HU05"


async def refusal(call: Any) -> tuple[str, str, Any]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return refused(raised.value)


def saving(audience_id: str, told: str) -> v1.UpdateAudienceRequest:
    return v1.UpdateAudienceRequest(audience_id=audience_id, title="t", text=told, request_id=system_ids())


async def run_of(here: Here, everybody: BitMap, bearers: BitMap, run_id: str) -> int:
    """A run with one organisation and one tag becomes the current one."""
    named = {("@all", ""): everybody, ("@org", "G1"): everybody, ("HU01", ""): bearers}
    async with here.db.begin() as tx:
        run = Published(RUN.__class__(**{**vars(RUN), "run_id": run_id}), f"job {run_id}", "v", "d", {})
        run_no = await Runs().put(tx, run, now())
        assert run_no is not None
        await Audiences().put_bitmaps(tx, run_no, named)
        await Runs().make_current(tx, run_no)
        await tx.commit()
    await here.indexes.refresh()
    return run_no


async def test_who_may_not_see_a_sensitive_tag_may_not_ask_who_bears_it(here: Here, served: Served) -> None:
    """R003-040: an audience is no way around the mask: neither by code, nor by feature, nor by a saved audience."""
    await ready(here)
    ask, viewer = stub(served), stub(served, "viewer")
    await ask.UpdateAudience(saving("staff", f"{SENSITIVE} OR HU01"))
    told = f"NOT {SENSITIVE}", f"tag_{SENSITIVE} >= 1 OR HU01", "HU01 AND AUDIENCE 'staff'"
    tag = v1.AudienceExpression(tag=v1.AudienceExpression.TagIs(code=SENSITIVE))
    everybody = v1.AudienceExpression(everybody=v1.AudienceExpression.Everybody())
    for call in (
        viewer.CountAudience(v1.CountAudienceRequest(text=told[0])),
        viewer.CountAudience(v1.CountAudienceRequest(all_of=[SENSITIVE])),
        viewer.ListAudienceMembers(v1.ListAudienceMembersRequest(text=told[2])),
        viewer.GetAudienceProfile(v1.GetAudienceProfileRequest(text="HU01", base=tag)),
        viewer.GetAudienceOverlap(v1.GetAudienceOverlapRequest(expressions=[everybody, tag])),
    ):
        assert await refusal(call) == ("PERMISSION_DENIED", "AUDIENCE_SENSITIVE", {"code": SENSITIVE})
    assert (await viewer.CountAudience(v1.CountAudienceRequest(text="HU01"))).audience.customers == 1
    for each in (told[0], told[2]):
        await ask.CountAudience(v1.CountAudienceRequest(text=each))
    seen = (await viewer.GetAudienceProfile(v1.GetAudienceProfileRequest(text="HU01", most=1000))).lines
    assert SENSITIVE not in {line.code for line in seen}


async def test_a_feature_made_of_a_sensitive_tag_is_one(here: Here, served: Served, tmp_path: Path) -> None:
    """The features of models hold flags of tags; for who may not see the tag they are not there either."""
    await ready(here)
    table = pa.table(
        {"customer_key": [7, 8], "org_id": ["G1", "G2"], f"tag_{SENSITIVE}": [1.0, 0.0], "age": [30.0, 40.0]}
    )
    async with here.db.begin() as tx:
        current = await Runs().current(tx)
        assert current is not None
        await Runs().put_files(tx, current[0], {"features": [Lake(tmp_path.as_uri()).write("f.parquet", table, 0)]})
        await tx.commit()
    here.indexes._current = None
    await here.indexes.refresh()
    asked = v1.CountAudienceRequest(text=f"tag_{SENSITIVE} >= 1", sample_size=9)
    assert list((await stub(served).CountAudience(asked)).audience.sample_customer_keys) == [7]
    assert (await refusal(stub(served, "viewer").CountAudience(asked)))[1] == "AUDIENCE_SENSITIVE"
    async with here.db.begin() as tx:
        await Forgotten().put(tx, 7, "erase:7", now())
        await tx.commit()
    await here.indexes.refresh()
    aged = v1.CountAudienceRequest(text="age BETWEEN 20 AND 50", sample_size=9)
    assert list((await stub(served).CountAudience(aged)).audience.sample_customer_keys) == [8], "who is erased is gone"
    async with here.db.begin() as tx:
        await tx.execute(text("DELETE FROM erased_customer"))
        await tx.commit()


async def test_what_an_audience_names_is_there_and_is_not_itself(here: Here, served: Served) -> None:
    """Whoever saves an audience is told at once; one that came about in a ring is refused, in every call."""
    await ready(here)
    ask = stub(served)
    for told in ("AUDIENCE 'nobody'", "LIST 'nobody'", "HU01 AND FROZEN 'nobody'", "SEGMENT nobody"):
        assert (await refusal(ask.UpdateAudience(saving("a", told))))[1] == "AUDIENCE_NOT_FOUND"
    rule = v1.MomentRule(rule_id="r", pattern=happened("a.b"), audience=v1.AudienceExpression(list_id="nobody"))
    made = ask.CreateMomentRule(v1.CreateMomentRuleRequest(rule=rule, request_id="r"))
    assert (await refusal(made))[1] == "AUDIENCE_NOT_FOUND"
    assert (await refusal(ask.UpdateAudience(saving("a", "no_such_feature >= 1"))))[1] == "AUDIENCE_INVALID"
    await ask.UpdateAudience(saving("a", "HU01"))
    await ask.UpdateAudience(saving("b", "AUDIENCE 'a' OR VA01"))
    await ask.UpdateAudience(saving("a", "AUDIENCE 'a' VERSION 1 AND NOT VA01"))
    for told in ("AUDIENCE 'a'", "NOT AUDIENCE 'b'"):
        code, reason, why = await refusal(ask.UpdateAudience(saving("a", told)))
        assert (code, reason, "names itself" in why["why"]) == ("INVALID_ARGUMENT", "AUDIENCE_INVALID", True)
    async with here.db.begin() as tx:  # as two who save at once could have it
        ring = v1.AudienceExpression(saved=v1.AudienceExpression.Saved(audience_id="ring"))
        itself = here.desk.understood(Asked(None, "AUDIENCE 'ring'"))
        await Audiences().save(tx, "ring", "t", itself, "test", now())
        await tx.commit()
    dry = v1.CountMomentsRequest(rule=v1.MomentRule(rule_id="r", pattern=happened("a.b"), audience=ring))
    dry.to_time.FromDatetime(now())
    dry.from_time.FromSeconds(dry.to_time.seconds - 60)
    for call in (
        ask.CountAudience(v1.CountAudienceRequest(expression=ring)),
        ask.GetAudienceProfile(v1.GetAudienceProfileRequest(expression=ring)),
        ask.GetAudienceProfile(v1.GetAudienceProfileRequest(text="HU01", base=ring)),
        ask.GetAudienceOverlap(v1.GetAudienceOverlapRequest(expressions=[ring, ring])),
        ask.CountMoments(dry),
    ):
        code, reason, why = await refusal(call)
        assert (code, reason, "name each other" in why["why"]) == ("INVALID_ARGUMENT", "AUDIENCE_INVALID", True)


async def test_an_export_is_of_one_run_though_another_is_published_meanwhile(here: Here, served: Served) -> None:
    everybody = BitMap(range(1, 70_001))
    await run_of(here, everybody, everybody, "first")
    told = here.desk.export(Asked(None, "HU01"), "plan", "test", sensitive=True)
    parts = [await anext(told)]
    await run_of(here, BitMap([1]), BitMap(), "second")
    parts += [part async for part in told]
    table = pa.ipc.open_stream(io.BytesIO(b"".join(arrow for arrow, _, _ in parts))).read_all()
    assert (table.num_rows, {run_id for _, _, run_id in parts}) == (70_000, {"first"})
    assert table["tags"].combine_chunks().flatten().unique().to_pylist() == ["HU01"]
    assert table["org_id"].unique().to_pylist() == ["G1"]


async def test_a_base_of_few_tells_nothing_of_them(here: Here, served: Served) -> None:
    """Who is compared with one person would learn what that person is."""
    await run_of(here, BitMap(range(1, 101)), BitMap(range(1, 51)), "run")
    ask = stub(served)
    await ask.UpdateCustomerList(v1.UpdateCustomerListRequest(list_id="one", customer_keys=[7], request_id="l"))
    base = v1.AudienceExpression(list_id="one")
    told = await ask.GetAudienceProfile(v1.GetAudienceProfileRequest(text="EVERYBODY", base=base))
    (line,) = [each for each in told.lines if each.code == "HU01"]
    assert (line.customers, line.share, line.base_share, line.index, line.z) == (0, 0, 0, 0, 0)
    whole = (await ask.GetAudienceProfile(v1.GetAudienceProfileRequest(text="EVERYBODY"))).lines
    assert [(each.customers, each.base_share) for each in whole if each.code == "HU01"] == [(50, 0.5)]


async def test_a_list_of_ten_millions_comes_in_one_call_and_a_larger_or_broken_one_is_refused(
    here: Here, served: Served
) -> None:
    """R003-030: ten millions of customers anywhere among fifty."""
    await run_of(here, BitMap(range(1, 50_000_001)), BitMap(range(1, 101)), "run")
    ask = stub(served)

    async def put(members: bytes) -> int:
        request = v1.UpdateCustomerListRequest(list_id="huge", roaring=members, request_id=system_ids())
        return (await ask.UpdateCustomerList(request)).list.customers

    keys = BitMap(range(1, 50_000_001, 5))
    assert await put(keys.serialize()) == 10_000_000
    counted = (await ask.CountAudience(v1.CountAudienceRequest(text="LIST 'huge' AND HU01"))).audience
    assert counted.customers == 20
    for broken, why in (
        (BitMap(range(1, 10_000_002)).serialize(), "more than 10000000"),
        (b"no bitmap", "portable format"),
    ):
        code, reason, told = await refusal(put(broken))
        assert (code, reason, told["at"], why in told["why"]) == (
            "INVALID_ARGUMENT",
            "AUDIENCE_INVALID",
            "roaring",
            True,
        )
    for key in (0, -7, 1 << 32):
        request = v1.UpdateCustomerListRequest(list_id="huge", customer_keys=[5, key], request_id=system_ids())
        assert (await refusal(ask.UpdateCustomerList(request)))[2]["at"] == "customer_keys"
