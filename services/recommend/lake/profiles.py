"""The customers of a run packed into one immutable file that is memory-mapped: what Recommend reads of a profile.

    "LCPROFS1" | size of the header: uint64 | header (JSON) | keys: int64[n] | org: int32[n] | values: float32[n, f]

Keys ascend; every part begins at a multiple of 64; all numbers are little-endian. The system of record stays Postgres.
"""

import hashlib
import json
import mmap
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from services.kit import lake as kit
from services.recommend.domain.product import Ints, Singles
from services.recommend.domain.snapshot import File
from services.recommend.lake import Features, Lake

_MAGIC = b"LCPROFS1"
_HEAD = struct.Struct("<8sQ")
_LOCAL = "file://"
_ALIGNED = 64


class PackDamaged(ValueError):
    """The file is no whole pack, or not the one that the registry speaks of."""


@dataclass(frozen=True)
class Pack:
    """Customers by key: `org` (n,) places in `orgs`, `values` (n, f) with NaN for missing; all mapped, none read."""

    run_id: str
    keys: Ints
    org: npt.NDArray[np.int32]
    orgs: tuple[str, ...]
    values: Singles

    def rows(self, keys: Ints) -> Ints:
        """Where each customer stands; -1 for one who is not there."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, -1)


def write(lake: Lake, run_id: str, features: Features, kind: str = "profiles") -> File:
    """Publish the pack of a run, or of another thing that is told of customers. Blocks."""
    orgs, org = np.unique(features.org_id.astype(str), return_inverse=True)
    header = {"run_id": run_id, "orgs": orgs.tolist(), "customers": len(features.values), "width": len(features.names)}
    told = json.dumps(header, ensure_ascii=False).encode()
    parts = [features.customer_key.astype("<i8"), org.astype("<i4"), features.values.astype("<f4")]
    pieces = [_HEAD.pack(_MAGIC, len(told)) + told, *(np.ascontiguousarray(part).tobytes() for part in parts)]
    content = b"".join(piece + b"\0" * (-len(piece) % _ALIGNED) for piece in pieces)
    uri = lake.put(f"recommend/{kind}/{run_id}.pack", content)
    return File(uri, len(features.values), hashlib.sha256(content).hexdigest())


def opened(file: File) -> Pack:
    """A pack, memory-mapped; one that does not lie on this machine is fetched first. Blocks. Raises PackDamaged."""
    if file.uri.startswith(_LOCAL):
        with Path(unquote(file.uri.removeprefix(_LOCAL))).open("rb") as stream:
            return _mapped(stream, file.sha256)
    files, path = kit.located(file.uri)
    with tempfile.TemporaryFile() as copy:
        with files.open_input_stream(path) as source:
            shutil.copyfileobj(source, copy, 1 << 20)
        copy.flush()
        return _mapped(copy, file.sha256)


def _mapped(stream: BinaryIO, sha256: str) -> Pack:
    buffer = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    if hashlib.sha256(buffer).hexdigest() != sha256 or buffer[:8] != _MAGIC:
        raise PackDamaged("a pack of profiles is not what the registry says")
    _, size = _HEAD.unpack_from(buffer)
    header = json.loads(buffer[_HEAD.size : _HEAD.size + size])
    customers, width, at = header["customers"], header["width"], _next(_HEAD.size + size)
    keys = np.frombuffer(buffer, "<i8", customers, at)
    at = _next(at + keys.nbytes)
    org = np.frombuffer(buffer, "<i4", customers, at)
    at = _next(at + org.nbytes)
    values = np.frombuffer(buffer, "<f4", customers * width, at).reshape(customers, width)
    return Pack(header["run_id"], keys, org, tuple(header["orgs"]), values)


def _next(at: int) -> int:
    return at + -at % _ALIGNED
