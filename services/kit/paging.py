"""Page tokens and page sizes: opaque to the caller, a small mapping to the service."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from services.kit.errors import bad_page_token, invalid_field

_MOST_CHARACTERS = 4096


def encode(token: Mapping[str, Any]) -> str:
    """Page token for the position `token` (JSON values); an empty mapping means the end and gives ""."""
    if not token:
        return ""
    plain = json.dumps(token, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    text = base64.urlsafe_b64encode(plain.encode()).rstrip(b"=").decode()
    assert len(text) <= _MOST_CHARACTERS, "a page token is a position, not a page"
    return text


def decode(page_token: str) -> Mapping[str, Any]:
    """Position of a page token; "" (the first page) gives an empty mapping. Raises bad_page_token."""
    if not page_token:
        return {}
    if len(page_token) > _MOST_CHARACTERS:
        raise bad_page_token()
    try:
        padded = page_token.encode("ascii") + b"=" * (-len(page_token) % 4)
        token = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise bad_page_token() from error
    if not isinstance(token, dict) or not token:
        raise bad_page_token()
    return token


def clamp(page_size: int, default: int = 50, most: int = 1000) -> int:
    """Page size to use: 0 means `default`, more than `most` is lowered to it (AIP-158); negative is refused."""
    if page_size < 0:
        raise invalid_field([("page_size", "must not be negative")])
    return min(page_size or default, most)
