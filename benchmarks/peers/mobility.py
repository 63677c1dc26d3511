"""Stays by scikit-mobility and trackintel, and homes by scikit-mobility and bandicoot, on a given Parquet file.

Run in the environment of peers: `.peers/bin/python benchmarks/peers/mobility.py TOOL FILE` prints one JSON object with
the CPU seconds of the tool's own work (reading the file and building its own table are not counted), the rows, and
for homes the place by customer, also of the sample user that bandicoot ships. The file: customer, time (ms), lon, lat,
place.

Three of these libraries were written for older Pythons; what they import by name is put back before they are loaded.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")


def older_pythons() -> None:
    """Puts back names that scikit-mobility (shapely, fiona) and bandicoot (inspect) still import."""
    import shapely.ops

    shapely.ops.cascaded_union = shapely.ops.unary_union
    sys.modules.setdefault("fiona", types.ModuleType("fiona"))
    inspect.getargspec = inspect.getfullargspec  # type: ignore[attr-defined]

    def formatargspec(
        args: Any, varargs: Any = None, keywords: Any = None, defaults: Any = None, *rest: Any,
        formatvalue: Any = lambda value: f"={value!r}",
    ) -> str:  # fmt: skip
        first = len(args) - len(defaults or ())
        told = [each if at < first else f"{each}{formatvalue(defaults[at - first])}" for at, each in enumerate(args)]
        return f"({', '.join(told + [f'*{varargs}'] * bool(varargs) + [f'**{keywords}'] * bool(keywords))})"

    inspect.formatargspec = formatargspec  # type: ignore[attr-defined]


def skmob_stays(frame: pd.DataFrame) -> tuple[float, int]:
    """Stay locations by sequential detection, ten minutes within 200 m."""
    import skmob
    from skmob.preprocessing import detection

    track = skmob.TrajDataFrame(frame, latitude="lat", longitude="lon", datetime="when", user_id="customer")
    begun = time.process_time()
    stays = detection.stops(track, minutes_for_a_stop=10.0, spatial_radius_km=0.2, leaving_time=True)
    return time.process_time() - begun, len(stays)


def trackintel_stays(frame: pd.DataFrame) -> tuple[float, int]:
    """Staypoints by the sliding method, ten minutes within 200 m, gaps of two hours."""
    import geopandas as gpd
    import trackintel as ti

    points = gpd.points_from_xy(frame.lon, frame.lat)
    rows = {"user_id": frame.customer, "tracked_at": frame.when.dt.tz_localize("UTC"), "geometry": points}
    fixes = ti.Positionfixes(gpd.GeoDataFrame(rows, crs="EPSG:4326"))
    begun = time.process_time()
    _, stays = fixes.generate_staypoints(method="sliding", dist_threshold=200, time_threshold=10.0, gap_threshold=120.0)
    return time.process_time() - begun, len(stays)


def skmob_home(frame: pd.DataFrame) -> dict[int, int]:
    """Home by scikit-mobility: the position seen most between 22:00 and 07:00."""
    import skmob
    from skmob.measures.individual import home_location

    local = frame.assign(when=frame.when + pd.Timedelta(hours=8))
    track = skmob.TrajDataFrame(local, latitude="lat", longitude="lon", datetime="when", user_id="customer")
    found = home_location(track, show_progress=False)
    place = {(lat, lon): at for lat, lon, at in zip(frame.lat, frame.lon, frame.place, strict=True)}
    return {int(row.uid): int(place[row.lat, row.lng]) for row in found.itertuples()}


def bandicoot_home(frame: pd.DataFrame) -> dict[int, int]:
    """Home by bandicoot; times of the file are UTC, records are local."""
    import bandicoot as bc

    found = {}
    for customer, rows in frame.groupby("customer"):
        user = bc.User()
        user.records = [
            bc.core.Record("call", "out", "x", when.to_pydatetime(), 0, bc.Position(antenna=f"p{place}"))
            for when, place in zip(rows.when + pd.Timedelta(hours=8), rows.place, strict=True)
        ]
        home = user.recompute_home()
        if home is not None:
            found[int(customer)] = int(home.antenna[1:])
    return found


def bandicoot_sample() -> dict[str, Any]:
    """The sample user that bandicoot ships with its tests: his rows (local milliseconds, antenna) and his home."""
    from bandicoot.tests import sample_user

    user = sample_user()
    home = user.recompute_home()
    rows = [[int(pd.Timestamp(each.datetime).value // 10**6), each.position.antenna] for each in user.records]
    place = {at: list(spot) for at, spot in user.antennas.items()}
    frame = pd.DataFrame({"when": [each.datetime for each in user.records], "place": [row[1] for row in rows]})
    frame["lat"], frame["lon"] = (frame.place.map(lambda at, axis=axis: place[at][axis]) for axis in (0, 1))
    frame["customer"], frame["when"] = 0, frame.when - pd.Timedelta(hours=8)
    return {"rows": rows, "antennas": place, "home": home.antenna, "skmob": skmob_home(frame)[0]}


def main(tool: str, path: Path) -> None:
    """Runs one tool."""
    older_pythons()
    frame = pd.read_parquet(path)
    frame["when"] = pd.to_datetime(frame.time, unit="ms")
    told: dict[str, Any] = {"tool": tool, "rows": len(frame)}
    if tool == "homes":
        known = frame[frame.place >= 0]
        told |= {"skmob": skmob_home(known), "bandicoot": bandicoot_home(known), "sample": bandicoot_sample()}
    else:
        seconds, stays = {"skmob": skmob_stays, "trackintel": trackintel_stays}[tool](frame)
        told |= {"cpu_seconds": seconds, "stays": stays, "rows_per_cpu_second": len(frame) / seconds}
    print(json.dumps(told))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(sys.argv[1], Path(sys.argv[2]))
