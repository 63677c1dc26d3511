"""Cursors of the event log: opaque text outside, a place inside."""

import base64
import re

from services.kit.errors import cursor_invalid

_MARK = "ev1"


def encode(position: tuple[int, int]) -> str:
    """Cursor of a place in the log."""
    plain = f"{_MARK}.{position[0]:x}.{position[1]:x}"
    return base64.urlsafe_b64encode(plain.encode()).rstrip(b"=").decode()


def decode(cursor: str) -> tuple[int, int]:
    """Place of a cursor; "" is the beginning. Raises cursor_invalid."""
    if not cursor:
        return (0, 0)
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError as error:
        raise cursor_invalid(cursor) from error
    match = re.fullmatch(_MARK + r"\.([0-9a-f]{1,15})\.([0-9a-f]{1,15})", plain)
    if match is None:
        raise cursor_invalid(cursor)
    return (int(match[1], 16), int(match[2], 16))
