"""Audiences: an expression over tags, features, lists and other audiences, its readable text, and who fulfils it."""

from services.portrait.domain.audience.evaluation import MOST_LIST, Source, bitmap_of, members, parts
from services.portrait.domain.audience.expression import (
    AllOf,
    AnyOf,
    AtLeast,
    AudienceInvalid,
    Everybody,
    Expression,
    FeatureBetween,
    Frozen,
    InSegment,
    Listed,
    Not,
    Saved,
    TagIs,
    check,
    expression_of,
    text,
    to_json,
)
from services.portrait.domain.audience.grammar import parse

__all__ = [
    "MOST_LIST",
    "AllOf",
    "AnyOf",
    "AtLeast",
    "AudienceInvalid",
    "Everybody",
    "Expression",
    "FeatureBetween",
    "Frozen",
    "InSegment",
    "Listed",
    "Not",
    "Saved",
    "Source",
    "TagIs",
    "bitmap_of",
    "check",
    "expression_of",
    "members",
    "parse",
    "parts",
    "text",
    "to_json",
]
