"""Tags as data: rules of the format lct/1, what they need to know of a customer, and their verdict."""

from services.portrait.domain.tag.catalogue import Catalogue, Tag, parse
from services.portrait.domain.tag.plan import Landmark, Leaf, Plan, plan
from services.portrait.domain.tag.rule import CatalogueInvalid, PlaceSet, RowFilter
from services.portrait.domain.tag.verdict import Event, Facts, LeafFacts, Verdict, judge, percentiles_of

__all__ = [
    "Catalogue",
    "CatalogueInvalid",
    "Event",
    "Facts",
    "Landmark",
    "Leaf",
    "LeafFacts",
    "PlaceSet",
    "Plan",
    "RowFilter",
    "Tag",
    "Verdict",
    "judge",
    "parse",
    "percentiles_of",
    "plan",
]
