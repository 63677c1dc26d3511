"""NATS JetStream. A durable consumer keeps what was not acknowledged; we acknowledge after the commit."""

import asyncio
from collections.abc import Sequence

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCame
from nats.js import JetStreamContext

from services.ingest.usecases.bridge import Message

_SECONDS = 10.0
_TAKE_SECONDS = 0.3
_DURABLE = "lifecircle-ingest"


class JetStreamSource:
    """One subject of one stream."""

    def __init__(self, server: str, stream: str, subject: str) -> None:
        self.name = f"nats:{stream}:{subject}"
        self._server = server
        self._stream = stream
        self._subject = subject
        self._client: Client | None = None
        self._pull: JetStreamContext.PullSubscription | None = None
        self._open: list[Msg] = []

    async def open(self, positions: dict[int, int]) -> None:
        """Take up the durable consumer: it knows what was not acknowledged, and what is repeated changes nothing."""
        self._client = await nats.connect(f"nats://{self._server}")
        pulling = self._client.jetstream().pull_subscribe(self._subject, durable=_DURABLE, stream=self._stream)
        self._pull = await pulling

    async def take(self, most: int) -> Sequence[Message]:
        """The next messages; none after a short while."""
        assert self._pull is not None, "open() comes first"
        try:
            self._open = await self._pull.fetch(most, timeout=_TAKE_SECONDS)
        except NothingCame:
            self._open = []
        return [Message(0, each.metadata.sequence.stream, each.data) for each in self._open]

    async def taken(self) -> None:
        """Acknowledge, and wait until the server has it."""
        await asyncio.gather(*(each.ack_sync(_SECONDS) for each in self._open))

    async def close(self) -> None:
        """Leave; what was not acknowledged comes again."""
        if self._client is not None:
            await self._client.close()
            self._client = None


class JetStreamSink:
    """One subject; the event's id is that of the message, so the server drops what is sent again in its window."""

    def __init__(self, server: str, subject: str) -> None:
        self._server = server
        self._subject = subject
        self._client: Client | None = None

    async def put(self, events: Sequence[tuple[str, str, bytes]]) -> None:
        """Send messages in order and wait for the acknowledgements of all."""
        if self._client is None:
            self._client = await nats.connect(f"nats://{self._server}")
        stream = self._client.jetstream()
        for start in range(0, len(events), 100):
            sends = [
                stream.publish(self._subject, data, timeout=_SECONDS, headers={"Nats-Msg-Id": event_id})
                for event_id, _, data in events[start : start + 100]
            ]
            await asyncio.gather(*sends)

    async def close(self) -> None:
        """Leave."""
        if self._client is not None:
            await self._client.close()
            self._client = None
