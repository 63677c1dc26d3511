"""Every item of a list, whatever its pages.

async for entry in items(platform.points.ListEntries, ListEntriesRequest(staff_id="S1")): …
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import Message

PAGE = 1000
"""Items fetched at once when the request names no page_size."""


async def items(call: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
    """The items of a List RPC in its order; `request` is not changed. Raises TypeError for what is no list."""
    asked = type(request)()
    asked.CopyFrom(request)
    if "page_token" not in asked.DESCRIPTOR.fields_by_name:
        raise TypeError(f"{asked.DESCRIPTOR.name} is not paged")
    asked.page_size = asked.page_size or PAGE
    while True:
        answer = await call(asked)
        for item in getattr(answer, _items(answer)):
            yield item
        if not answer.next_page_token:
            return
        asked.page_token = answer.next_page_token


def _items(answer: Message) -> str:
    """The one repeated field of messages."""
    names = [field.name for field in answer.DESCRIPTOR.fields if field.is_repeated and field.message_type is not None]
    return names[0] if names else next(field.name for field in answer.DESCRIPTOR.fields if field.is_repeated)
