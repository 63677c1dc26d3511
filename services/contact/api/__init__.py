"""Inbound gRPC: proto in, plain values, use case, proto out. Each room answers some methods of the one service."""

from lifecircle.contact import v1 as proto
from services.contact.api import benefits, campaigns, decisions, orders, reports, servicer, slots
from services.contact.api.benefits import BenefitsApi as BenefitsApi
from services.contact.api.campaigns import CampaignsApi as CampaignsApi
from services.contact.api.decisions import DecisionsApi as DecisionsApi
from services.contact.api.orders import OrdersApi as OrdersApi
from services.contact.api.reports import ReportsApi as ReportsApi
from services.contact.api.servicer import ContactApi as ContactApi
from services.contact.api.slots import SlotsApi as SlotsApi
from services.kit.interceptors import Rights

_ROOMS = (servicer, campaigns, orders, slots, reports, benefits, decisions)

RIGHTS: Rights = {method: roles for room in _ROOMS for method, roles in room.RIGHTS.items()}


def joined(*rooms: object) -> proto.ContactServiceServicer:
    """`lifecircle.contact.v1.ContactService`, each method answered by the room that has it."""
    service = proto.ContactServiceServicer()  # type: ignore[abstract]  # the rooms bring the methods
    for room in rooms:
        for name in RIGHTS.keys() & vars(type(room)).keys():
            setattr(service, name, getattr(room, name))
    return service
