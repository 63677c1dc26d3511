"""The ONNX session of a latent tag. Nothing is loaded whose checksum differs."""

import hashlib

import numpy as np
import numpy.typing as npt
import onnxruntime

onnxruntime.set_default_logger_severity(3)
_CHUNK = 16_384


class WrongHash(Exception):
    """The file is not the one that the registry speaks of; it is never loaded."""


class Graph:
    """One graph, ready to run; safe to use from several threads, each run on one core."""

    def __init__(self, content: bytes, sha256: str) -> None:
        """Raises WrongHash unless `content` has the checksum `sha256` (hex)."""
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise WrongHash(f"sha256 is {found}, the registry says {sha256}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def probabilities(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Probabilities (n, classes) of profiles (n, features) with NaN for missing."""
        parts = [
            self._session.run(["probability"], {"profile": values[start : start + _CHUNK].astype(np.float32)})[0]
            for start in range(0, max(len(values), 1), _CHUNK)
        ]
        told: npt.NDArray[np.float64] = np.concatenate(parts)
        return told
