"""Inbound gRPC: proto in → plain values → use case → proto out. No rule and no SQL here."""

from services.ingest.api.service import RIGHTS, IngestApi
from services.ingest.api.supply import Supplying

__all__ = ["RIGHTS", "IngestApi", "Supplying"]
