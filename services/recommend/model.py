"""The ONNX session: the one form of a model that serves and scores. Nothing is loaded whose checksum differs."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.recommend.domain.product import Flags, Places, Singles
from services.recommend.domain.rf_cf import Forest

onnxruntime.set_default_logger_severity(3)


class WrongHash(Exception):
    """The file is not the one that the registry speaks of; it is never loaded."""


@dataclass(frozen=True)
class Ranking:
    """Best first, shape (n, p): product indices, and scores (UNFIT for what is owned or not eligible)."""

    ids: Places
    scores: Singles


class Graph:
    """One graph, ready to run; safe to use from several threads, each run on one core."""

    def __init__(self, content: bytes, sha256: str) -> None:
        """Raises WrongHash unless `content` has the checksum `sha256` (hex)."""
        check(content, sha256)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._quick = onnxruntime.RunOptions()
        self._quick.only_execute_path_to_fetches = True  # codes are for callers who speak ONNX and nothing else
        self.sha256 = sha256

    def rank(self, profile: Singles, owned: Flags, eligible: Flags) -> Ranking:
        """Run it: profile (n, f) with NaN for missing, owned and eligible (n, p)."""
        inputs = {"profile": profile, "owned": owned.astype(np.float32), "eligible": eligible}
        ids, scores = self._session.run(["ids", "scores"], inputs, self._quick)
        return Ranking(ids, scores)


def check(content: bytes, sha256: str) -> None:
    """Raise WrongHash unless `content` has the checksum."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WrongHash(f"sha256 is {found}, the registry says {sha256}")


_ARRAYS = ("root", "left", "right", "feature", "threshold", "missing_left", "value")


def pack_trees(forest: Forest) -> bytes:
    """The forest's arrays one after the other as .npy, for explanations; the same forest gives the same bytes."""
    buffer = io.BytesIO()
    for name in _ARRAYS:
        np.lib.format.write_array(buffer, np.ascontiguousarray(getattr(forest, name)), allow_pickle=False)
    return buffer.getvalue()


def unpack_trees(content: bytes, sha256: str) -> Forest:
    """The forest that was packed. Raises WrongHash."""
    check(content, sha256)
    buffer = io.BytesIO(content)
    arrays: Sequence[npt.NDArray[np.generic]] = [np.lib.format.read_array(buffer, allow_pickle=False) for _ in _ARRAYS]
    return Forest(**dict(zip(_ARRAYS, arrays, strict=True)))  # type: ignore[arg-type]
