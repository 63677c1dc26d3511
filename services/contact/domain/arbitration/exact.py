"""The exact optimum of a small auction as an integer programme: the last resort when repair cannot meet a minimum."""

import numpy as np
from scipy import optimize, sparse

from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Problem

MOST_CANDIDATES = 20_000
"""Beyond this an integer programme takes longer than anybody waits."""
_NODES = 2_000
_INFEASIBLE = 2


def optimum(problem: Problem) -> tuple[Flags | None, bool]:
    """The best selection [J] by HiGHS, or None; and whether it is proven that there is none.

    The search is limited in nodes, not in seconds, so that the answer does not depend on the machine.
    """
    if not problem.candidates:
        return None, bool(np.any(problem.least > 0))
    count = problem.candidates
    customer = np.repeat(np.arange(problem.customers), np.diff(problem.starts))
    first = np.concatenate(([True], (customer[1:] != customer[:-1]) | (problem.group[1:] != problem.group[:-1])))
    blocks = [
        (customer, np.zeros(problem.customers), problem.cap.astype(np.float64)),
        (np.cumsum(first[:count]) - 1, np.zeros(int(first[:count].sum())), np.ones(int(first[:count].sum()))),
        (problem.channel, np.zeros(len(problem.capacity)), _open(problem.capacity)),
        (problem.campaign, problem.least.astype(np.float64), _open(problem.most)),
    ]
    constraints = [
        optimize.LinearConstraint(
            sparse.csr_array((np.ones(count), (row, np.arange(count))), shape=(len(low), count)), low, high
        )
        for row, low, high in blocks
    ]
    found = optimize.milp(
        -problem.value,
        integrality=np.ones(count),
        bounds=optimize.Bounds(0, 1),
        constraints=constraints,
        options={"node_limit": _NODES, "mip_rel_gap": 0.0},
    )
    return (None, found.status == _INFEASIBLE) if found.x is None else (np.asarray(found.x > 0.5), False)


def _open(bounds: Ints) -> Floats:
    return np.where(bounds < 0, np.inf, bounds.astype(np.float64))
