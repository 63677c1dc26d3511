"""Packs in the lake, and what else is read of a run's tables for the index and the whole portrait."""

import hashlib
import mmap
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyroaring import BitMap

from services.kit import lake
from services.portrait.domain.audience import AudienceInvalid
from services.portrait.domain.pack import Pack, write
from services.portrait.domain.run import LakeFile
from services.portrait.lake.files import read

_LOCAL = "file://"


def write_pack(root: str, path: str, values: Iterable[tuple[int, bytes]]) -> LakeFile:
    """Write a pack at `path` below the lake's URL; a reader sees nothing or the whole file."""
    with tempfile.TemporaryFile() as spool:
        rows = write(values, spool)
        spool.seek(0)
        sha256 = hashlib.file_digest(spool, "sha256").hexdigest()
        spool.seek(0)
        files, base = lake.located(root.rstrip("/"))
        target = f"{base}/{path}"
        files.create_dir(target.rpartition("/")[0], recursive=True)
        with files.open_output_stream(f"{target}.part") as stream:
            shutil.copyfileobj(spool, stream, 1 << 20)
        files.move(f"{target}.part", target)
    url = Path(base).as_uri() if root.startswith(_LOCAL) else root.rstrip("/")
    return LakeFile(f"{url}/{path}", rows, sha256, -1)


def open_pack(file: LakeFile) -> Pack:
    """A pack, memory-mapped; one that does not lie on this machine is fetched first, into a file without a name."""
    if file.uri.startswith(_LOCAL):
        with Path(unquote(file.uri.removeprefix(_LOCAL))).open("rb") as stream:
            return _mapped(stream)
    files, path = lake.located(file.uri)
    with tempfile.TemporaryFile() as copy:
        with files.open_input_stream(path) as stream:
            shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
        return _mapped(copy)


def feature(files: Sequence[LakeFile], name: str) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    """(keys, values) of a feature, NaN where it is not known; raises AudienceInvalid for an unknown name."""
    known = _columns(files[0]) if files else []
    if name not in known or name in ("customer_key", "org_id"):
        raise AudienceInvalid(name, "the run has no such feature")
    tables = [read(file, ["customer_key", name]) for file in files]
    whole = pa.concat_tables(tables)
    return whole["customer_key"].to_numpy().astype(np.uint32), whole[name].to_numpy().astype(np.float32)


def bearers(files: Mapping[str, LakeFile]) -> dict[tuple[str, str], BitMap]:
    """Who of one bucket bears each (tag, value); (code, "") are all bearers of a tag; @all and @org everybody."""
    everybody = read(files["features"], ["customer_key", "org_id"])
    found = {("@all", ""): _keys(everybody["customer_key"])}
    for org_id in pc.unique(everybody["org_id"]).to_pylist():
        found["@org", org_id or ""] = _keys(everybody.filter(pc.equal(everybody["org_id"], org_id))["customer_key"])
    tags = read(files["tags"], ["customer_key", "code", "value"])
    grouped = tags.group_by(["code", "value"]).aggregate([("customer_key", "list")])
    for row in range(grouped.num_rows):
        code, value = grouped["code"][row].as_py(), grouped["value"][row].as_py() or ""
        members = _keys(grouped["customer_key_list"][row].values)
        found[code, value] = found.get((code, value), BitMap()) | members
        if value:
            found[code, ""] = found.get((code, ""), BitMap()) | members
    return found


def best_offers(file: LakeFile, most: int) -> dict[int, list[tuple[str, float, int]]]:
    """(product_id, score, rank) of the best products of each customer in one file of a matrix, by rank."""
    table = read(file, ["customer_key", "product_id", "score", "rank"])
    table = table.filter(pc.less_equal(table["rank"], most))
    found: dict[int, list[tuple[str, float, int]]] = defaultdict(list)
    columns = (table[name].to_pylist() for name in ("customer_key", "product_id", "score", "rank"))
    for key, product_id, score, rank in zip(*columns, strict=True):
        found[key].append((product_id, score, rank))
    return {key: sorted(offers, key=lambda offer: offer[2]) for key, offers in found.items()}


def _columns(file: LakeFile) -> list[str]:
    files, path = lake.located(file.uri)
    return list(pq.read_schema(path, filesystem=files).names)


def _keys(column: pa.Array) -> BitMap:
    return BitMap(np.ascontiguousarray(column.to_numpy(zero_copy_only=False), dtype=np.uint32))


def _mapped(stream: BinaryIO) -> Pack:
    return Pack(memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))
