"""Operator files: pipe-delimited, GB18030, no header; a final name means complete, the control file comes last."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

PREFIX: Mapping[str, str] = {
    "organisations": "ORG",
    "staff": "STAFF",
    "cells": "CELL",
    "places": "PLACE",
    "cell_places": "CELLPLACE",
    "products": "PRODUCT",
    "customers": "CUST",
    "bills": "BILL",
    "orders": "ORDER",
    "consent": "CONSENT",
    "city_events": "CITYEVT",
    "fields": "FIELD",
    "signalling": "SIGNAL",
    "business_events": "BIZEVT",
    "feedback": "FEEDBACK",
    "place_classes": "PLACECLASS",
    "map_layers": "MAPLAYER",
    "coarse_portrait": "VGOP",
    "product_activity": "PRODACT",
    "complaints": "COMPLAINT",
    "terminal_changes": "TERMCHG",
    "recharges": "RECHARGE",
    "classed_lines": "CLASSLINE",
    "call_details": "CALL",
    "data_details": "DATA",
    "web_logs": "WEBLOG",
    "app_logs": "APPLOG",
    "plans": "PLAN",
    "terminals": "TERMINAL",
    "agreements": "AGREE",
}
FIRST_DIRTY, DIRTY_STEP = 4, 5


class CityError(Exception):
    """Something the user can put right; the message says what."""


@dataclass(frozen=True)
class Dirt:
    """How a good row is spoiled: `field` (from 0) becomes `value`; without a field, `value` is appended to the row."""

    reason: str
    field: int | None
    value: bytes


@dataclass(frozen=True)
class PlantedRow:
    """A dirty row as it stands in a file; lines count from 1."""

    line: int
    reason: str


@dataclass(frozen=True)
class Delivered:
    """A finished file: `rows` counts every line, the dirty ones too."""

    feed: str
    name: str
    rows: int
    size: int
    md5: str
    dirty: tuple[PlantedRow, ...]


def encode(frame: pl.DataFrame) -> bytes:
    """The rows of a frame as they stand in an operator file."""
    return frame.write_csv(include_header=False, separator="|", quote_style="never").encode("gb18030")


class FeedFile:
    """One operator file being written; as a context manager it is delivered on success and removed on failure."""

    def __init__(self, folder: Path, feed: str, period: date, sequence: int = 1, dirt: Sequence[Dirt] = ()) -> None:
        self.feed = feed
        self.name = f"{PREFIX[feed]}_{period:%Y%m%d}_{sequence:03d}.TXT"
        self._path = folder / self.name
        self._part = folder / (self.name + ".part")
        self._file = self._part.open("wb")
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._rows = self._size = 0
        self._dirt = list(dirt)
        self._planted: list[PlantedRow] = []

    @property
    def rows(self) -> int:
        """How many rows were written so far."""
        return self._rows

    def write(self, data: bytes | memoryview, rows: int) -> None:
        """Appends rows, each ending with a line feed; dirty rows go between the first of them."""
        if self._dirt and rows:
            data, rows = self._spoil(bytes(data), rows)
        self._file.write(data)
        self._md5.update(data)
        self._rows += rows
        self._size += len(data)

    def write_frame(self, frame: pl.DataFrame) -> None:
        """Appends the rows of a frame."""
        self.write(encode(frame), frame.height)

    def _spoil(self, data: bytes, rows: int) -> tuple[bytes, int]:
        """Puts a broken copy of the first row at lines 4, 9, 14, … (at the end of a shorter file)."""
        model = data[: data.index(b"\n")].split(b"|")
        out, at, line = [], 0, 1
        for number, dirt in enumerate(self._dirt):
            while at < len(data) and line < FIRST_DIRTY + number * DIRTY_STEP:
                after = data.index(b"\n", at) + 1
                out.append(data[at:after])
                at, line = after, line + 1
            fields = [*model, dirt.value] if dirt.field is None else list(model)
            if dirt.field is not None:
                fields[dirt.field] = dirt.value
            out.append(b"|".join(fields) + b"\n")
            self._planted.append(PlantedRow(line, dirt.reason))
            line += 1
        added, self._dirt = len(self._dirt), []
        return b"".join([*out, data[at:]]), rows + added

    def deliver(self) -> Delivered:
        """Gives the file its name, and after that its control file."""
        self._file.close()
        self._part.rename(self._path)
        digest = self._md5.hexdigest()
        control = self._path.with_suffix(".CHK")
        part = control.with_suffix(".CHK.part")
        part.write_bytes(f"{self.name}|{self._rows}|{digest}|{self._size}\n".encode("ascii"))
        part.rename(control)
        return Delivered(self.feed, self.name, self._rows, self._size, digest, tuple(self._planted))

    def discard(self) -> None:
        """Removes what was written so far."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.discard()


def deliver(
    folder: Path, feed: str, period: date, frame: pl.DataFrame, dirt: Sequence[Dirt] = (), sequence: int = 1
) -> Delivered:
    """Writes a whole feed file from one frame."""
    with FeedFile(folder, feed, period, sequence, dirt) as file:
        file.write_frame(frame)
        return file.deliver()
