"""Every page: in Chinese, with help, safe, and whole as far as what it asks can be had."""

from __future__ import annotations

import io
import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from openpyxl import load_workbook

from console import manual, pages, words
from console.__main__ import main
from console.asking import PLATFORMS
from console.page import Page
from lifecircle.ingest.v1 import ListDeliveriesResponse
from tests.console.conftest import TEXT, Client, Fake

FILLED = "&".join(
    f"{name}={value}"
    for name, value in {
        "customer": 7, "model": "m1", "campaign": "c1", "plan": "p1", "rule": "r1", "time": "2026-03-01T08:00",
        "staff": "S1", "period": "2026-09", "entry": "e1", "delivery": "d1", "report": "circle_distribution",
    }.items()
)  # fmt: skip
CODES_OF_THE_TRADE = {"RFM", "ARPU", "TGI", "PSI", "HTML", "Excel", "CBA"}


class Reader(HTMLParser):
    """What a page says to its reader, where it leads, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.charts: list[tuple[str, str]] = []
        self.fetched: list[str] = []
        self.words: list[str] = []
        self.lang = self.title = ""
        self.unlabelled: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.lang = told["lang"] if tag == "html" else self.lang
        if tag == "a":
            self.links.append(told["href"])
        self.fetched += [told[name] for name in ("src", "action") if name in told]
        self.fetched += [told["href"]] if tag == "link" else []
        if "data-figure" in told:
            figure = json.loads(told["data-figure"])
            self.charts.append((figure["layout"]["title"]["text"], figure["data"][0]["type"]))
        if tag == "input" and told.get("type") != "hidden" and "label" not in self._open:
            self.unlabelled.append(told["name"])
        self.words += [told[name] for name in ("placeholder", "title", "aria-label") if name in told]
        if tag not in ("meta", "link", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "title":
            self.title = data
        if not {"code", "script", "style"} & set(self._open):
            self.words.append(data)

    @property
    def english(self) -> set[str]:
        """Words that are not Chinese, beside those that the trade itself uses."""
        return {each for text in self.words for each in re.findall("[A-Za-z]{3,}", text)} - CODES_OF_THE_TRADE


async def read(client: Client, path: str) -> tuple[int, str]:
    answer = await client.get(path)
    return answer.status, await answer.text()


async def test_a_person_finds_everything_from_the_sign_in(signed_in: Client) -> None:
    """R001-131: from the first page by links alone; every page in Chinese, with its help, at most three clicks away."""
    clicks, waiting, helped = {"/": 0}, ["/"], set()
    while waiting:
        path = waiting.pop(0)
        answer = await signed_in.get(path)
        assert answer.status == 200, path
        if "Content-Disposition" in answer.headers:
            continue
        reader = Reader(await answer.text())
        assert reader.lang == "zh-CN"
        assert re.search(r"[\u4e00-\u9fff]{2}", reader.title), path
        assert not reader.english, (path, reader.english)
        assert not reader.unlabelled, path
        assert all(each.startswith("/") for each in reader.fetched), path
        helps = [each for each in reader.links if each.startswith("/help")]
        assert helps, path
        helped |= set(helps)
        for link in reader.links:
            where = urlsplit(link)
            if link.startswith("#"):
                continue
            assert (where.scheme, where.netloc) == ("", ""), link
            if link not in clicks:
                clicks[link] = clicks[path] + 1
                waiting.append(link)
    seen = {urlsplit(link).path for link in clicks}
    assert {page.path for page in pages.ALL} <= seen
    assert {"/reports/download.html", "/reports/download.xlsx"} <= seen
    assert max(clicks.values()) <= 3
    assert len(helped) >= len(pages.ALL)


@pytest.mark.parametrize("number", [1, 5, 8])
async def test_every_page_shows_what_it_is_told_escaped_and_in_chinese(
    signed_in: Client, fake: Fake, number: int
) -> None:
    """R001-131: every state and kind of the contract has its Chinese word, and no text becomes a tag."""
    fake.fill(number)
    for page in pages.ALL:
        status, text = await read(signed_in, f"{page.path}?{FILLED}")
        assert status == 200
        assert "<b>" not in text, page.path
        assert not Reader(text).english, (page.path, Reader(text).english)
        assert 'class="note away"' not in text, page.path
        assert 'class="note denied"' not in text, page.path


def test_every_page_has_its_own_help() -> None:
    """R001-131: the help is a document, and no page is left out of it."""
    for page in pages.ALL:
        chapter = manual.chapter(page.title)
        assert chapter, page.title
        assert len(chapter) > 15
    assert "登录一次" in str(manual.chapter(""))


@pytest.mark.parametrize("service", PLATFORMS)
async def test_a_service_that_is_away_takes_only_its_own_sections(signed_in: Client, fake: Fake, service: str) -> None:
    """R003-007: each can be stopped alone; its sections say so plainly, and all the others answer as before."""
    fake.away(service)
    for page in pages.ALL:
        status, text = await read(signed_in, f"{page.path}?{FILLED}")
        assert status == 200
        for section, told in zip(page.sections, _sections(page, text), strict=True):
            assert ("暂不可用" in told) == (section.service == service), (page.path, section.title)


def _sections(page: Page, text: str) -> list[str]:
    parts = text.split("<section>")[1:]
    assert len(parts) == len(page.sections)
    return parts


async def test_what_a_user_may_not_see_is_said_and_the_rest_is_shown(signed_in: Client, fake: Fake) -> None:
    """R003-007: rights are the platform's; one right that is missing takes one section away."""
    fake.refuse("contact.ListCampaigns", "NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED)
    _, text = await read(signed_in, "/campaigns")
    effects, campaigns = text.split("<section>")[1:]
    assert "无权限" in campaigns
    assert unescape(effects).count(TEXT) > 0
    assert "无权限" not in effects


@pytest.mark.parametrize(
    ("code", "words_"),
    [
        (grpc.StatusCode.NOT_FOUND, "没有找到"),
        (grpc.StatusCode.INVALID_ARGUMENT, "输入有误"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "暂不可用"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "过于频繁"),
        (grpc.StatusCode.INTERNAL, "暂时无法显示（WHATEVER）"),
    ],
)
async def test_every_refusal_becomes_a_sentence(
    signed_in: Client, fake: Fake, code: grpc.StatusCode, words_: str
) -> None:
    fake.refuse("portrait.GetPortrait", "WHATEVER", code, message="secret <stack>")
    status, text = await read(signed_in, "/customers?customer=7")
    assert status == 200
    assert words_ in text
    assert "stack" not in text


@pytest.mark.parametrize("customer", ["13800138000x", "-1", "9" * 20, "<script>"])
async def test_what_is_no_number_is_not_asked(signed_in: Client, fake: Fake, customer: str) -> None:
    status, text = await read(signed_in, f"/customers?customer={customer}")
    assert (status, "不是编号" in text) == (200, True)
    assert not fake.calls("portrait.GetPortrait")
    assert "<script>alert" not in text


async def test_views_of_clusters_tree_associations_and_lift_are_in_the_site(signed_in: Client) -> None:
    """R002-061: each is drawn from the platform's own figures."""
    _, clusters = await read(signed_in, "/segments")
    assert Reader(clusters).charts == [("各群客户数", "bar"), ("各群的特征", "heatmap")]
    assert "轮廓系数" in clusters
    _, learned = await read(signed_in, "/models/acceptance?model=m1")
    assert Reader(learned).charts == [("各十分位提升度", "bar"), ("每个标准差的权重", "bar")]
    assert "data_mb ≤ 512.5" in unescape(learned)
    assert "800 人，预测接受 20.0%" in learned
    _, associations = await read(signed_in, "/associations")
    assert Reader(associations).charts == [("提升度", "heatmap")]


async def test_the_first_page_describes_the_whole(signed_in: Client) -> None:
    """R002-067: customers, feeds, campaigns, model and points by figures and by charts."""
    _, text = await read(signed_in, "/")
    assert [section.service for section in pages.ALL[0].sections] == [
        "portrait", "ingest", "contact", "recommend", "points",
    ]  # fmt: skip
    assert [title for title, _ in Reader(text).charts] == ["客户数", "办理率与对照组", "各月积分"]


@pytest.mark.parametrize("form", ["html", "xlsx"])
async def test_a_report_is_a_file_with_the_same_figures(signed_in: Client, form: str) -> None:
    answer = await signed_in.get(f"/reports/download.{form}?report=circle_distribution")
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")
    body = await answer.read()
    if form == "xlsx":
        assert load_workbook(io.BytesIO(body)).sheetnames[0] == "说明"
    else:
        assert body.startswith(b"<!DOCTYPE html>")


async def test_a_report_that_cannot_be_had_leads_to_its_page(signed_in: Client, fake: Fake) -> None:
    fake.refuse("portrait.GetReport", "REPORT_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    answer = await signed_in.get("/reports/download.xlsx?report=none", allow_redirects=False)
    assert answer.headers["Location"] == "/reports/view?report=none"
    assert "没有找到" in (await read(signed_in, "/reports/view?report=none"))[1]


async def test_every_answer_forbids_what_it_does_not_need(signed_in: Client) -> None:
    for path in ("/", "/help", "/login", "/nowhere", "/static/console.css", "/static/charts.js"):
        headers = (await signed_in.get(path)).headers
        assert "default-src 'none'; script-src 'self';" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert path.startswith("/static/") or headers["Cache-Control"] == "no-store"
    assert (await read(signed_in, "/nowhere"))[0] == 404
    assert (await read(signed_in, "/help?of=nothing"))[0] == 404


async def test_no_page_asks_for_a_number_in_clear(signed_in: Client, fake: Fake) -> None:
    """What the site calls only reads, and nothing that unmasks is among it."""
    for page in pages.ALL:
        await read(signed_in, f"{page.path}?{FILLED}")
    called = {method for method, requests in fake._seen.items() if requests} - {"admin.IssueToken"}
    assert all(re.match(r"\w+\.(Get|List|Recommend|Explain|Watch)", method) for method in called), called
    assert not called & {"ingest.ListIdentities", "ingest.RevealIdentities", "ingest.ListRows"}


async def test_a_list_turns_its_pages_and_keeps_what_was_asked(signed_in: Client, fake: Fake) -> None:
    more = ListDeliveriesResponse(next_page_token="a&b")
    fake.answer("ingest.ListDeliveries", more)
    reader = Reader((await read(signed_in, "/deliveries?feed=bills"))[1])
    turned = [each for each in reader.links if "page=" in each]
    assert [dict(parse_qsl(urlsplit(each).query)) for each in turned] == [{"feed": "bills", "page": "a&b"}]
    await read(signed_in, turned[0])
    assert [each.page_token for each in fake.calls("ingest.ListDeliveries")] == ["", "a&b"]


def test_the_command_says_what_is_missing(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--state", str(tmp_path)]) == 1
    assert "make up" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--invite" in capsys.readouterr().out


def test_times_and_codes_are_said_in_chinese() -> None:
    assert words.moment(Timestamp(seconds=1_780_000_000)) == "2026-05-29 04:26"
    assert words.moment(Timestamp()) is None
    assert words.day(Date(year=2026, month=9, day=5)) == "2026-09-05"
    assert words.day(Date()) is None
    assert (words.word("sms"), words.word("unheard_of")) == ("短信", "unheard_of")
