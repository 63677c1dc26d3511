"""R000-004: whoever belongs to a part sees that part, in the process and in Postgres."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from services.kit import domains
from services.kit.db import Database
from services.kit.domains import Directory, Principal
from services.kit.errors import Refusal
from services.kit.interceptors.call import Caller
from services.kit.interceptors.callers import placed

TREE = {"city": "", "north": "city", "south": "city", "n1": "north", "n2": "north", "s1": "south"}
ALL = "SELECT array_agg(parcel_id ORDER BY parcel_id) FROM parcel"


@pytest.fixture(autouse=True)
async def parcels(db: Database) -> AsyncIterator[None]:
    async with db.begin() as tx:
        await tx.execute(text("DELETE FROM parcel"))
        await tx.execute(text("INSERT INTO parcel SELECT 'of ' || org, org FROM unnest(ARRAY['n1','n2','s1','']) org"))
        await tx.commit()
    yield
    domains.enter(None)


async def seen(db: Database, domain: frozenset[str] | None) -> list[str]:
    domains.enter(domain)
    async with db.read() as read:
        return list(await read.value(text(ALL)) or ())


async def test_three_domains_are_disjoint_and_their_union_is_the_whole(db: Database) -> None:
    directory = Directory(TREE)
    north, south = [await seen(db, directory.domain(org)) for org in ("north", "south")]
    assert (north, south) == (["of n1", "of n2"], ["of s1"])
    assert await seen(db, directory.domain("city")) == [*north, *south]
    assert await seen(db, directory.domain("")) == ["of ", *north, *south]
    assert await seen(db, frozenset()) == []


async def test_a_limited_caller_changes_nothing_of_others(db: Database) -> None:
    domains.enter(frozenset({"s1"}))
    async with db.begin() as tx:
        assert await tx.execute(text("DELETE FROM parcel")) == 1
        await tx.commit()
    async with db.begin() as tx:
        with pytest.raises(Exception, match="row-level security"):
            await tx.execute(text("INSERT INTO parcel VALUES ('new', 'n1')"))
    assert await seen(db, None) == ["of ", "of n1", "of n2"]


async def test_the_limit_ends_with_the_transaction(db: Database) -> None:
    assert await seen(db, frozenset({"n1"})) == ["of n1"]
    assert len(await seen(db, None)) == 4  # on the same connection: the pool gives the last one back first


async def test_shared_work_that_a_limited_caller_began_sees_everything(db: Database) -> None:
    domains.enter(frozenset({"n1"}))
    with domains.whole():
        gathering = asyncio.create_task(seen(db, domains.current()))
    assert len(await gathering) == 4
    assert domains.current() == frozenset({"n1"})


async def test_without_the_setting_the_scoped_role_sees_nothing(db: Database) -> None:
    connection: asyncpg.Connection[asyncpg.Record] = await db.dedicated()
    try:
        await connection.execute("SET ROLE lc_sample_scoped")
        assert await connection.fetchval("SELECT count(*) FROM parcel") == 0
    finally:
        await connection.close()


def test_the_directory_says_who_he_is() -> None:
    directory = Directory(TREE, {}, {"anna": Principal("north", frozenset({"auditor"}))})
    anna = placed(Caller("anna", frozenset({"viewer"}), ""), directory)
    assert (anna.org, anna.roles) == ("north", {"viewer", "auditor"})
    assert anna.sees("n2")
    assert not anna.sees("s1")
    assert not anna.sees("")
    unknown = placed(Caller("oidc:eve", frozenset(), "", frozenset()), directory)
    assert not unknown.roles
    assert not unknown.sees("")


def test_a_disabled_principal_is_a_stranger() -> None:
    directory = Directory(principals={"anna": Principal("", frozenset({"operator"}), disabled=True)})
    with pytest.raises(Refusal, match="disabled"):
        placed(Caller("anna", frozenset({"operator"}), ""), directory)


@given(st.dictionaries(st.integers(0, 12).map(str), st.integers(0, 12).map(str)))
def test_a_domain_is_what_can_be_reached_downwards_and_always_ends(parents: dict[str, str]) -> None:
    for org in {*parents, *parents.values()}:
        domain = Directory(parents).domain(org)
        assert domain is not None
        assert org in domain
        assert all((parents.get(each) in domain) or each == org for each in domain)
        assert all(child in domain for child, parent in parents.items() if parent in domain)
