"""Rows that were sent twice, under two sequences of one period: found by signatures, without keeping the rows.

A signature is the bottom-k sketch of a delivery's rows: the K smallest of their distinct 64-bit hashes (Cohen 1997,
"Size-estimation framework with applications to transitive closure and reachability"). Among the K smallest of two
signatures together, the share that is in both estimates the Jaccard similarity J of the two sets of rows, with a
standard error of sqrt(J (1 - J) / K); of files with fewer rows than K it is exact.
"""

from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from services.ingest.domain.delivery import Problem

K = 1024
OVERLAPPING = "OVERLAPPING"
"""Note of a loaded delivery: some of its rows were also sent in another one of the same period."""
_LEAST_SHARE = 0.05
_LEAST_ROWS = 20
_SEED = 0x9E3779B9

Hashes = npt.NDArray[np.uint64]


@dataclass
class Signature:
    """Gathers the smallest hashes, batch by batch. The hash is that of Polars: stable within one version of it."""

    _smallest: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))

    def add(self, text: bytes) -> None:
        """Take in rows, line by line: hashed as lines, which costs a tenth of hashing their columns."""
        if not text:
            return
        rows = pl.read_csv(text, separator="\0", has_header=False, quote_char=None, schema={"row": pl.String()})
        hashes = rows.to_series().hash(_SEED).to_numpy()
        if len(self._smallest) == K:
            hashes = hashes[hashes < self._smallest[-1]]
        if len(hashes) > 4 * K:  # sorting all of them would cost more than reading the file
            lowest = np.unique(np.partition(hashes, 4 * K)[: 4 * K])
            hashes = lowest if len(lowest) >= K else hashes
        self._smallest = np.union1d(self._smallest, hashes)[:K]

    def value(self) -> bytes:
        """The signature, to be kept; little-endian 64-bit words, ascending."""
        return bytes(_version() + self._smallest.astype("<u8").tobytes())


def share(one: bytes, other: bytes) -> float:
    """About which share of the rows of the smaller of two sets is in the other; 0 for what cannot be compared."""
    if one[:8] != other[:8] or len(one) <= 8 or len(other) <= 8:
        return 0.0
    a, b = (np.frombuffer(each[8:], dtype="<u8") for each in (one, other))
    if len(a) < K or len(b) < K:  # at least one of them is whole
        small, large = (a, b) if len(a) <= len(b) else (b, a)
        reach = large[-1] if len(large) == K else np.iinfo(np.uint64).max
        seen = small[small <= reach]
        return float(np.isin(seen, large).mean()) if len(seen) else 0.0
    lowest = np.union1d(a, b)[:K]
    jaccard = float((np.isin(lowest, a) & np.isin(lowest, b)).mean())
    sizes = sorted(float(np.iinfo(np.uint64).max) * K / float(each[-1]) for each in (a, b))
    return min(1.0, jaccard * (sizes[0] + sizes[1]) / (1 + jaccard) / sizes[0])


def note(about: float, rows: int, other_name: str, period: date) -> Problem | None:
    """What to say of an overlap; None when it is too small to be more than the same thing twice."""
    if about < _LEAST_SHARE or about * rows < _LEAST_ROWS:
        return None
    message = f"about {about:.0%} of the rows of the smaller file were also sent in {other_name} of {period}"
    return Problem(OVERLAPPING, message)


def _version() -> bytes:
    """Signatures of two versions of Polars cannot be compared."""
    return pl.__version__.encode()[:8].ljust(8)
