"""The two loops over all candidates that numba compiles: the dual function, and the selection at given prices.

Both are sequential with a fixed order of additions, so that their results are the same to the bit on every run.
"""

import numba
import numpy as np

from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Small


@numba.njit(cache=True, nogil=True)
def best_sets(
    starts: Ints,
    cap: Small,
    group: Small,
    channel: Small,
    campaign: Small,
    value: Floats,
    channel_price: Floats,
    campaign_price: Floats,
    channel_used: Ints,
    campaign_used: Ints,
    picked: Flags,
) -> float:
    """Every customer's best set at the prices; gives the sum of what the sets are worth beyond the prices.

    A set is the best of each group, and of these the `cap` best that are worth more than their price: exact, since
    groups do not overlap. Ties go to the earlier candidate. Adds the sets' usage to `channel_used` and
    `campaign_used`, and marks them in `picked` unless that is empty. The sum is compensated (Neumaier 1974).
    """
    most = 1
    for customer in range(len(cap)):
        most = max(most, starts[customer + 1] - starts[customer])
    worth = np.empty(most, np.float64)
    which = np.empty(most, np.int64)
    total = 0.0
    lost = 0.0
    for customer in range(len(cap)):
        room = cap[customer]
        if room <= 0:
            continue
        kept = 0
        at = starts[customer]
        end = starts[customer + 1]
        while at < end:
            best = 0.0
            best_at = -1
            here = group[at]
            while at < end and group[at] == here:
                beyond = value[at] - channel_price[channel[at]] - campaign_price[campaign[at]]
                if beyond > best:
                    best = beyond
                    best_at = at
                at += 1
            if best_at < 0:
                continue
            if kept < room:
                worth[kept] = best
                which[kept] = best_at
                kept += 1
                continue
            weakest = 0
            for other in range(1, kept):
                if worth[other] < worth[weakest]:
                    weakest = other
            if best > worth[weakest]:
                worth[weakest] = best
                which[weakest] = best_at
        for one in range(kept):
            summed = total + worth[one]
            if total >= worth[one]:
                lost += (total - summed) + worth[one]
            else:
                lost += (worth[one] - summed) + total
            total = summed
            channel_used[channel[which[one]]] += 1
            campaign_used[campaign[which[one]]] += 1
            if len(picked) > 0:
                picked[which[one]] = True
    return total + lost
