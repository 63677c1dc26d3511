"""Inbound gRPC: proto in, plain values, use case, proto out."""

from services.portrait.api.service import RIGHTS, PortraitApi
from services.portrait.api.translate import encode_portrait

__all__ = ["RIGHTS", "PortraitApi", "encode_portrait"]
