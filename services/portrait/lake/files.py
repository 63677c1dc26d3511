"""Files by URL (`file://`, `s3://`): read whole and checked, or written under a temporary name and then renamed."""

import contextlib
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from services.kit import lake
from services.kit.lake import Damaged
from services.portrait.domain.run import LakeFile

_ROW_GROUP = 65_536
_LOCAL = "file://"


class Lake:
    """The lake below one URL, for what portrait writes; what others wrote is read by its own URI."""

    def __init__(self, url: str) -> None:
        self._files, self._root = lake.located(url.rstrip("/"))
        self._url = Path(self._root).as_uri() if url.startswith(_LOCAL) else url.rstrip("/")

    @property
    def url(self) -> str:
        """Where it lies, without a slash at the end."""
        return self._url

    def write(self, path: str, table: pa.Table, bucket: int) -> LakeFile:
        """Write a table as Parquet (zstd) at `path` below the URL; a reader sees nothing or the whole file. Words that
        come as numbers into their distinct values are written as they are, and read as words."""
        sink = io.BytesIO()
        words = [name for name in table.column_names if not pa.types.is_primitive(table.schema.field(name).type)]
        pq.write_table(
            table, sink, compression="zstd", row_group_size=_ROW_GROUP, use_dictionary=words, store_schema=False
        )
        data = sink.getvalue()
        target = f"{self._root}/{path}"
        with self._opened(f"{target}.part") as stream:
            stream.write(data)
        self._files.move(f"{target}.part", target)
        return LakeFile(f"{self._url}/{path}", table.num_rows, hashlib.sha256(data).hexdigest(), bucket)

    def _opened(self, target: str) -> pa.NativeFile:
        """A file to be written, its folder made when it is missing."""
        try:
            return self._files.open_output_stream(target)
        except FileNotFoundError:
            self._files.create_dir(target.rpartition("/")[0], recursive=True)
            return self._files.open_output_stream(target)


def there(file: LakeFile) -> bool:
    """Whether a file lies where it is said to."""
    files, path = lake.located(file.uri)
    return bool(files.get_file_info(path).is_file)


def remove(file: LakeFile) -> None:
    """Delete a file; one that is not there is none to delete."""
    files, path = lake.located(file.uri)
    with contextlib.suppress(FileNotFoundError):
        files.delete_file(path)


def read(file: LakeFile, columns: Sequence[str] | None = None, dictionaries: Sequence[str] = ()) -> pa.Table:
    """The columns of a file, or all; raises Damaged unless checksum and row count are the manifest's. Columns named by
    `dictionaries` come as numbers into their distinct values."""
    table = pq.read_table(
        pa.BufferReader(lake.content(file.uri, file.sha256)),
        columns=list(columns) if columns else None,
        read_dictionary=list(dictionaries) or None,
    )
    if table.num_rows != file.rows:
        raise Damaged(f"{file.uri} has {table.num_rows} rows, its manifest says {file.rows}")
    return table


def column_names(file: LakeFile) -> list[str]:
    """The names of a file's columns."""
    files, path = lake.located(file.uri)
    return list(pq.read_schema(path, filesystem=files).names)


def read_rows(file: LakeFile, column: str, value: int, columns: Sequence[str]) -> pa.Table:
    """The rows of a file where `column` is `value`; only the row groups that may hold it are read."""
    files, path = lake.located(file.uri)
    return pq.read_table(path, filesystem=files, columns=list(columns), filters=[(column, "=", value)])
