"""How well what portrait says agrees with what the city planted: anchors and tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class Agreement:
    """Shares of right anchors, the share of false works among those who have none, and F1 by tag."""

    home: float
    night_home: float
    work: float
    false_work: float
    f1: Mapping[str, float]

    @property
    def macro_f1(self) -> float:
        """The mean over tags."""
        return sum(self.f1.values()) / len(self.f1)


def agreement(truth: Path, anchors: pl.DataFrame, tags: pl.DataFrame) -> Agreement:
    """Compare tables with a `msisdn` column: anchors (role, place_id) and tags (code, value).

    Judged are the customers that the network heard of: who left, or whose phone was mostly silent, cannot be found.
    """
    meant = pl.read_csv(truth / "customers.csv", infer_schema=False)
    judged = set(meant.filter((pl.col("status") != "left") & (pl.col("quiet_phone") == "false"))["msisdn"])
    found = {(row["msisdn"], row["role"]): row["place_id"] for row in anchors.to_dicts()}
    planted = {row["msisdn"]: row for row in meant.to_dicts() if row["msisdn"] in judged}

    def share(role: str, night: bool = False) -> float:
        rows = [
            row for row in planted.values() if row[f"{role}_anchor"] and (not night or row["night_shift"] == "true")
        ]
        right = [bool(found.get((row["msisdn"], role)) == row[f"{role}_anchor"]) for row in rows]
        return sum(right) / max(len(right), 1)

    none = [number for number, row in planted.items() if not row["work_anchor"]]
    false_work = sum((number, "work") in found for number in none) / max(len(none), 1)
    borne = {
        (row["msisdn"], f"{row['code']}={row['value']}" if row["value"] else row["code"])
        for row in tags.filter(pl.col("msisdn").is_in(list(judged))).to_dicts()
    }
    wanted = {
        (row["msisdn"], row["tag"])
        for row in pl.read_csv(truth / "tags.csv", infer_schema=False).to_dicts()
        if row["msisdn"] in judged
    }
    f1 = {}
    for tag in sorted({tag for _, tag in wanted}):
        told, right = {who for who, each in borne if each == tag}, {who for who, each in wanted if each == tag}
        f1[tag] = 2 * len(told & right) / (len(told) + len(right))
    return Agreement(share("home"), share("home", night=True), share("work"), false_work, f1)
