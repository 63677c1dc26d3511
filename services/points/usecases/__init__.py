"""What a caller, or time, can ask of points; each opens its transaction."""

from services.points.usecases.analysis import Analysis, Appraisal
from services.points.usecases.corrections import Corrections, Missing
from services.points.usecases.periods import Periods
from services.points.usecases.reading import Explained, Reading
from services.points.usecases.reference import Learning, Prepared, Rows
from services.points.usecases.rules import RuleBook
from services.points.usecases.scoring import Scored, Scoring

__all__ = [
    "Analysis", "Appraisal", "Corrections", "Explained", "Learning", "Missing", "Periods", "Prepared", "Reading",
    "Rows", "RuleBook", "Scored", "Scoring",
]  # fmt: skip
