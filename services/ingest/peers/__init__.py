"""Outbound: the external brokers that events may come from and go to."""

from urllib.parse import unquote, urlsplit

from services.ingest.peers.jetstream import JetStreamSink, JetStreamSource
from services.ingest.peers.kafka import KafkaSink, KafkaSource
from services.ingest.usecases.bridge import Sink, Source

__all__ = ["sink_of", "source_of"]


def source_of(url: str) -> Source:
    """kafka://host:port/topic or nats://host:port/stream/subject."""
    scheme, server, path = _parts(url)
    return KafkaSource(server, path[0]) if scheme == "kafka" else JetStreamSource(server, path[0], path[1])


def sink_of(url: str) -> Sink:
    """kafka://host:port/topic or nats://host:port/stream/subject."""
    scheme, server, path = _parts(url)
    return KafkaSink(server, path[0]) if scheme == "kafka" else JetStreamSink(server, path[1])


def _parts(url: str) -> tuple[str, str, list[str]]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc, [unquote(each) for each in parts.path.strip("/").split("/")]
