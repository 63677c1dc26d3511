"""An auction's files as arrays: read in parts, each column in its smallest form, so that 120 million candidates fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from services.contact.domain.arbitration.problem import MOST_KINDS, NO_LIMIT, Ints, Problem, Small, from_columns
from services.contact.domain.policy import UNLIMITED
from services.contact.offline.limits import Limits, WrongInput

_ROWS = 1 << 20

Told = Callable[[int, int], None]
"""Hears of progress: rows read, rows in all (0: not known)."""


@dataclass(frozen=True)
class Instance:
    """A problem and the names behind its numbers; a kind [T] is of `offer_at` and `medium_at`, on `day_at`."""

    problem: Problem
    customers: pa.Array
    offers: pa.Array
    media: pa.Array
    days: pa.Array | None
    offer_at: Small
    medium_at: Small
    day_at: Small
    lines: tuple[str, ...]
    line_of: Small


@dataclass
class _Names:
    """The distinct values of a column in the order of their first row, and their numbers."""

    name: str
    values: list[Any] = field(default_factory=list)
    numbers: dict[Any, int] = field(default_factory=dict)
    type: pa.DataType | None = None

    def codes(self, column: pa.Array, first_row: int) -> Small:
        """The column as numbers. Raises WrongInput for an empty value."""
        if column.null_count:
            row = first_row + pc.index(column.is_null(), True).as_py() + 1
            raise WrongInput(f"candidates: row {row}: {self.name} is empty")
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        self.type = self.type or coded.type.value_type
        numbers = np.zeros(max(len(coded.dictionary), 1), np.int32)
        for at, value in enumerate(coded.dictionary.to_pylist()):
            if value not in self.numbers:
                self.numbers[value] = len(self.values)
                self.values.append(value)
            numbers[at] = self.numbers[value]
        taken: Small = numbers[coded.indices.to_numpy()]
        return taken

    def ranked(self) -> tuple[list[Any], Ints]:
        """The values in order, and the rank of each number."""
        order = sorted(range(len(self.values)), key=self.values.__getitem__)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return [self.values[at] for at in order], rank


@dataclass
class _Column:
    """A column that grows: in one piece, so that what is read in between leaves no holes in memory."""

    kind: type[np.generic]
    data: "np.typing.NDArray[Any]" = field(default_factory=lambda: np.empty(0))
    rows: int = 0

    def add(self, more: "np.typing.NDArray[Any]", total: int) -> None:
        """Append; `total` is how many there will be, 0 when nobody knows."""
        end = self.rows + len(more)
        if end > len(self.data) or self.data.dtype != self.kind:
            grown = np.empty(max(end, total, 2 * len(self.data)), self.kind)
            grown[: self.rows] = self.data[: self.rows]
            self.data = grown
        self.data[self.rows : end] = more
        self.rows = end

    @property
    def all(self) -> "np.typing.NDArray[Any]":
        """What was added."""
        return self.data[: self.rows]


@dataclass
class _Candidates:
    """What was read so far, values after the channels' costs; `total` rows will come, 0 when nobody knows."""

    limits: Limits
    total: int = 0
    offers: _Names = field(default_factory=lambda: _Names("offer_id"))
    media: _Names = field(default_factory=lambda: _Names("channel"))
    days: _Names = field(default_factory=lambda: _Names("day"))
    heads: list[pa.Array] = field(default_factory=list)
    lengths: list[Ints] = field(default_factory=list)
    offer: _Column = field(default_factory=lambda: _Column(np.uint16))
    medium: _Column = field(default_factory=lambda: _Column(np.uint8))
    day: _Column = field(default_factory=lambda: _Column(np.uint16))
    value: _Column = field(default_factory=lambda: _Column(np.float64))

    @property
    def rows(self) -> int:
        """How many candidates."""
        return self.value.rows

    def add(self, batch: pa.RecordBatch) -> None:
        """Read one part."""
        if not batch.num_rows:
            return
        first = self.rows
        medium = self.media.codes(batch["channel"], first)
        self.offer.add(self.offers.codes(batch["offer_id"], first), self.total)
        self.medium.add(medium, self.total)
        if "day" in batch.schema.names:
            self.day.add(self.days.codes(batch["day"], first), self.total)
        if max(len(self.offers.values), len(self.media.values) << 8) > MOST_KINDS:
            raise WrongInput("candidates: more than 65,536 offers, or more than 256 channels")
        try:
            values = batch["value"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            raise WrongInput(f"candidates: value: {error}") from error
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise WrongInput(f"candidates: row {first + int(wrong[0]) + 1}: value is not a number")
        told = [self.limits.channels.get(str(name)) for name in self.media.values]
        self.value.add(values - np.array([one.cost if one else 0.0 for one in told])[medium], self.total)
        customers = batch["customer_id"]
        changed = pc.not_equal(customers[1:], customers[:-1]).fill_null(True).to_numpy(zero_copy_only=False)
        heads = np.concatenate(([0], np.flatnonzero(changed) + 1))
        self.heads.append(customers.take(pa.array(heads)))
        self.lengths.append(np.diff(np.append(heads, batch.num_rows)))


def read(candidates: Path, customers: Path, limits: Limits, told: Told) -> Instance:
    """The instance in these files. Raises WrongInput."""
    pa.set_memory_pool(pa.system_memory_pool())  # gives back what is read and done with
    people = pa.concat_tables(pa.Table.from_batches([part]) for part in _parts(customers, "customers", _PEOPLE, told))
    caps = _caps(people, limits)
    found = _Candidates(limits)

    def heard(rows: int, total: int) -> None:
        found.total = total
        told(rows, total)

    for part in _parts(candidates, "candidates", _BIDS, heard):
        found.add(part)
    customer = _places(found, people["customer_id"])
    return _instance(found, customer, people["customer_id"].combine_chunks(), caps, limits)


_BIDS = ("customer_id", "offer_id", "channel", "value"), ("day",)
_PEOPLE = ("customer_id", "cap"), ("tier",)


def _parts(
    path: Path, what: str, columns: tuple[tuple[str, ...], tuple[str, ...]], told: Told
) -> Iterator[pa.RecordBatch]:
    """The columns of a file in parts; at least one part. Raises WrongInput."""
    needed, optional = columns
    try:
        if path.suffix.lower() == ".csv":
            reader = pa.csv.open_csv(path)
            batches: Iterator[pa.RecordBatch] = iter(reader)
            schema, total = reader.schema, 0
        else:
            schema = pq.read_schema(path)
            coded = [name for name in ("offer_id", "channel") if name in schema.names and _is_text(schema.field(name))]
            file = pq.ParquetFile(path, read_dictionary=coded)
            total = file.metadata.num_rows
            batches = file.iter_batches(_ROWS, columns=[name for name in (*needed, *optional) if name in schema.names])
        missing = [name for name in needed if name not in schema.names]
        if missing:
            raise WrongInput(f"{what}: {path}: missing columns: {', '.join(missing)}")
        chosen = [name for name in (*needed, *optional) if name in schema.names]
        rows = 0
        for batch in batches:
            rows += batch.num_rows
            told(rows, total)
            yield batch.select(chosen)
        if not rows:
            yield pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in chosen]))
    except (OSError, pa.ArrowException) as error:
        raise WrongInput(f"{what}: {path}: {' '.join(str(error).split())}") from error


def _is_text(column: pa.Field) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _caps(people: pa.Table, limits: Limits) -> Small:
    """The cap of each customer: his own, else his tier's, else unlimited. Raises WrongInput."""
    ids, own = people["customer_id"], people["cap"]
    if ids.null_count:
        raise WrongInput(f"customers: row {pc.index(ids.is_null(), True).as_py() + 1}: customer_id is empty")
    if not _ascending(ids) and pc.count_distinct(ids).as_py() != len(ids):
        twice = next(one["values"] for one in pc.value_counts(ids).to_pylist() if one["counts"] > 1)
        raise WrongInput(f"customers: customer_id {twice} comes twice")
    try:
        told = own.cast(pa.float64()).fill_null(-1.0).to_numpy()
    except pa.ArrowException as error:
        raise WrongInput(f"customers: cap: {' '.join(str(error).split())}") from error
    unset = own.is_null().to_numpy()
    wrong = np.flatnonzero(~unset & ~((told >= 0) & (told == np.floor(told))))
    if len(wrong):
        raise WrongInput(f"customers: row {int(wrong[0]) + 1}: cap is not a whole number from 0 on")
    caps = np.minimum(np.where(unset, UNLIMITED, told), UNLIMITED)
    if "tier" in people.column_names and limits.tiers and unset.any():
        tiers = people["tier"].cast(pa.string())
        at = pc.index_in(tiers, value_set=pa.array(list(limits.tiers), pa.string())).fill_null(-1).to_numpy()
        of_tier = np.array([*limits.tiers.values(), UNLIMITED])[at]
        caps = np.where(unset, np.minimum(of_tier, UNLIMITED), caps)
    return caps.astype(np.int32)


def _places(found: _Candidates, customers: pa.ChunkedArray) -> Small:
    """The customer of each candidate, as his place in the customers' file. Raises WrongInput."""
    if not found.heads:
        return np.zeros(0, np.int32)
    heads = pa.chunked_array(found.heads)
    at = _found(heads, customers)
    lengths = np.concatenate(found.lengths)
    if at.null_count:
        first = pc.index(at.is_null(), True).as_py()
        row, name = int(lengths[:first].sum()) + 1, heads[first].as_py()
        raise WrongInput(f"candidates: row {row}: customer_id {name} is not among the customers")
    found.heads.clear()
    found.lengths.clear()
    return np.repeat(at.to_numpy().astype(np.int32), lengths)


def _found(wanted: pa.ChunkedArray, known: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Where each wanted id stands among the known ones, null where it does not."""
    if wanted.type != known.type:
        wanted, known = wanted.cast(pa.string()), known.cast(pa.string())
    if not (pa.types.is_integer(known.type) and len(known) and _ascending(known)):
        return pc.index_in(wanted, value_set=known.combine_chunks())
    there, asked = known.to_numpy(), wanted.to_numpy()
    at = np.minimum(np.searchsorted(there, asked), len(there) - 1)
    return pa.array(at, mask=there[at] != asked)


def _ascending(ids: pa.ChunkedArray) -> bool:
    """Whether the ids are whole numbers that rise, so that none comes twice."""
    if not pa.types.is_integer(ids.type) or ids.null_count:
        return False
    told = ids.to_numpy()
    return bool(np.all(told[1:] > told[:-1]))


def _instance(found: _Candidates, customer: Small, customers: pa.Array, caps: Small, limits: Limits) -> Instance:
    offers, offer_rank = found.offers.ranked()
    media, medium_rank = found.media.ranked()
    days, day_rank = found.days.ranked()
    names, channels = [str(offer) for offer in offers], [str(medium) for medium in media]
    span = max(len(days), 1)
    if len(offers) * len(media) * span > MOST_KINDS:
        raise WrongInput(f"candidates: {len(offers)} offers × {len(media)} channels × {span} days are too many")
    kind = np.empty(found.rows, np.uint16)
    for first in range(0, found.rows, _ROWS):
        part = slice(first, first + _ROWS)
        of_day = day_rank[found.day.all[part]] if days else 0
        kind[part] = (
            offer_rank[found.offer.all[part]] * len(media) + medium_rank[found.medium.all[part]]
        ) * span + of_day
    for column in (found.offer, found.medium, found.day):
        column.data = np.empty(0)
    kinds = np.arange(len(offers) * len(media) * span)
    offer_at, medium_at, day_at = kinds // (len(media) * span), kinds // span % len(media), kinds % span
    campaigns, campaign_of = limits.completed(names)
    listed, groups = list(campaigns), limits.groups(names)
    told_channels, capacity, channel_of = _rows(limits, channels, days, medium_at, day_at)
    problem, order = from_columns(
        customer=customer,
        kind=kind,
        value=found.value.all,
        cap=caps,
        group_of=np.array([groups[name] for name in names], np.int32)[offer_at],
        channel_of=channel_of,
        campaign_of=np.array([listed.index(campaign_of[name]) for name in names], np.int32)[offer_at],
        medium_of=medium_at,
        day_of=_day_numbers(days)[day_at],
        spacing=max(limits.spacing_days, 1) if days else 0,
        capacity=capacity,
        most=[campaigns[name].most for name in listed],
        least=[campaigns[name].least for name in listed],
        channels=told_channels,
        campaigns=listed,
    )
    lines = sorted({campaigns[name].line or name for name in listed})
    return Instance(
        problem=problem,
        customers=customers,
        offers=pa.array(offers, found.offers.type),
        media=pa.array(media, found.media.type),
        days=pa.array(days, found.days.type) if days else None,
        offer_at=offer_at[order].astype(np.int32),
        medium_at=medium_at[order].astype(np.int32),
        day_at=day_at[order].astype(np.int32),
        lines=tuple(lines),
        line_of=np.array([lines.index(campaigns[name].line or name) for name in listed], np.int32),
    )


def _rows(
    limits: Limits, channels: list[str], days: list[Any], medium_at: Ints, day_at: Ints
) -> tuple[list[str], list[int], Ints]:
    """The capacity rows by name with their bounds, and the row of each kind [T]: channels, or channels on days."""
    told = [limits.channels.get(name) for name in channels]
    if not days:
        return channels, [one.capacity if one else NO_LIMIT for one in told], medium_at
    if any(one and one.capacity >= 0 for one in told):
        raise WrongInput("limits: candidates have days, so that a channel has daily_capacity instead of capacity")
    names = [f"{name} {day}" for name in channels for day in days]
    return names, [one.daily if one else NO_LIMIT for one in told for _ in days], medium_at * len(days) + day_at


def _day_numbers(days: list[Any]) -> Ints:
    """Days as numbers that are one apart from one day to the next. Raises WrongInput."""
    try:
        return np.array([day if isinstance(day, int) else day.toordinal() for day in days] or [0], np.int64)
    except AttributeError as error:
        raise WrongInput("candidates: day is neither a whole number nor a date") from error
