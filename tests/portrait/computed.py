"""Two runs over the town, in the lake, for what is made of whole runs."""

from datetime import timedelta
from typing import Any

import polars as pl

from services.portrait.domain.calendar import Window, WorkCalendar
from services.portrait.domain.run import Run
from services.portrait.domain.tag import Catalogue
from services.portrait.lake import Lake, read_base
from services.portrait.lake.reports import KINDS
from services.portrait.lake.trial import places_table
from services.portrait.usecases.bucket import Work, compute
from tests.portrait.conftest import BUCKETS, FIRST, Town


class Computed:
    """Two runs: the first week, and both weeks."""

    def __init__(self, town: Town, catalogue: Catalogue, calendar: WorkCalendar, lake: Lake) -> None:
        self.runs = [self._run(town, catalogue, calendar, lake, number, days) for number, days in enumerate((7, 14))]

    def _run(
        self, town: Town, catalogue: Catalogue, calendar: WorkCalendar, lake: Lake, number: int, days: int
    ) -> tuple[Run, dict[str, list[Any]]]:
        window = Window(FIRST, FIRST + timedelta(days=days - 1), "Asia/Shanghai")
        base = read_base(town.manifest, window, catalogue, calendar)
        work = Work(f"run-{number}", base, window, calendar, catalogue, BUCKETS)
        found = []
        for bucket in range(BUCKETS):
            files = [
                file for file in town.manifest["signalling"]
                if file.bucket == bucket and window.from_date <= file.period <= window.to_date
            ]  # fmt: skip
            found.append(compute(work, bucket, files, lake))
        places = lake.write(f"places-{number}.parquet", places_table(base.places), -1)
        manifest = {kind: [each.files[kind] for each in found] for kind in KINDS if kind != "places"}
        run = Run(work.run_id, window.from_date, window.to_date, len(base.customer_key), 1, 1, "ab" * 32)
        return run, {**manifest, "places": [places]}

    def table(self, name: str, run: int = 1) -> pl.DataFrame:
        """A table of a run, read again without the code under test."""
        return pl.concat([pl.read_parquet(file.uri.removeprefix("file://")) for file in self.runs[run][1][name]])
