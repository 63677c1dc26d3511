"""Tags as data: rules of the format lct/1, what they need to know of a customer, and their verdict."""

from services.portrait.domain.tag.catalogue import Catalogue, Grading, looked_at, parse, parser_of
from services.portrait.domain.tag.definition import CATEGORIES, LIFE_CIRCLES, Tag
from services.portrait.domain.tag.facts import Earlier, Event, Facts
from services.portrait.domain.tag.plan import Landmark, Leaf, Plan, plan
from services.portrait.domain.tag.rule import CatalogueInvalid, PlaceSet, RowFilter
from services.portrait.domain.tag.scan import LeafFacts, answers, place_time
from services.portrait.domain.tag.verdict import Before, Verdict, judge, percentiles_of

__all__ = [
    "CATEGORIES",
    "LIFE_CIRCLES",
    "Before",
    "Catalogue",
    "CatalogueInvalid",
    "Earlier",
    "Event",
    "Facts",
    "Grading",
    "Landmark",
    "Leaf",
    "LeafFacts",
    "PlaceSet",
    "Plan",
    "RowFilter",
    "Tag",
    "Verdict",
    "answers",
    "judge",
    "looked_at",
    "parse",
    "parser_of",
    "percentiles_of",
    "place_time",
    "plan",
]
