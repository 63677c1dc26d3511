"""The exact optimum of a small auction as an integer programme: the last resort when repair cannot meet a minimum."""

import numpy as np
from scipy import optimize, sparse

from services.contact.domain.arbitration.problem import Flags, Floats, Ints, Problem, Small

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
    customer = problem.customer
    blocks = [
        (customer, np.zeros(problem.customers), problem.cap.astype(np.float64)),
        *[(sets, np.zeros(int(sets.max()) + 1), np.ones(int(sets.max()) + 1)) for sets in _at_most_one(problem)],
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


def _at_most_one(problem: Problem) -> list[Ints]:
    """Numberings of the candidates [J]: of each number a customer gets one at most."""
    customer = problem.customer

    def numbered(*parts: Ints | Small) -> Ints:
        numbers: Ints = np.unique(np.stack([customer, *parts]), axis=1, return_inverse=True)[1].ravel()
        return numbers

    sets = [numbered(problem.group)]
    if problem.spacing:
        medium, day = problem.medium_of[problem.kind], problem.day_of[problem.kind]
        sets.append(numbered(day))
        # Windows of `spacing` days, beginning on any day.
        sets += [numbered(medium, (day + first) // problem.spacing) for first in range(problem.spacing)]
    return sets


def _open(bounds: Ints) -> Floats:
    return np.where(bounds < 0, np.inf, bounds.astype(np.float64))
