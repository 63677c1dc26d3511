"""What a caller, or time, can ask of recommend; each opens its transaction."""

from services.recommend.usecases.accepting import Accepting
from services.recommend.usecases.asking import Asking
from services.recommend.usecases.browsing import Browsing
from services.recommend.usecases.comparing import Comparing
from services.recommend.usecases.finishing import Finishing
from services.recommend.usecases.governing import Governing
from services.recommend.usecases.guiding import Guiding
from services.recommend.usecases.influencing import Influencing
from services.recommend.usecases.insights import Insights
from services.recommend.usecases.keeping import Keeper
from services.recommend.usecases.learned import Learned
from services.recommend.usecases.learning import Learning, Recipe
from services.recommend.usecases.noting import Noting
from services.recommend.usecases.projects import Projects
from services.recommend.usecases.reading import Reading
from services.recommend.usecases.recommending import Answer, Ask, Given, Recommending
from services.recommend.usecases.scoring import Scoring
from services.recommend.usecases.taking import Taking

__all__ = [
    "Accepting",
    "Answer",
    "Ask",
    "Asking",
    "Browsing",
    "Comparing",
    "Finishing",
    "Given",
    "Governing",
    "Guiding",
    "Influencing",
    "Insights",
    "Keeper",
    "Learned",
    "Learning",
    "Noting",
    "Projects",
    "Reading",
    "Recipe",
    "Recommending",
    "Scoring",
    "Taking",
]
