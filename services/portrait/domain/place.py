"""Places and the cells that serve them: what turns a signalling row into somewhere a person can be."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NOWHERE = -1
"""The place of a cell that serves none (a road) or is not known."""

EARTH_KM = 6371.0088


@dataclass(frozen=True)
class Places:
    """The places of a run, ordered by place_id; arrays are (places,)."""

    place_id: Sequence[str]
    name: Sequence[str]
    town: Sequence[str]
    class_code: Sequence[str]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.place_id)

    def of_class(self, selectors: Iterable[str]) -> npt.NDArray[np.bool_]:
        """For each place whether one of the selectors chooses its class; (places,)."""
        chosen = tuple(selectors)
        verdict = {code: selected(code, chosen) for code in set(self.class_code)}
        return np.array([verdict[code] for code in self.class_code], dtype=np.bool_)

    def of_town(self, towns: Iterable[str]) -> npt.NDArray[np.bool_]:
        """For each place whether it lies in one of the towns; (places,)."""
        wanted = frozenset(towns)
        return np.array([town in wanted for town in self.town], dtype=np.bool_)

    def stable_hashes(self) -> npt.NDArray[np.uint64]:
        """A number for each place that depends on its id alone; (places,)."""
        digests = b"".join(hashlib.blake2b(each.encode(), digest_size=8).digest() for each in self.place_id)
        return np.frombuffer(digests, dtype="<u8")


def selected(class_code: str, selectors: Iterable[str]) -> bool:
    """Whether a dotted class is chosen: `*` chooses all, `edu.*` a branch, `edu.school.university` itself."""
    return any(
        selector in ("*", class_code) or (selector.endswith(".*") and class_code.startswith(selector[:-1]))
        for selector in selectors
    )


def kilometres(
    lon_a: npt.NDArray[np.float64],
    lat_a: npt.NDArray[np.float64],
    lon_b: npt.NDArray[np.float64],
    lat_b: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Great-circle distance by the haversine formula on a sphere of 6371.0088 km; degrees in, broadcast."""
    north, east = np.radians(lat_b - lat_a) / 2, np.radians(lon_b - lon_a) / 2
    chord = np.sin(north) ** 2 + np.cos(np.radians(lat_a)) * np.cos(np.radians(lat_b)) * np.sin(east) ** 2
    return np.asarray(2.0 * EARTH_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0))))
