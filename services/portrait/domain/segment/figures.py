"""What segments are like: profile against the brand, penetration, usage, awareness, content, and what they lack."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LEAST_GAP = 0.01


@dataclass(frozen=True)
class Profile:
    """A feature over one segment; `deviation` in standard deviations of the brand, `quartiles` 25, 50, 75 %."""

    feature: str
    mean: float
    brand_mean: float
    deviation: float
    quartiles: tuple[float, float, float]


@dataclass(frozen=True)
class Holding:
    """A service in one segment; shares 0 to 1, `usage` per holder, `awareness` −1 when nobody was asked."""

    service: int
    penetration: float
    usage: float
    awareness: float
    asked: int


@dataclass(frozen=True)
class Gap:
    """A service that a segment holds less than the segment most like it does."""

    segment: int
    service: int
    penetration: float
    reference: float
    customers: float


def profiles(
    features: Sequence[str], values: npt.NDArray[np.floating], label: Ints, segments: int
) -> list[list[Profile]]:
    """By segment, the most different feature first; NaN is not counted, a feature known of nobody is left out."""
    told: list[list[Profile]] = [[] for _ in range(segments)]
    for place, feature in enumerate(features):
        column = values[:, place].astype(np.float64)
        known = np.isfinite(column)
        if not known.any():
            continue
        mean, deviation = float(column[known].mean()), float(column[known].std())
        for segment in range(segments):
            mine = column[known & (label == segment)]
            if len(mine):
                low, middle, high = np.percentile(mine, (25, 50, 75)).tolist()
                own = float(mine.mean())
                apart = (own - mean) / deviation if deviation > 0 else 0.0
                told[segment].append(Profile(feature, own, mean, apart, (low, middle, high)))
    return [sorted(each, key=lambda one: (-abs(one.deviation), one.feature)) for each in told]


def holdings(
    label: Ints,
    segments: int,
    held: npt.NDArray[np.bool_],
    uses: Floats,
    asked: Ints,
    aware: Ints,
) -> list[list[Holding]]:
    """By segment, the most held service first. `held`, `uses`, `asked`, `aware` are (n, services): who holds what, how
    often it was used, how many survey answers were given of it and how many of them say that it is known."""
    told = []
    for segment in range(segments):
        mine = label == segment
        count = max(int(mine.sum()), 1)
        holders, used = held[mine].sum(axis=0), np.where(held[mine], uses[mine], 0.0).sum(axis=0)
        people, knowing = asked[mine].sum(axis=0), aware[mine].sum(axis=0)
        lines = [
            Holding(
                service,
                float(holders[service] / count),
                float(used[service] / max(int(holders[service]), 1)),
                float(knowing[service] / people[service]) if people[service] else -1.0,
                int(people[service]),
            )
            for service in range(held.shape[1])
        ]
        told.append(sorted(lines, key=lambda one: (-one.penetration, one.service)))
    return told


def contents(label: Ints, segments: int, use: Floats) -> Floats:
    """Share of each category in a segment's use, (segments, categories); rows of zeros where nothing was used."""
    total = np.zeros((segments, use.shape[1]))
    np.add.at(total, label, use)
    whole = total.sum(axis=1, keepdims=True)
    return np.where(whole > 0, total / np.where(whole > 0, whole, 1.0), 0.0)


def gaps(label: Ints, held: npt.NDArray[np.bool_], centre: Floats) -> list[Gap]:
    """What each segment of one brand lacks, the most customers first.

    The reference is the segment with the nearest centre that holds the service more: alike customers, of whom more
    have it. A gap below one point of penetration is none.
    """
    segments = len(centre)
    size = np.bincount(label, minlength=segments)
    share = np.array([held[label == each].mean(axis=0) if size[each] else np.zeros(held.shape[1])
                      for each in range(segments)])  # fmt: skip
    apart = ((centre[:, None, :] - centre[None, :, :]) ** 2).sum(axis=2)
    told = []
    for segment in range(segments):
        near = [int(each) for each in np.argsort(apart[segment], kind="stable") if each != segment and size[each]]
        for service in range(held.shape[1]):
            own = float(share[segment, service])
            more = [float(share[each, service]) for each in near if share[each, service] >= own + _LEAST_GAP]
            if more and size[segment]:
                told.append(Gap(segment, service, own, more[0], (more[0] - own) * float(size[segment])))
    return sorted(told, key=lambda gap: (-gap.customers, gap.segment, gap.service))
