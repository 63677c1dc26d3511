"""Outbound: the neighbours by gRPC, and the gateways of the channels."""

from services.contact.peers.gateways import folder_gateway as folder_gateway
from services.contact.peers.gateways import http_gateway as http_gateway
from services.contact.peers.neighbours import TYPES as TYPES
from services.contact.peers.neighbours import Ingest as Ingest
from services.contact.peers.neighbours import Points as Points
from services.contact.peers.neighbours import Portrait as Portrait
from services.contact.peers.neighbours import Recommend as Recommend
from services.contact.peers.neighbours import understood as understood
