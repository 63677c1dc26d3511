"""What callers and time can ask of portrait: one method each, the transaction visible in it."""

from services.portrait.usecases.audiences import AudienceDesk
from services.portrait.usecases.city import CityDesk
from services.portrait.usecases.compute import KIND, Computing
from services.portrait.usecases.index import Indexes
from services.portrait.usecases.journey import Journeys
from services.portrait.usecases.matching import Matching
from services.portrait.usecases.moment_rules import MomentDesk
from services.portrait.usecases.planning import Plans
from services.portrait.usecases.reading import Reading
from services.portrait.usecases.reports import ReportDesk
from services.portrait.usecases.shelf import Shelf
from services.portrait.usecases.snapshots import Pace
from services.portrait.usecases.tags import TagDesk
from services.portrait.usecases.whole import WholePortraits

__all__ = [
    "KIND",
    "AudienceDesk",
    "CityDesk",
    "Computing",
    "Indexes",
    "Journeys",
    "Matching",
    "MomentDesk",
    "Pace",
    "Plans",
    "Reading",
    "ReportDesk",
    "Shelf",
    "TagDesk",
    "WholePortraits",
]
