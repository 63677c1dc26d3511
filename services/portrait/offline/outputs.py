"""What the offline verb writes: Parquet tables, bucket after bucket, and a summary."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.portrait.domain.calendar import SLOTS
from services.portrait.domain.dwell import grade
from services.portrait.domain.place import NOWHERE
from services.portrait.domain.track import DwellDays, Visits
from services.portrait.lake.results import Bucket, tables
from services.portrait.offline.facts import People
from services.portrait.usecases.bucket import Work

_RENAMED = {"code": "tag", "from_date": "valid_from", "expire_date": "expires_at", "longest_secs": "max_visit_secs",
            "dwell_seconds": "secs"}  # fmt: skip


class Outputs:
    """Writers of the tables; what stands under its final name is complete."""

    def __init__(self, folder: Path, work: Work, people: People) -> None:
        self._folder, self._work, self._people = folder, work, people
        self._workdays = work.window.workdays(work.calendar)
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, int] = {}
        self._bearers: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, writer in self._writers.items():
            writer.close()
            if error is not None:
                self._part(name).unlink(missing_ok=True)

    def add(self, visits: Visits, found: Bucket, homes: Mapping[str, npt.NDArray[np.int32]]) -> None:
        """Append one bucket to every table; `homes` are those of other definitions, for comparison."""
        places, window = self._work.base.places, self._work.window
        known = tables(found, places, window, self._workdays)
        known["visits"] = self._visits(visits, found)
        known["grades"] = self._grades(found)
        known["homes"] = self._homes(found, homes)
        for name, table in known.items():
            self._write(name, self._named(name, table))
        for verdict in found.verdicts:
            bearers = len(verdict.bearers)
            self._bearers[verdict.tag.code] = self._bearers.get(verdict.tag.code, 0) + bearers

    def finish(self) -> dict[str, Any]:
        """Give the tables their names; what there is to tell."""
        for name, writer in self._writers.items():
            writer.close()
            self._part(name).rename(self._folder / f"{name}.parquet")
        base, catalogue = self._work.base, self._work.catalogue
        customers, quality = len(base.customer_key), base.cells.quality
        coverage = {tag.code: round(self._bearers.get(tag.code, 0) / customers, 6) for tag in catalogue.tags}
        outside = {
            tag.code: {"coverage": coverage[tag.code], "expected": list(tag.expect)}
            for tag in catalogue.tags
            if tag.expect and not tag.expect[0] <= coverage[tag.code] <= tag.expect[1]
        }
        return {
            "run_id": self._work.run_id,
            "catalogue_version": catalogue.version,
            "catalogue_digest": catalogue.digest,
            "from": self._work.window.from_date.isoformat(),
            "to": self._work.window.to_date.isoformat(),
            "customers": customers,
            "visits": self._rows["visits"],
            "dwell_rows": self._rows["dwell"],
            "anchors": self._rows["anchors"],
            "tag_values": self._rows["tags"],
            "tags": len(catalogue.tags),
            "coverage": coverage,
            "outside_expected_coverage": outside,
            "map": {
                "rows": quality.rows,
                "typical_km": round(quality.sigma_km, 3),
                "heard_cells": quality.heard_cells,
                "heard_cells_without_place": quality.unmapped_cells,
                "read_otherwise": len(quality.corrections),
            },
        }

    def _part(self, name: str) -> Path:
        return self._folder / f"{name}.parquet.part"

    def _write(self, name: str, table: pa.Table) -> None:
        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(self._part(name), _plain(table.schema), compression="zstd")
        self._writers[name].write_table(table.cast(self._writers[name].schema))
        self._rows[name] = self._rows.get(name, 0) + table.num_rows

    def _named(self, name: str, table: pa.Table) -> pa.Table:
        """The table with the caller's customer ids and the names of the format lct/1."""
        ids = self._people.names.ids_of(np.asarray(table["customer_key"].to_numpy(), dtype=np.int64))
        columns: dict[str, Any] = {"customer_id": ids}
        for column in table.column_names:
            if column == "workday":
                kinds = pa.array(["weekend", "workday"])
                columns["daytype"] = pc.take(kinds, pc.cast(table[column], pa.int32()))
            elif column not in ("customer_key", "org_id"):
                columns[_RENAMED.get(column, column)] = table[column]
        if name == "tags":
            columns["run_id"] = pa.array([self._work.run_id] * table.num_rows, pa.string())
        return pa.table(columns)

    def _visits(self, visits: Visits, found: Bucket) -> pa.Table:
        places = self._work.base.places
        zone = self._work.window.zone
        names = {name: pa.array(list(each), pa.string()) for name, each in (
            ("place_id", places.place_id), ("place_class", places.class_code), ("town", places.town)
        )}  # fmt: skip
        at = pa.array(visits.place)
        return pa.table(
            {
                "customer_key": found.customer_key[visits.customer],
                **{name: pc.take(each, at) for name, each in names.items()},
                "start_time": pa.array(visits.start, pa.timestamp("ms", zone)),
                "end_time": pa.array(visits.end, pa.timestamp("ms", zone)),
                "secs": ((visits.end - visits.start) // 1000).astype(np.int64),
            }
        )

    def _homes(self, found: Bucket, homes: Mapping[str, npt.NDArray[np.int32]]) -> pa.Table:
        """Home by the catalogue's rule and by those of other libraries: place ids, null for none."""
        ids = pa.array(list(self._work.base.places.place_id), pa.string())
        own = found.anchors["home"].place if "home" in found.anchors else np.full(len(found.customer_key), NOWHERE)
        told = {"home": own, **homes}
        columns = {name: pc.take(ids, pa.array(each, pa.int32(), mask=each < 0)) for name, each in told.items()}
        return pa.table({"customer_key": found.customer_key, **columns})

    def _grades(self, found: Bucket) -> pa.Table:
        """Time by customer × place × kind of day × slot, with its grade (often 3, sometimes 2, rarely 1)."""
        dwell, places = found.dwell, self._work.base.places
        work = self._workdays[dwell.day]
        key, back = _grouped(dwell, work, len(places))
        secs = np.bincount(back, weights=dwell.secs, minlength=len(key)).astype(np.int64)
        dated = np.unique(back.astype(np.int64) * 64 + dwell.day)
        days = np.bincount(dated // 64, minlength=len(key))
        seen_key = np.unique((dwell.customer.astype(np.int64) * 2 + work) * 64 + dwell.day)
        seen = np.bincount(seen_key // 64, minlength=2 * len(found.customer_key))
        slot, kind = key % len(SLOTS), key // len(SLOTS) % 2
        pair = key // (2 * len(SLOTS))
        customer, place = pair // len(places), pair % len(places)
        grades = self._work.catalogue.grading
        observed = seen[customer * 2 + kind]
        worth = grade(days, secs, observed, grades.often_share, grades.often_minutes, grades.sometimes_share)
        return pa.table(
            {
                "customer_key": found.customer_key[customer],
                "place_id": pc.take(pa.array(list(places.place_id), pa.string()), pa.array(place)),
                "place_class": pc.take(pa.array(list(places.class_code), pa.string()), pa.array(place)),
                "workday": kind == 1,
                "slot": pc.take(pa.array(SLOTS), pa.array(slot)),
                "days": days,
                "observed_days": observed,
                "secs": secs,
                "grade": worth.astype(np.int8),
            }
        )


def _plain(schema: pa.Schema) -> pa.Schema:
    """A schema whose words are words, whatever way they come."""
    kinds = ((each.name, each.type) for each in schema)
    return pa.schema([(name, kind.value_type if pa.types.is_dictionary(kind) else kind) for name, kind in kinds])


def _grouped(dwell: DwellDays, work: Any, places: int) -> tuple[Any, Any]:
    pair = dwell.customer.astype(np.int64) * places + dwell.place
    return np.unique((pair * 2 + work) * len(SLOTS) + dwell.slot, return_inverse=True)
