"""Segments (客户分群): customers of a brand that are alike, what they are called, what they hold and what they lack."""

from services.portrait.domain.segment.clustering import Clusters, adjusted_rand, clustered, prepared, silhouette
from services.portrait.domain.segment.figures import (
    Gap,
    Holding,
    Profile,
    contents,
    gaps,
    holdings,
    profiles,
)
from services.portrait.domain.segment.matching import Matched, matched
from services.portrait.domain.segment.naming import names

__all__ = [
    "Clusters",
    "Gap",
    "Holding",
    "Matched",
    "Profile",
    "adjusted_rand",
    "clustered",
    "contents",
    "gaps",
    "holdings",
    "matched",
    "names",
    "prepared",
    "profiles",
    "silhouette",
]
