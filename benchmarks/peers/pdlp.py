"""The same auction as one linear programme for OR-Tools PDLP: `python pdlp.py FOLDER TOLERANCE SECONDS` of an arb-gen
instance, for at most so many seconds.

Runs in the environment of the peers; prints {"objective", "bound", "cpu_seconds", "fractional"} as JSON.
"""

import json
import resource
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from ortools.pdlp import solve_log_pb2, solvers_pb2
from ortools.pdlp.python import pdlp
from scipy import sparse


def limits(path: Path) -> dict:
    """The YAML that arb-gen writes, read without a YAML library: two levels of `name: value`, and lists of names."""
    import yaml

    return yaml.safe_load(path.read_text())


def programme(folder: Path) -> pdlp.QuadraticProgram:
    """max value·x under caps, groups, capacities, maxima and minima, 0 ≤ x ≤ 1."""
    table, people = pq.read_table(folder / "candidates.parquet"), pq.read_table(folder / "customers.parquet")
    told = limits(folder / "limits.yaml")
    customer = table["customer_id"].to_numpy()
    offer = np.array([int(name[1:]) for name in table["offer_id"].to_pylist()])
    names = list(told["channels"])
    channel = np.array([names.index(name) for name in table["channel"].to_pylist()])
    value = table["value"].to_numpy() - np.array([told["channels"][name]["cost"] for name in names])[channel]
    group = np.arange(40)
    for members in told["exclusive_groups"]:
        group[[int(name[1:]) for name in members]] = int(members[0][1:])
    count, columns = len(value), np.arange(len(value))
    _, pair = np.unique(customer * 40 + group[offer], return_inverse=True)
    cap = people["cap"].to_numpy().astype(float)
    campaigns = [told["campaigns"][f"o{at:02d}"] for at in range(40)]
    rows = np.concatenate([customer, len(cap) + pair, len(cap) + pair.max() + 1 + channel])
    first = len(cap) + pair.max() + 1 + len(names)
    rows = np.concatenate([rows, first + offer])
    matrix = sparse.csc_matrix((np.ones(4 * count), (rows, np.tile(columns, 4))), shape=(first + 40, count))
    upper = np.concatenate([
        cap, np.ones(pair.max() + 1), [told["channels"][name]["capacity"] for name in names],
        [one["max"] for one in campaigns],
    ])  # fmt: skip
    lower = np.full(first + 40, -np.inf)
    lower[first:] = [one.get("min", 0) for one in campaigns]
    made = pdlp.QuadraticProgram()
    made.objective_vector = -value
    made.constraint_matrix = matrix
    made.constraint_lower_bounds, made.constraint_upper_bounds = lower, upper
    made.variable_lower_bounds, made.variable_upper_bounds = np.zeros(count), np.ones(count)
    return made


def main() -> None:
    """Solve and tell."""
    made = programme(Path(sys.argv[1]))
    parameters = solvers_pb2.PrimalDualHybridGradientParams()
    tolerance = float(sys.argv[2])
    criteria = parameters.termination_criteria
    criteria.simple_optimality_criteria.eps_optimal_relative = tolerance
    criteria.simple_optimality_criteria.eps_optimal_absolute = tolerance
    criteria.time_sec_limit = float(sys.argv[3])
    parameters.num_threads = 1
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = pdlp.primal_dual_hybrid_gradient(made, parameters)
    after = resource.getrusage(resource.RUSAGE_SELF)
    picked = np.asarray(result.primal_solution)
    print(
        json.dumps(
            {
                "objective": float(-np.asarray(made.objective_vector) @ picked),
                "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
                "fractional": int(np.sum((picked > 1e-3) & (picked < 1 - 1e-3))),
                "reason": solve_log_pb2.TerminationReason.Name(result.solve_log.termination_reason),
            }
        )
    )


if __name__ == "__main__":
    main()
