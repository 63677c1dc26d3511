"""The pilot before a roll-out: how many customers it needs, what it shows, and whether that agrees with the prediction.

Nobody's side is drawn: cells are a hash of campaign and customer (experiment.shares), so they are the same for ever.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from scipy.special import gammaincc

from services.contact.domain.experiment import Rate, newcombe, wilson
from services.contact.refusals import pilot_invalid

_NORMAL = NormalDist()

SRM_ALPHA = 0.001
"""Cells whose sizes are less likely than this were not filled as planned (sample ratio mismatch)."""

PRIOR_TRIALS = 400
"""How many customers' worth a prediction weighs when feedback corrects it."""


@dataclass(frozen=True)
class Pilot:
    """What a campaign tries before it is rolled out.

    `share_bps` of the customers may be contacted; the roll-out needs `least_trials` contacted customers and an opening
    rate within `tolerance` of the prediction (a share of it), or a prediction inside the observed 95 % interval.
    `predicted` 0 takes what the matrix expected; `earlier` is (successes, trials) of the way used before, if known.
    """

    share_bps: int
    tolerance: float
    least_trials: int
    predicted: float = 0.0
    earlier_successes: int = 0
    earlier_trials: int = 0


@dataclass(frozen=True)
class SampleSize:
    """Customers that are needed to see the difference."""

    treated: int
    control: int


@dataclass(frozen=True)
class Ratio:
    """One success rate divided by another, with its 95 % interval; `high` may be infinite."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Cells:
    """What a pilot counted: customers, once each, on both sides, and how many were expected to open."""

    sent: int
    opened: int
    controls: int
    control_opened: int
    expected_openings: float


@dataclass(frozen=True)
class Finding:
    """What a pilot shows, and what stands between it and the roll-out (`blocks`, empty when it may go on)."""

    treated: Rate
    control: Rate
    earlier: Rate
    predicted: float
    to_control: Ratio
    to_earlier: Ratio
    difference: float
    sequence_low: float
    sequence_high: float
    mismatch_p: float
    calibration_error: float
    corrected: float
    blocks: tuple[str, ...]


def checked(pilot: Pilot) -> Pilot:
    """The pilot, if it can be held. Raises pilot_invalid."""
    if not 0 < pilot.share_bps <= 5_000:
        raise pilot_invalid("share_bps", "must be from 1 to 5,000 basis points")
    if not 0 < pilot.tolerance <= 1:
        raise pilot_invalid("tolerance", "must be above 0, and at most 1")
    if not 0 <= pilot.predicted < 1:
        raise pilot_invalid("predicted", "must be from 0 to below 1")
    if not 0 <= pilot.earlier_successes <= pilot.earlier_trials:
        raise pilot_invalid("earlier_successes", "must be from 0 to earlier_trials")
    return pilot


def sample_size(
    base: float, expected: float, *, alpha: float = 0.05, power: float = 0.8, control_share: float = 0.5
) -> SampleSize:
    """Customers a two-sided test of two proportions needs (Fleiss, Levin & Paik 2003, eq. 4.19, unequal groups).

    `base` and `expected` are the rates of control and treated, `control_share` the control's part of all. Raises
    pilot_invalid.
    """
    if not (0 < base < 1 and 0 < expected < 1 and base != expected):
        raise pilot_invalid("expected", "and base must be rates between 0 and 1 that differ")
    if not (0 < alpha < 1 and 0 < power < 1 and 0 < control_share < 1):
        raise pilot_invalid("power", "alpha and control_share must be between 0 and 1")
    ratio = control_share / (1 - control_share)
    pooled = (expected + ratio * base) / (1 + ratio)
    spread = math.sqrt((1 + ratio) * pooled * (1 - pooled))
    apart = math.sqrt(ratio * expected * (1 - expected) + base * (1 - base))
    z_alpha, z_power = _NORMAL.inv_cdf(1 - alpha / 2), _NORMAL.inv_cdf(power)
    treated = (z_alpha * spread + z_power * apart) ** 2 / (ratio * (expected - base) ** 2)
    return SampleSize(math.ceil(treated), math.ceil(treated * ratio))


def success_ratio(first: Rate, second: Rate) -> Ratio:
    """first / second with the 95 % interval of its logarithm (Katz et al. 1978); a count of 0 is taken as ½."""
    if not first.trials or not second.trials:
        return Ratio(0.0, 0.0, math.inf)
    a, b = max(first.successes, 0.5), max(second.successes, 0.5)
    ratio = first.rate / second.rate if second.successes else math.inf if first.successes else 0.0
    centre = math.log((a / first.trials) / (b / second.trials))
    half = _NORMAL.inv_cdf(0.975) * math.sqrt(max(1 / a - 1 / first.trials + 1 / b - 1 / second.trials, 0.0))
    low = 0.0 if not first.successes else math.exp(centre - half)
    return Ratio(ratio, low, math.exp(centre + half) if second.successes else math.inf)


def mismatch(counts: Sequence[int], shares: Sequence[float]) -> float:
    """How likely cells of such sizes are when filled by these shares: Pearson's χ² test of fit; 1 of nobody."""
    total, whole = sum(counts), math.fsum(shares)
    if not total:
        return 1.0
    pairs = [(count, total * share / whole) for count, share in zip(counts, shares, strict=True) if share > 0]
    statistic = math.fsum((count - due) ** 2 / due for count, due in pairs)
    return 1.0 if len(pairs) < 2 else float(gammaincc((len(pairs) - 1) / 2, statistic / 2))


def sequence(treated: Rate, control: Rate, *, alpha: float = 0.05, tuned_for: int = 5_000) -> tuple[float, float]:
    """Ends of a confidence sequence for treated − control: it may be looked at after every single customer.

    The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), theorem 2.2, over the
    inverse-probability pseudo-outcomes of a randomised trial; narrowest at `tuned_for` customers.
    """
    total = treated.trials + control.trials
    if not treated.trials or not control.trials:
        return -1.0, 1.0
    part = treated.trials / total
    # Shrunk rates, so that a side without a success does not claim to have no variance.
    p, q = ((side.successes + 1) / (side.trials + 2) for side in (treated, control))
    variance = p * (1 - p) / part + q * (1 - q) / (1 - part)
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned_for
    inside = total * rho2 + 1
    half = math.sqrt(variance * 2 * inside / (total**2 * rho2) * math.log(math.sqrt(inside) / alpha))
    difference = treated.rate - control.rate
    return max(-1.0, difference - half), min(1.0, difference + half)


def corrected(predicted: float, observed: Rate) -> float:
    """The prediction for the next round: feedback weighs as much as its customers, the prediction as PRIOR_TRIALS."""
    return (predicted * PRIOR_TRIALS + observed.successes) / (PRIOR_TRIALS + observed.trials)


def findings(pilot: Pilot, cells: Cells, control_bps: int) -> Finding:
    """What the pilot shows against its control, the earlier way and the prediction."""
    treated, control = wilson(cells.opened, cells.sent), wilson(cells.control_opened, cells.controls)
    earlier = wilson(pilot.earlier_successes, pilot.earlier_trials)
    predicted = pilot.predicted or (cells.expected_openings / cells.sent if cells.sent else 0.0)
    likely = mismatch((cells.sent, cells.controls), (10_000 - control_bps, control_bps))
    low, high = sequence(treated, control)
    return Finding(
        treated=treated,
        control=control,
        earlier=earlier,
        predicted=predicted,
        to_control=success_ratio(treated, control),
        to_earlier=success_ratio(treated, earlier),
        difference=newcombe(treated, control)[0],
        sequence_low=low,
        sequence_high=high,
        mismatch_p=likely,
        calibration_error=abs(treated.rate - predicted),
        corrected=corrected(predicted, treated),
        blocks=_blocks(pilot, treated, predicted, likely),
    )


def _blocks(pilot: Pilot, treated: Rate, predicted: float, likely: float) -> tuple[str, ...]:
    blocks = []
    if treated.trials < pilot.least_trials:
        blocks.append(f"{treated.trials} contacted customers of {pilot.least_trials} that are needed")
    if likely < SRM_ALPHA:
        blocks.append(f"sample ratio mismatch: p = {likely:.2g}")
    within = abs(treated.rate - predicted) <= pilot.tolerance * predicted
    if treated.trials and not within and not treated.low <= predicted <= treated.high:
        blocks.append(f"observed {treated.rate:.4f} disagrees with the predicted {predicted:.4f}")
    return tuple(blocks)
