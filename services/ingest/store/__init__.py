"""SQL of this schema, one class per aggregate. Nothing here commits."""

from services.ingest.store.alarms import Alarms
from services.ingest.store.deliveries import Deliveries
from services.ingest.store.events import Events
from services.ingest.store.feeds import Feeds
from services.ingest.store.identities import Identities
from services.ingest.store.uploads import Uploads

__all__ = ["Alarms", "Deliveries", "Events", "Feeds", "Identities", "Uploads"]
