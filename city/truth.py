"""The truth folder: UTF-8 CSV with headers, one Parquet file of visits and a manifest. No service reads it."""

import json
from collections.abc import Mapping
from datetime import datetime, time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from city.dice import Ints
from city.dwell import Dwell
from city.lives import Stays
from city.organisation import Organisation, staff_ids
from city.people import NOWHERE, ROLES, STATUS, People
from city.products import PRODUCTS, Holdings
from city.tables import Days
from city.world import AWAY, World

TABLES = ("customers", "tags", "acceptance", "ownership")
VISITS = pa.schema(
    [("msisdn", pa.int64()), ("place_id", pa.string()), ("start", pa.timestamp("s")), ("end", pa.timestamp("s"))]
)


class TruthFolder:
    """Written block by block under temporary names; every file gets its name when all of it is there."""

    def __init__(self, folder: Path, world: World, days: Days) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._days = folder, days
        self._place_ids = np.array([world.place_id(place) for place in range(len(world.lon))])
        self._files: dict[str, BinaryIO] = {name: self._part(f"{name}.csv").open("wb") for name in TABLES}
        self._fresh = set(TABLES)
        self._visits = pq.ParquetWriter(self._part("visits.parquet"), VISITS, compression="zstd")

    def _part(self, name: str) -> Path:
        return self._folder / (name + ".part")

    def add(self, table: str, frame: pl.DataFrame) -> None:
        """Appends rows to one of the tables."""
        frame.write_csv(self._files[table], include_header=table in self._fresh, quote_style="never")
        self._fresh.discard(table)

    def add_visits(self, people: People, stays: Stays) -> None:
        """Appends realised stays in local time; stays that go on over midnight are two rows."""
        stays = stays.only(stays.place != AWAY)
        midnight = np.datetime64(datetime.combine(self._days.start, time()), "s") + stays.day.astype("timedelta64[D]")
        columns = [
            pa.array(people.msisdn[stays.who]),
            pa.array(self._place_ids[stays.place]),
            pa.array(midnight + stays.start.astype("timedelta64[s]")),
            pa.array(midnight + stays.end.astype("timedelta64[s]")),
        ]
        self._visits.write_table(pa.table(columns, schema=VISITS))

    def finish(self, manifest: Mapping[str, object]) -> None:
        """Gives everything its name, the manifest last."""
        self._close()
        text = json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        self._part("manifest.json").write_text(text, encoding="utf-8")
        for name in [*(f"{table}.csv" for table in TABLES), "visits.parquet", "manifest.json"]:
            self._part(name).rename(self._folder / name)

    def _close(self) -> None:
        for file in self._files.values():
            file.close()
        self._visits.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._close()
            for name in [*(f"{table}.csv" for table in TABLES), "visits.parquet", "manifest.json"]:
                self._part(name).unlink(missing_ok=True)


def customers_frame(
    world: World, people: People, organisation: Organisation, days: Days, dwell: Dwell, who: Ints
) -> pl.DataFrame:
    """What was planted about each customer, and the anchors that follow from his noise-free stays."""
    ids = [world.place_id(place) for place in range(len(world.lon))]

    def places(of: Ints) -> pl.Series:
        return pl.Series([ids[place] if place >= 0 else "" for place in of.tolist()], dtype=pl.String)

    moved = people.move_day[who] < days.count
    return pl.DataFrame(
        {
            "msisdn": people.msisdn[who],
            "role": pl.Series(ROLES).gather(people.role[who]),
            "status": pl.Series(STATUS).gather(people.status[who]),
            "home_place": places(people.home[who]),
            "moved_to": places(np.where(moved, people.home_after[who], -1)),
            "move_date": [f"{days.on(int(day)):%Y%m%d}" if day < days.count else "" for day in people.move_day[who]],
            "work_place": places(np.where(people.work[who] == NOWHERE, -1, people.work[who])),
            "home_anchor": places(dwell.home),
            "work_anchor": places(dwell.work),
            "night_shift": people.is_role("night")[who],
            "traveller": people.traveller[who],
            "parent": people.parent[who],
            "concert": people.concert[who],
            "quiet_phone": people.quiet[who],
            "owner_staff": staff_ids(organisation.owner[who]),
            "serving_staff": staff_ids(organisation.serving[who]),
        }
    )


def pairs_frame(people: People, holdings: Holdings, who: Ints) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Acceptance of what each customer could open, and ownership on the last day."""
    chances = np.round(holdings.acceptance()[who], 6)
    row, item = np.nonzero(chances > 0)
    names = pl.Series(PRODUCTS)
    acceptance = pl.DataFrame(
        {"msisdn": people.msisdn[who[row]], "product_id": names.gather(item), "probability": chances[row, item]}
    )
    row, item = np.nonzero(holdings.at_end[who])
    return acceptance, pl.DataFrame({"msisdn": people.msisdn[who[row]], "product_id": names.gather(item)})
