"""What portrait keeps in Postgres: planning, published runs, and the hot reads of portraits."""

from services.portrait.store.hot import HotPortraits
from services.portrait.store.planning import Planning
from services.portrait.store.runs import Runs

__all__ = ["HotPortraits", "Planning", "Runs"]
