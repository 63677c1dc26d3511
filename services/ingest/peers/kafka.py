"""Kafka by confluent-kafka (librdkafka). Offsets are ours: they stand in Postgres with the events that they brought."""

import asyncio
from collections.abc import Sequence

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from services.ingest.usecases.bridge import Message

_SECONDS = 10.0
_TAKE_SECONDS = 0.3


class KafkaSource:
    """All partitions of one topic. Offsets are also committed to the group, for those who watch its lag."""

    def __init__(self, servers: str, topic: str) -> None:
        self.name = f"kafka:{topic}"
        self._topic = topic
        self._settings = {
            "bootstrap.servers": servers,
            "group.id": "lifecircle-ingest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        self._consumer: Consumer | None = None
        self._last: dict[int, int] = {}

    async def open(self, positions: dict[int, int]) -> None:
        """Begin after these offsets by partition; at the beginning where there is none."""
        self._consumer = Consumer(self._settings)
        listed = await asyncio.to_thread(self._consumer.list_topics, self._topic, _SECONDS)
        partitions = listed.topics[self._topic].partitions
        after = {part: positions[part] + 1 if part in positions else OFFSET_BEGINNING for part in partitions}
        self._consumer.assign([TopicPartition(self._topic, part, offset) for part, offset in after.items()])

    async def take(self, most: int) -> Sequence[Message]:
        """The next messages; none after a short while. Raises KafkaException."""
        assert self._consumer is not None, "open() comes first"
        found = []
        for each in await asyncio.to_thread(self._consumer.consume, most, _TAKE_SECONDS):
            error = each.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name for it
                    continue
                raise KafkaException(error)
            part, offset = each.partition() or 0, each.offset() or 0
            self._last[part] = offset
            found.append(Message(part, offset, each.value() or b""))
        return found

    async def taken(self) -> None:
        """Tell the group how far we are; nothing depends on it."""
        assert self._consumer is not None, "open() comes first"
        offsets = [TopicPartition(self._topic, part, offset + 1) for part, offset in self._last.items()]
        self._consumer.commit(offsets=offsets, asynchronous=True)

    async def close(self) -> None:
        """Leave."""
        if self._consumer is not None:
            await asyncio.to_thread(self._consumer.close)
            self._consumer = None


class KafkaSink:
    """One topic, by an idempotent producer; the event's id is in the header `event-id`."""

    def __init__(self, servers: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 5})

    async def put(self, events: Sequence[tuple[str, str, bytes]]) -> None:
        """Send messages and wait for the acknowledgements of all. Raises KafkaException."""
        failed: list[KafkaError] = []

        def acknowledged(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error)

        for event_id, key, data in events:
            headers: dict[str, str | bytes | None] = {"event-id": event_id.encode()}
            self._producer.produce(self._topic, value=data, key=key.encode(), headers=headers, on_delivery=acknowledged)
        left = await asyncio.to_thread(self._producer.flush, _SECONDS)
        if failed or left:
            raise KafkaException(failed[0] if failed else KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001

    async def close(self) -> None:
        """Nothing waits: put() returns when all is acknowledged."""
