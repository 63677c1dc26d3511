"""The operator's organisations, staff and responsibility fields (责任田)."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from city.dice import Dice, Ints
from city.people import LEFT, People
from city.tables import CITY, PROVINCE, Days, column
from city.world import World

_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蔡蒋余"
_GIVEN = "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂文辉玲燕鹏宇飞佳慧嘉欣怡俊浩然晨雨婷雪梅"
_ROLES = ("manager", "store", "store", "caller")
CUSTOMERS_PER_GRID, MOST_GRIDS = 400, 6
NOBODY = -1


@dataclass(frozen=True)
class Organisation:
    """Grids and staff are numbered from 0; `grid` and `serving` give every customer's grid and a member of its staff.

    `owner`, `second` and `third` hold the responsibility: staff or NOBODY; `before` is who owned the customer until the
    middle of the month, NOBODY where nothing changed.
    """

    grids_per_town: int
    staff_grid: Ints
    grid: Ints
    serving: Ints
    owner: Ints
    second: Ints
    third: Ints
    before: Ints


def organise(world: World, people: People, dice: Dice) -> Organisation:
    """The organisation grows with the city: one to six grids a town, four members of staff a grid."""
    towns = len(world.towns)
    per_town = int(np.clip(round(len(people) / towns / CUSTOMERS_PER_GRID), 1, MOST_GRIDS))
    who, size = np.arange(len(people)), len(_ROLES)
    draw = (dice.bits("grid", who) % np.uint64(per_town)).astype(np.int64)
    grid = world.place_town[people.home] * per_town + draw
    serving = grid * size + 1 + (dice.bits("serving", who) % np.uint64(size - 1)).astype(np.int64)
    kind = dice.choice([0.12, 0.53, 0.25, 0.10], "field", who)  # unowned, alone, with one, with two supporters
    kind = np.where(people.status == LEFT, 0, kind)
    second = grid * size + (serving % size) % (size - 1) + 1
    third = grid * size + (second % size) % (size - 1) + 1
    moved = (kind > 0) & (dice.uniform("field.moved", who) < 0.02)
    return Organisation(
        per_town,
        np.repeat(np.arange(towns * per_town), size),
        grid,
        serving,
        owner=np.where(kind > 0, serving, NOBODY),
        second=np.where(kind > 1, second, NOBODY),
        third=np.where(kind > 2, third, NOBODY),
        before=np.where(moved, grid * size, NOBODY),
    )


def staff_ids(staff: Ints) -> pl.Series:
    """Staff ids as text, empty for NOBODY."""
    return pl.Series([f"S{number + 1:05d}" if number >= 0 else "" for number in staff.tolist()], dtype=pl.String)


def grid_ids(organisation: Organisation, grid: Ints) -> pl.Series:
    """Organisation ids of grids."""
    per = organisation.grids_per_town
    return pl.Series([f"4419{number // per + 1:02d}{number % per + 1:02d}" for number in grid.tolist()])


def organisations_frame(organisation: Organisation, world: World) -> pl.DataFrame:
    """The tree province › city › district (town) › grid."""
    rows = [("44", "", "province", f"{PROVINCE}公司"), ("4419", "44", "city", f"{CITY}分公司")]
    for town, name in enumerate(world.towns):
        district = f"4419{town + 1:02d}"
        rows.append((district, "4419", "district", f"{name}区域中心"))
        rows += [
            (f"{district}{grid + 1:02d}", district, "grid", f"{name}第{grid + 1}网格")
            for grid in range(organisation.grids_per_town)
        ]
    return pl.DataFrame(rows, schema=["org_id", "parent_org_id", "level", "name"], orient="row")


def staff_frame(organisation: Organisation, dice: Dice, days: Days) -> pl.DataFrame:
    """Everybody of the grids: a manager, two in the store, one caller."""
    number = np.arange(len(organisation.staff_grid))
    draws = dice.bits("staff.name", number).tolist()
    names = [_SURNAMES[d % 40] + _GIVEN[d // 40 % 40] + (_GIVEN[d // 1600 % 40] if d % 3 else "") for d in draws]
    served = dice.bits("staff.entry", number) % np.uint64(4000)
    entries = [f"{days.start - timedelta(days=60 + served_days):%Y%m%d}" for served_days in served.tolist()]
    return pl.DataFrame(
        {
            "staff_id": staff_ids(number),
            "name": names,
            "org_id": grid_ids(organisation, organisation.staff_grid),
            "role": [_ROLES[n % len(_ROLES)] for n in number.tolist()],
            "entry_date": entries,
        }
    )


def fields_frame(organisation: Organisation, people: People, days: Days) -> pl.DataFrame:
    """Responsibility rows: shares in basis points sum to 10,000 at every instant; validity is half open."""
    who = np.flatnonzero(organisation.owner != NOBODY)
    second, third = organisation.second[who], organisation.third[who]
    since, turn = f"{days.start.year}0101", f"{days.on(days.count // 2):%Y%m%d}"
    changed = organisation.before[who] != NOBODY
    own = np.where(third != NOBODY, 6000, np.where(second != NOBODY, 7000, 10000))
    half = np.where(third != NOBODY, 2000, 3000)

    def part(mask: Ints, staff: Ints, role: str, share: Ints, begin: str, end: str) -> pl.DataFrame:
        return pl.DataFrame(
            {"msisdn": people.msisdn[who[mask]], "staff_id": staff_ids(staff[mask]), "share_bps": share[mask]}
        ).select(
            "msisdn",
            "staff_id",
            pl.lit(role).alias("role"),
            "share_bps",
            pl.lit(begin).alias("valid_from"),
            pl.lit(end).alias("valid_to"),
        )

    owner = organisation.owner[who]
    return pl.concat(
        [
            part(np.flatnonzero(~changed), owner, "owner", own, since, ""),
            part(np.flatnonzero(changed), organisation.before[who], "owner", own, since, turn),
            part(np.flatnonzero(changed), owner, "owner", own, turn, ""),
            part(np.flatnonzero(second != NOBODY), second, "support", half, since, ""),
            part(np.flatnonzero(third != NOBODY), third, "support", half, since, ""),
        ]
    ).sort("msisdn", "role", "valid_from", "staff_id")


def products_frame() -> pl.DataFrame:
    """The product list."""
    names = ("product_id", "name", "category", "fee_fen", "worth_fen", "requires_product_id", "exclusive_group")
    return pl.DataFrame({name: column("products", name) for name in names})
