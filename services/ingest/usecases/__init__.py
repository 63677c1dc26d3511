"""What can be asked of ingest, one method a question; the transactions are opened and committed here."""

from services.ingest.usecases.collecting import Collecting
from services.ingest.usecases.deliveries import Deliveries
from services.ingest.usecases.editing import Editing
from services.ingest.usecases.erasure import Asking, Erasing
from services.ingest.usecases.events import Events
from services.ingest.usecases.feeds import Feeds
from services.ingest.usecases.identities import Identities
from services.ingest.usecases.intake import Intake
from services.ingest.usecases.layers import Layers
from services.ingest.usecases.load import Load
from services.ingest.usecases.replays import Replays
from services.ingest.usecases.supply import Supply
from services.ingest.usecases.upkeep import Upkeep
from services.ingest.usecases.uploads import Uploads
from services.ingest.usecases.work import Work
from services.ingest.usecases.writing import Writer

__all__ = [
    "Asking",
    "Collecting",
    "Deliveries",
    "Editing",
    "Erasing",
    "Events",
    "Feeds",
    "Identities",
    "Intake",
    "Layers",
    "Load",
    "Replays",
    "Supply",
    "Upkeep",
    "Uploads",
    "Work",
    "Writer",
]
