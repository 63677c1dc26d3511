"""The SQL of recommend; never commits."""

from services.recommend.store.acceptances import Acceptances
from services.recommend.store.guidance import Guidance
from services.recommend.store.hot import Hot
from services.recommend.store.influences import Influences
from services.recommend.store.inputs import Inputs
from services.recommend.store.knowledge import Knowledge
from services.recommend.store.models import Matrices, Models
from services.recommend.store.outcomes import Outcomes, hold
from services.recommend.store.projects import Projects

__all__ = [
    "Acceptances",
    "Guidance",
    "Hot",
    "Influences",
    "Inputs",
    "Knowledge",
    "Matrices",
    "Models",
    "Outcomes",
    "Projects",
    "hold",
]
