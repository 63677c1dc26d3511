"""One sign-in for all platforms: the token stays on the server, and whoever has none sees nothing."""

from __future__ import annotations

import re

import grpc
import pytest

from console import pages
from console.sessions import IDLE, Sessions
from tests.console.conftest import LIFE, Client, Fake, Tick, post


async def test_nothing_is_shown_to_whoever_is_not_signed_in(client: Client, fake: Fake) -> None:
    """R001-131, R003-007: every page leads to the one sign-in, and no service hears of it."""
    for page in pages.ALL:
        answer = await client.get(page.path, allow_redirects=False)
        assert (answer.status, answer.headers["Location"].partition("?")[0]) == (303, "/login")
    answer = await client.get("/reports/download.xlsx?report=matrix", allow_redirects=False)
    assert answer.status == 303
    assert not any(fake._seen.values())


async def test_one_sign_in_opens_every_platform_with_the_users_own_token(
    client: Client, fake: Fake, tokens: list[str]
) -> None:
    """R003-007: one secret is told once; afterwards every call bears the user's token, which no page shows."""
    answer = await post(client, "/login", user="wang", secret="right", to="/customers?customer=7")
    assert answer.headers["Location"] == "/customers?customer=7"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "the.users.token" not in cookie
    assert set(tokens) == {"", "the.users.token"}
    for page in pages.ALL:
        shown = await client.get(page.path)
        assert shown.status == 200
        assert "the.users.token" not in await shown.text()
    assert [each.principal_id for each in fake.calls("admin.IssueToken")] == ["wang"]


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, 403, "用户名或密钥不对"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "尝试次数过多"),
        (grpc.StatusCode.UNAVAILABLE, 503, "暂时不能登录"),
    ],
)
async def test_who_cannot_sign_in_is_told_why(
    client: Client, fake: Fake, code: grpc.StatusCode, status: int, words: str
) -> None:
    fake.refuse("admin.IssueToken", "SECRET_WRONG", code)
    answer = await post(client, "/login", user="wang", secret="wrong<script>", to="/")
    text = await answer.text()
    assert answer.status == status
    assert words in text
    assert "wrong" not in text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb"])
async def test_a_sign_in_leads_to_this_site_only(client: Client, to: str) -> None:
    answer = await post(client, "/login", user="wang", secret="right", to=to)
    assert answer.headers["Location"] == "/"


@pytest.mark.parametrize("passed", [IDLE, LIFE])
async def test_a_session_ends_when_idle_and_with_its_token(signed_in: Client, tick: Tick, passed: float) -> None:
    assert (await signed_in.get("/tags")).status == 200
    if passed > IDLE:  # busy all the time: what ends it is the token
        for _ in range(int(passed / IDLE * 2) - 1):
            tick.now += IDLE / 2
            assert (await signed_in.get("/help", allow_redirects=False)).status == 200
        tick.now += IDLE / 2
    else:
        tick.now += passed
    answer = await signed_in.get("/tags?page=2", allow_redirects=False)
    assert answer.headers["Location"] == "/login?to=%2Ftags%3Fpage%3D2"
    assert "登录已过期" in await (await signed_in.get(answer.headers["Location"])).text()


async def test_a_token_that_the_platform_takes_no_more_ends_the_session(signed_in: Client, fake: Fake) -> None:
    fake.refuse("portrait.ListTags", "STRANGER", grpc.StatusCode.UNAUTHENTICATED)
    assert (await signed_in.get("/tags", allow_redirects=False)).status == 303
    assert (await signed_in.get("/feeds", allow_redirects=False)).status == 303
    assert fake.closed == 3  # the one that asked for the token, and the session's two


async def test_posts_come_from_the_sites_own_pages_only(signed_in: Client) -> None:
    word = _csrf(await (await signed_in.get("/tags")).text())
    foreign = await signed_in.post("/logout", data={"csrf": word}, headers={"Origin": "http://evil.example"})
    assert foreign.status == 403
    assert (await signed_in.post("/logout", data={"csrf": word})).status == 403
    assert (await post(signed_in, "/logout", csrf="guessed")).status == 403
    assert (await signed_in.get("/tags", allow_redirects=False)).status == 200
    assert (await post(signed_in, "/logout", csrf=word)).status == 303
    assert (await signed_in.get("/tags", allow_redirects=False)).status == 303


def _csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


async def test_the_oldest_session_makes_room_for_one_more(tick: Tick) -> None:
    sessions, fake = Sessions(tick, most=3), Fake()
    first = await sessions.begin("first", fake, fake, tick.now + 1)
    words = [await sessions.begin("other", fake, fake, tick.now + 10) for _ in range(3)]
    assert sessions.find(first) is None
    assert sessions.find(words[0]) is not None
    await sessions.end_all()
    assert sessions.find(words[0]) is None
