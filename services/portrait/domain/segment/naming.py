"""What a segment is called: by the archetype that it resembles, else by what marks it most."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

MEASURES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "value": ("价值", ("arpu_3m_avg", "arpu_1m")),
    "voice": ("语音", ("mou_1m", "mou_prev_3m_avg", "call_secs_30d")),
    "sms": ("短信", ("sms_mo_1m",)),
    "data": ("流量", ("dou_mb_1m", "dou_prev_3m_avg")),
    "growth": ("成长", ("arpu_slope_6m",)),
    "roam": ("漫游", ("call_roam_secs_30d", "call_roam_count_30d", "mou_roam_share")),
    "crbt": ("彩铃", ("crbt", "product_music")),
    "age": ("年龄", ("age",)),
    "tenure": ("网龄", ("tenure_months",)),
    "places": ("足迹", ("places",)),
    "radius": ("活动半径", ("radius_km",)),
}
"""Measure → its Chinese word, and the features that tell it, the first known one counts."""

_SIGNS = ("value", "voice", "sms", "data", "growth", "roam", "crbt")
ARCHETYPES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("本地数据业务狂热", (0.5, 0.0, 0.5, 2.0, 0.5, -0.5, 0.5)),
    ("中价值短信", (0.0, 0.0, 2.0, -0.3, 0.0, -0.3, 0.0)),
    ("成长型数据全能", (0.3, 0.0, 1.0, 1.3, 1.5, 0.0, 0.8)),
    ("彩铃偏好", (0.0, 0.0, 0.0, -0.3, 0.0, -0.3, 2.0)),
    ("语音偏好", (0.3, 2.0, -0.5, -0.5, 0.0, -0.5, -0.3)),
    ("高价值漫游语音", (1.5, 1.0, -0.3, -0.3, 0.0, 2.0, -0.3)),
    ("低价值漫游语音", (-0.7, 0.5, -0.3, -0.5, 0.0, 1.3, -0.3)),
    ("低价值数据", (-1.0, -0.5, -0.5, 0.5, 0.0, -0.4, -0.3)),
)
"""The eight young-brand segments of the field's practice (SS1–SS8), as deviations of value, voice, SMS, data, growth,
roaming and ring-back tones from the brand's mean."""

_ALIKE = 0.75
_MARKED = 0.25


def names(features: Sequence[str], deviation: npt.NDArray[np.float64]) -> list[str]:
    """A name for each row of `deviation` (segments, features), in standard deviations of the brand; all differ."""
    measured = _measured(features, deviation)
    told: list[str] = [""] * len(deviation)
    if len(deviation):
        signs = np.column_stack([measured.get(name, np.zeros(len(deviation))) for name in _SIGNS])
        known = np.array([name in measured for name in _SIGNS])
        for segment, archetype in _closest(signs, known):
            told[segment] = ARCHETYPES[archetype][0]
    for segment, name in enumerate(told):
        told[segment] = _distinct(name or _marks(measured, segment, 2), measured, segment, told[:segment])
    return [f"SS{number} {name}" for number, name in enumerate(told, 1)]


def _measured(features: Sequence[str], deviation: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    found = {}
    for name, (_, columns) in MEASURES.items():
        place = next((features.index(column) for column in columns if column in features), None)
        if place is not None:
            found[name] = deviation[:, place]
    return found


def _closest(signs: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(segment, archetype) pairs by cosine over the known measures, each once; none when few measures are known."""
    if known.sum() < 4:
        return []
    ideal = np.array([sign for _, sign in ARCHETYPES])[:, known]
    mine = signs[:, known]
    length = np.linalg.norm(mine, axis=1)[:, None] * np.linalg.norm(ideal, axis=1)
    cosine = np.where(length > 0, mine @ ideal.T / np.maximum(length, 1e-12), 0.0)
    pairs = []
    while cosine.max() >= _ALIKE:
        segment, archetype = np.unravel_index(int(np.argmax(cosine)), cosine.shape)
        pairs.append((int(segment), int(archetype)))
        cosine[segment, :] = cosine[:, archetype] = -1.0
    return pairs


def _marks(measured: Mapping[str, npt.NDArray[np.float64]], segment: int, most: int) -> str:
    """What marks it most, like 高流量·低短信; 大众 for a segment like the brand."""
    strong = sorted(measured, key=lambda name: -abs(measured[name][segment]))[:most]
    words = [
        f"{'高' if measured[name][segment] > 0 else '低'}{MEASURES[name][0]}"
        for name in strong
        if abs(measured[name][segment]) >= _MARKED
    ]
    return "·".join(words) or "大众"


def _distinct(name: str, measured: Mapping[str, npt.NDArray[np.float64]], segment: int, taken: Sequence[str]) -> str:
    for most in range(3, len(measured) + 1):
        if name not in taken:
            return name
        name = _marks(measured, segment, most)
    return name if name not in taken else f"{name}({segment + 1})"
