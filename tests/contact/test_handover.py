"""The contact list as OCRM reads it: its columns, its tags, and what its control file says of both."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecircle.portrait import v1 as proto
from services.contact.domain.handover import COLUMNS, ENCODING, control_name, row, tagged
from services.contact.domain.plan import SENT, Contact, attribution_token
from services.contact.lake import Folder
from services.contact.peers import Portrait

NAME = "OCRM_CONTACT_20261001_001.TXT"
NOON = datetime(2026, 10, 1, 4, tzinfo=UTC)
CONTACT = Contact("c1", "p1", date(2026, 10, 1), 7, "G01", "k", "o", "P01", "sms", 1.0, 5, 9, NOON, SENT)
Tags = Sequence[tuple[str, str]]


def line(tags: Tags = (), contact: Contact = CONTACT) -> bytes:
    return row(contact, "13900000007", "首月半价", tags, ZoneInfo("Asia/Shanghai"))


def test_a_row_has_number_tags_recommended_product_channel_and_time() -> None:
    """R001-148: 客户号码, 标签, 推荐业务, 推荐渠道, 时间, each in its column."""
    told = dict(zip(COLUMNS, line([("LC01", "成长"), ("HU05", "")]).decode(ENCODING).split("|"), strict=True))
    assert told == {
        "contact_id": "c1",
        "msisdn": "13900000007",
        "campaign_id": "k",
        "offer_id": "o",
        "product_id": "P01",
        "channel": "sms",
        "content": "首月半价",
        "contact_time": "20261001120000",
        "attribution_token": attribution_token("c1"),
        "tags": "LC01=成长;HU05\n",
    }


@given(st.lists(st.tuples(st.from_regex(r"[A-Z]{2}\d{2}", fullmatch=True), st.text(max_size=6)), max_size=4))
def test_no_tag_breaks_the_columns_and_whether_there_are_any_is_seen(tags: list[tuple[str, str]]) -> None:
    readable = [(code, value.encode(ENCODING, "ignore").decode(ENCODING)) for code, value in tags]
    made = line(readable)
    text = made.decode(ENCODING)
    assert (text.count("|"), text.count("\n"), text[-1]) == (len(COLUMNS) - 1, 1, "\n")
    assert [one.partition("=")[0] for one in text[:-1].split("|")[-1].split(";") if one] == [code for code, _ in tags]
    assert tagged(made) == bool(tags)


def test_a_character_whose_second_byte_is_a_pipe_is_no_column() -> None:
    value = next(char for char in map(chr, range(0x4E00, 0x9FFF)) if char.encode(ENCODING)[-1:] == b"|")
    assert tagged(line([("LC01", value)]))


def test_the_control_file_counts_the_rows_with_tags_also_after_somebody_was_erased(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    rows = {"c1": line([("LC01", "成长")]), "c2": line(), "c3": line([("HU05", "")])}
    with folder.begin(NAME, 1) as writing:
        for contact_id, made in rows.items():
            writing.write(contact_id, made.replace(b"c1|", contact_id.encode() + b"|", 1))
        written = writing.publish()
    assert (written.rows, written.tagged) == (3, 2)
    assert folder.published(NAME) == written
    left = folder.strike(NAME, frozenset(["c1"]))
    assert left is not None
    assert (left.rows, left.tagged) == (2, 1)
    data = (tmp_path / NAME).read_bytes()
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert (tmp_path / control_name(NAME)).read_text() == f"{NAME}|2|{digest}|{len(data)}|1\n"
    (tmp_path / control_name(NAME)).write_text(f"{NAME}|2|{digest}|{len(data)}|2\n")
    assert folder.published(NAME) is None, "a control file that says something else is none"


class Known(proto.PortraitServiceServicer):
    """portrait with three tags, of which one is sensitive, and portraits of even customers; away after `answers`."""

    def __init__(self, answers: int = 99) -> None:
        self.answers = answers

    async def ListTags(self, request: proto.ListTagsRequest, context: Any) -> proto.ListTagsResponse:
        pages = {"": ("LC01", "personal", "2"), "2": ("HU05", "sensitive", "3"), "3": ("VA01", "normal", "")}
        code, sensitivity, after = pages[request.page_token]
        return proto.ListTagsResponse(tags=[proto.Tag(code=code, sensitivity=sensitivity)], next_page_token=after)

    async def BatchGetPortraits(self, request: proto.BatchGetPortraitsRequest, context: Any) -> Any:
        self.answers -= 1
        if self.answers < 0:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        tags = [proto.TagValue(code="LC01", value="成长"), proto.TagValue(code="VA01"), proto.TagValue(code="HU05")]
        known = [key for key in request.customer_keys if key % 2 == 0]
        return proto.BatchGetPortraitsResponse(portraits=[proto.Portrait(customer_key=key, tags=tags) for key in known])


async def told(answers: int, keys: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
    server = grpc.aio.server()
    proto.add_PortraitServiceServicer_to_server(Known(answers), server)
    at = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{at}") as channel:
            return await Portrait(channel).tags(keys)
    finally:
        await server.stop(0)


async def test_tags_of_the_listed_come_from_portrait_but_none_that_is_sensitive() -> None:
    assert await told(99, [*range(1, 500), 2]) == {key: [("LC01", "成长"), ("VA01", "")] for key in range(2, 500, 2)}


async def test_when_portrait_is_away_or_goes_away_nobody_says() -> None:
    for answers in (0, 1):
        with pytest.raises(OSError, match="UNAVAILABLE: gone"):
            await told(answers, range(1, 500))
    with pytest.raises(OSError, match="not set"):
        await Portrait(None).tags([1])
