"""A file of the lake, read whole and held against the manifest that names it. For services that carry pyarrow."""

import hashlib
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

_LOCAL = "file://"


class Damaged(Exception):
    """A file of the lake is not what its manifest says."""


def content(uri: str, sha256: str) -> pa.Buffer:
    """The bytes of a file. Blocking, so to be called off the event loop. Raises Damaged and FileNotFoundError."""
    files, path = located(uri)
    with files.open_input_file(path) as stream:
        data = stream.read_buffer()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Damaged(f"{uri} does not have the checksum of its manifest")
    return data


def located(uri: str) -> tuple[fs.FileSystem, str]:
    """File system and path of a URI; a local one may be percent-encoded or not."""
    if uri.startswith(_LOCAL):
        return fs.LocalFileSystem(), unquote(uri.removeprefix(_LOCAL))
    files, path = fs.FileSystem.from_uri(uri)
    return files, path
