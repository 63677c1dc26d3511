"""Inbound gRPC: proto in, plain values, use case, proto out."""

from services.contact.api.servicer import RIGHTS as RIGHTS
from services.contact.api.servicer import ContactApi as ContactApi
