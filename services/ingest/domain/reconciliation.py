"""Whether what arrived is what was sent: the control file, and the rule source = loaded + rejected."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from services.ingest.domain import contract, lines
from services.ingest.domain.delivery import Problem
from services.ingest.domain.feed import TOTAL, Column, Control, Feed, Type

_CHECKSUM_LENGTHS = {"md5": 32, "sha256": 64}
LONGEST_CONTROL = 4096
"""Bytes. What is longer is no control file."""

EVENT_ID_REUSED = "EVENT_ID_REUSED"
OF_THE_ROWS = frozenset({"COLUMNS_MISSING", "ENCODING_BROKEN", "REJECTS_OVER_THRESHOLD", "CONTROL_TOTAL_WRONG"})
"""Why a delivery is held after its rows were looked at; the same bytes under the same contract are held again."""


@dataclass(frozen=True)
class Measured:
    """A file as it lies there: `lines` counts its lines, a last one without a line feed too.

    `size` and the checksums are those of the file as it was sent, the others those of its content. `longest_line` is
    right when it is more than 1 MiB; shorter lines are not measured one by one. `fault` says why a compressed file
    could not be expanded.
    """

    size: int
    lines: int
    md5: str
    sha256: str
    holds_nul: bool
    longest_line: int
    fault: Problem | None = None


@dataclass(frozen=True)
class Stated:
    """What the control file says; None for what its format does not hold."""

    rows: int
    file_name: str | None = None
    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    totals: Mapping[str, int] = field(default_factory=dict)


def read_control(content: bytes, control: Control) -> Stated | Problem:
    """What a control file says: one line of the contract's fields."""
    try:
        text = content.decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        return _invalid("it is not plain ASCII")
    parts = [part.strip() for part in text.split(control.delimiter)]
    if "\n" in text or len(parts) != len(control.fields):
        return _invalid(f"it must be one line of {len(control.fields)} fields: {', '.join(control.fields)}")
    said = dict(zip(control.fields, parts, strict=True))
    for name in ("rows", "bytes"):
        if name in said and not (said[name].isascii() and said[name].isdigit() and len(said[name]) < 16):
            return _invalid(f"{name} is not a whole number")
    for name, length in _CHECKSUM_LENGTHS.items():
        if name in said and not (len(said[name]) == length and set(said[name].lower()) <= set("0123456789abcdef")):
            return _invalid(f"{name} is not {length} hexadecimal digits")
    totals = {name: said[f"{TOTAL}{name}"] for name in control.totals}
    for name, total in totals.items():
        if not re.fullmatch(r"-?[0-9]{1,18}", total):
            return _invalid(f"the total of {name} is not a whole number")
    return Stated(
        totals={name: int(total) for name, total in totals.items()},
        rows=int(said["rows"]),
        file_name=said.get("file_name"),
        bytes=int(said["bytes"]) if "bytes" in said else None,
        md5=said["md5"].lower() if "md5" in said else None,
        sha256=said["sha256"].lower() if "sha256" in said else None,
    )


def compare(file_name: str, measured: Measured, stated: Stated, *, header: bool) -> list[Problem]:
    """Everything in which the file is not what its control file says; empty when they agree."""
    problems = []
    rows = source_rows(measured, header=header)
    if measured.fault is not None:
        return [measured.fault]
    if stated.file_name not in (None, file_name):
        problems.append(_invalid("it names another file; send the control file that belongs to this one"))
    if stated.bytes is not None and stated.bytes != measured.size:
        message = f"the control file says {stated.bytes} bytes, the file has {measured.size}; send it again whole"
        problems.append(Problem("SIZE_WRONG", message))
    if stated.rows != rows:
        message = f"the control file says {stated.rows} rows, the file has {rows}; send it again whole"
        problems.append(Problem("ROW_COUNT_WRONG", message))
    if stated.md5 not in (None, measured.md5) or stated.sha256 not in (None, measured.sha256):
        message = "the file's checksum is not the one in its control file; it was damaged or changed on the way"
        problems.append(Problem("CHECKSUM_WRONG", message))
    return problems


def usable(measured: Measured, *, header: bool) -> list[Problem]:
    """What is wrong with a file that agrees with its control file, before any row is looked at."""
    if measured.fault is not None:
        return [measured.fault]
    if source_rows(measured, header=header) == 0:
        return [Problem("EMPTY_FILE", "the file holds no row; send one only when there is something to say")]
    if measured.holds_nul:
        message = "the file holds NUL bytes: it is binary, or in an encoding that is not the contract's"
        return [Problem("ENCODING_BROKEN", message)]
    if measured.longest_line > lines.LONGEST_LINE:
        message = f"a line is longer than {lines.LONGEST_LINE} bytes: the format is not the contract's"
        return [Problem("LINE_TOO_LONG", message)]
    return []


def source_rows(measured: Measured, *, header: bool) -> int:
    """Rows that the supplier sent: every line but the header."""
    return max(measured.lines - header, 0)


@dataclass
class Tally:
    """Counts rows as they are judged. `first_lines` keeps the first line of each reason, for the supplier."""

    loaded: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first_lines: dict[str, int] = field(default_factory=dict)
    totals: Counter[str] = field(default_factory=Counter)

    def sum(self, rows: pl.DataFrame, columns: Sequence[str]) -> None:
        """Add up columns of text rows for the control totals; what is no whole number adds nothing."""
        for name in columns:
            self.totals[name] += int(rows[name].cast(pl.Int64, strict=False).sum())

    def differences(self, stated: Stated) -> list[Problem]:
        """Control totals that are not those of the rows that were sent."""
        return [
            Problem(
                "CONTROL_TOTAL_WRONG",
                f"by the control file {name} adds up to {total}, by the rows to {self.totals[name]}; send it again",
            )
            for name, total in stated.totals.items()
            if self.totals[name] != total
        ]

    def add(self, loaded: int, bad: pl.DataFrame) -> None:
        """Count the rows of one batch: how many were good, and the others with their `line` and `reason`."""
        self.loaded += loaded
        for reason, count, line in bad.group_by("reason").agg(pl.len(), first=pl.min("line")).sort("first").rows():
            self.reasons[reason] += count
            self.first_lines.setdefault(reason, line)

    @property
    def rejected(self) -> int:
        """Rejected rows so far."""
        return self.reasons.total()

    def verdict(self, feed: Feed, source: int) -> Problem | None:
        """Why the delivery has to be quarantined whole, if it has to. Sound before the end too: counts only grow."""
        allowed = feed.threshold.allowed(source)
        if self.rejected <= allowed:
            return None
        if 2 * self.reasons[lines.COLUMN_COUNT] > self.loaded + self.rejected:
            where = f"the first is line {self.first_lines[lines.COLUMN_COUNT]}"
            return Problem("COLUMNS_MISSING", f"most rows do not have {len(feed.columns)} columns; {where}")
        if self.reasons[lines.UNDECODABLE] > allowed:
            message = f"{self._count(lines.UNDECODABLE)} are not {feed.encoding}; {allowed} are allowed"
            return Problem("ENCODING_BROKEN", message)
        worst = ", ".join(f"{reason} in {self._count(reason)}" for reason, _ in self.reasons.most_common(5))
        return Problem("REJECTS_OVER_THRESHOLD", f"{self.rejected} rows are bad, {allowed} are allowed: {worst}")

    def _count(self, reason: str) -> str:
        count = self.reasons[reason]
        return f"{count} row{'s' if count != 1 else ''} (first line {self.first_lines[reason]})"


def explain(feed: Feed, column_name: str, reason: str) -> str:
    """A sentence for the supplier about one rejected row. It says the rule, never the value."""
    if reason == lines.UNDECODABLE:
        return f"the row's bytes are not {feed.encoding}"
    if reason == lines.COLUMN_COUNT:
        return f"the row does not have {len(feed.columns)} columns"
    if reason == lines.LINE_BROKEN:
        return "a carriage return stands within the row"
    if reason == contract.DUPLICATE:
        return f"an earlier row of the file has the same {', '.join(feed.unique)}"
    column = next((each for each in feed.columns if each.name == column_name), None)
    return f"{column_name} {_RULE_TEXTS[reason](column)}" if column else reason


def _wanted(column: Column) -> str:
    texts: Mapping[Type, str] = {
        Type.INT: "is not a whole number",
        Type.DECIMAL: "is not a decimal number",
        Type.MSISDN: "is not a telephone number of 11 digits",
        Type.PARTY: "is not a number as dialled or of a device",
    }
    return texts.get(column.type) or f"is not a time in the layout {column.layout}"


def _range(column: Column) -> str:
    parts = [
        (word, bound) for word, bound in (("at least", column.least), ("at most", column.most)) if bound is not None
    ]
    return f"must be {' and '.join(f'{word} {bound:.15g}' for word, bound in parts)}"


_RULE_TEXTS: Mapping[str, Callable[[Column], str]] = {
    contract.REQUIRED_MISSING: lambda _: "must not be empty",
    contract.TYPE_WRONG: _wanted,
    contract.CODE_UNKNOWN: lambda column: f"is not one of {', '.join(column.codes or ())}",
    contract.OUT_OF_RANGE: _range,
    contract.PATTERN_WRONG: lambda column: f"does not look like {column.pattern}",
    contract.TOO_LONG: lambda column: f"is longer than {column.longest} characters",
    contract.CLEAR_NUMBER: lambda _: "holds a telephone number; an event's id must not",
    contract.OUT_OF_PERIOD: lambda _: "is not in the period of the file",
    contract.NOT_AFTER: lambda column: f"is not after {column.after}",
    contract.REFERENCE_UNKNOWN: lambda column: f"is not known in {column.references}",
    EVENT_ID_REUSED: lambda _: "was told before with another content; a correction needs an id of its own",
}


def _invalid(why: str) -> Problem:
    return Problem("CONTROL_FILE_INVALID", f"the control file cannot be used: {why}")
