"""SQL of points, by aggregate: rule sets, reference data, events, the ledger. Gives domain values; never commits."""

from dataclasses import dataclass, field

from services.points.store.analysis import Analysis
from services.points.store.corrections import Corrections
from services.points.store.events import Events
from services.points.store.ledger import Ledger
from services.points.store.months import Months
from services.points.store.reference import References
from services.points.store.rule_sets import RuleSets
from services.points.store.settling import Settling


@dataclass(frozen=True)
class Store:
    """The aggregates of this schema."""

    rule_sets: RuleSets = field(default_factory=RuleSets)
    events: Events = field(default_factory=Events)
    ledger: Ledger = field(default_factory=Ledger)
    references: References = field(default_factory=References)
    settling: Settling = field(default_factory=Settling)
    months: Months = field(default_factory=Months)
    corrections: Corrections = field(default_factory=Corrections)
    analysis: Analysis = field(default_factory=Analysis)
