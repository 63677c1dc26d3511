"""What every room of the api needs: request keys, page tokens, roles."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from services.contact.api import incoming
from services.kit import paging
from services.kit.errors import bad_page_token
from services.kit.idempotency import RequestKey, key_of

READ = frozenset({"viewer", "operator", "service"})
WRITE = frozenset({"operator"})

Context = grpc.aio.ServicerContext[Any, Any]


def request_key(request: Message) -> RequestKey:
    """The key of a request that writes, whose texts can be kept."""
    incoming.check(request)
    return key_of(request)


def timed_token(*found: tuple[datetime | None, str], size: int) -> str:
    """The token after a page ordered by time and id; a page that is not full is the last."""
    if len(found) < size or found[-1][0] is None:
        return ""
    return paging.encode({"time": found[-1][0].isoformat(), "id": found[-1][1]})


def texts(page_token: str, *names: str) -> Sequence[str]:
    """The texts of a token under these names; nothing for the first page. Raises bad_page_token."""
    token = paging.decode(page_token)
    told = [token.get(name) for name in names]
    if token and not all(isinstance(text, str) and "\0" not in text for text in told):
        raise bad_page_token()
    return [str(text) for text in told] if token else []


def timed(page_token: str) -> tuple[datetime, str] | None:
    """The (time, id) of a token; None for the first page. Raises bad_page_token."""
    told = texts(page_token, "time", "id")
    try:
        moment = datetime.fromisoformat(told[0]) if told else None
    except ValueError as error:
        raise bad_page_token() from error
    if moment is not None and moment.tzinfo is None:
        raise bad_page_token()
    return None if moment is None else (moment, told[1])


def keyed(page_token: str) -> tuple[int, str] | None:
    """The (customer key, offer) of a token; None for the first page. Raises bad_page_token."""
    token = paging.decode(page_token)
    if not token:
        return None
    key, offer_id = token.get("key"), token.get("offer_id")
    if not isinstance(key, int) or not isinstance(offer_id, str) or abs(key) >= 1 << 63:
        raise bad_page_token()
    return key, offer_id


def number(page_token: str) -> int:
    """How many came before the page of a token; 0 for the first page. Raises bad_page_token."""
    token = paging.decode(page_token)
    told = token.get("number", 0 if not token else None)
    if not isinstance(told, int) or not 0 <= told < 1 << 31:
        raise bad_page_token()
    return told
