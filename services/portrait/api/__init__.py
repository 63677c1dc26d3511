"""Inbound gRPC: proto in, plain values, use case, proto out."""

from services.portrait.api.portrait import encode_contacts, encode_foresight, encode_offers, encoder
from services.portrait.api.service import RIGHTS, PortraitApi

__all__ = ["RIGHTS", "PortraitApi", "encode_contacts", "encode_foresight", "encode_offers", "encoder"]
