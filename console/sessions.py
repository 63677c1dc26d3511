"""Who is signed in: the token stays on the server; the browser holds a random word that means nothing by itself."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST = 10_000
"""Sessions kept at once; one more ends the one that runs out first."""
IDLE = 1800.0
"""Seconds without a request after which a session ends, whatever its token."""


@dataclass
class Session:
    """One sign-in: the platform as this user, until when (seconds since 1970), and the word that his forms carry."""

    user: str
    platform: Any
    patient: Any
    ends: float
    seen: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class Sessions:
    """The sessions of this process, by the digest of the browser's word."""

    def __init__(self, now: Callable[[], float], most: int = MOST) -> None:
        self._now, self._most = now, most
        self._kept: dict[str, Session] = {}

    async def begin(self, user: str, platform: Any, patient: Any, ends: float) -> str:
        """Keeps a session and gives the word for the browser's cookie."""
        for word in [word for word, each in self._kept.items() if not self._lives(each)]:
            await self._close(word)
        if len(self._kept) >= self._most:
            await self._close(min(self._kept, key=lambda word: self._kept[word].ends))
        word = secrets.token_urlsafe(32)
        self._kept[_digest(word)] = Session(user, platform, patient, ends, self._now())
        return word

    def find(self, word: str) -> Session | None:
        """The session of a word, while it lives."""
        session = self._kept.get(_digest(word))
        if session is None or not self._lives(session):
            return None
        session.seen = self._now()
        return session

    async def end(self, word: str) -> None:
        """Forgets a session and closes its channels; a word without one changes nothing."""
        if _digest(word) in self._kept:
            await self._close(_digest(word))

    async def end_all(self) -> None:
        """Ends every session, as the process ends."""
        for word in list(self._kept):
            await self._close(word)

    def _lives(self, session: Session) -> bool:
        now = self._now()
        return now < session.ends and now - session.seen < IDLE

    async def _close(self, digest: str) -> None:
        session = self._kept.pop(digest)
        await session.platform.__aexit__(None, None, None)
        await session.patient.__aexit__(None, None, None)


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
