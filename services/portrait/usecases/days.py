"""The days of one bucket: those that are kept are taken, the others are followed and kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.portrait.domain import track
from services.portrait.domain.calendar import Window
from services.portrait.domain.run import KeptDay, LakeFile
from services.portrait.domain.track import Rules, Stays
from services.portrait.lake import Base, Damaged, Lake
from services.portrait.lake.days import (
    Reading,
    inputs_of,
    of_base,
    read_day,
    read_stays,
    sample_of,
    sampled_files,
    still_read,
    write_day,
    write_sample,
)
from services.portrait.lake.files import read, there


@dataclass(frozen=True)
class Days:
    """The kept days of a window; `fresh` are those that were not there before."""

    used: Sequence[KeptDay]
    fresh: Sequence[KeptDay]

    @property
    def rows(self) -> int:
        """How many rows of signalling they are made of."""
        return sum(each.rows for each in self.used)


def followed(
    base: Base,
    window: Window,
    rules: Rules,
    bucket: int,
    at: npt.NDArray[np.int64],
    signalling: Sequence[LakeFile],
    lake: Lake,
    known: Sequence[KeptDay],
) -> tuple[Days, Stays]:
    """The stays of the customers at the positions `at` of the base, by number; `known` are days that may be kept."""
    reading, keys = Reading(base.cells, base.places), base.customer_key[at]
    used, fresh, parts = [], [], []
    for day, files in sorted(_by_day(signalling).items()):
        inputs = inputs_of(files, rules, window.zone)
        kept, stays = _kept([each for each in known if each.day == day and each.inputs == inputs], reading, keys)
        if kept is None:
            borders = Window(day, day, window.zone).borders()[:: track.SLOTS_A_DAY]
            found = read_day(files, base.cells.cells)
            stays = track.stays(found.rows, len(found.customer_key), borders, rules)
            kept = write_day(lake, day, bucket, inputs, reading, found, stays)
            fresh.append(kept)
            stays = of_base(found.customer_key, stays, keys)
        parts.append(stays)
        used.append(kept)
    return Days(used, fresh), track.joined(parts, len(at))


def _kept(candidates: Sequence[KeptDay], reading: Reading, keys: npt.NDArray[np.int64]) -> tuple[KeptDay | None, Stays]:
    """The first candidate that the map still reads the same, with its stays; one whose files are gone is none."""
    for each in candidates:
        try:
            if still_read(each, reading):
                return each, read_stays(each, reading, keys)
        except (FileNotFoundError, Damaged):
            continue
    return None, track.joined((), 0)


def samples(
    signalling: Sequence[LakeFile], zone: str, lake: Lake, known: Sequence[KeptDay]
) -> tuple[Days, list[pa.Table]]:
    """The samples of a window's signalling, by which its map is examined; `known` are those that may be kept."""
    used, fresh, tables = [], [], []
    for day, files in sampled_files(signalling):
        inputs = inputs_of(files, Rules(), zone)
        kept = next((each for each in known if each.day == day and each.inputs == inputs and there(each.stays)), None)
        if kept is None:
            kept = write_sample(lake, day, inputs, sample_of(files))
            fresh.append(kept)
        used.append(kept)
        tables.append(read(kept.stays))
    return Days(used, fresh), tables


def _by_day(files: Sequence[LakeFile]) -> Mapping[date, list[LakeFile]]:
    found: dict[date, list[LakeFile]] = {}
    for file in files:
        found.setdefault(file.period, []).append(file)
    return found
