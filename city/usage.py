"""What using the network and the channels leaves in the operator's files: detail records, logs, complaints, terminals,
recharges, product activity, the coarse portrait of VGOP, and the map beside the places.

Every draw is of a stream of its own (`usage.…`), so that nothing else of a seed changes. Detail records and logs come
for the last DETAIL_DAYS days only: they show the formats, and how a customer's calls and data follow his bills.
"""

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from city.accounts import Accounts, device_names
from city.commerce import slices, stamps
from city.dice import Dice, Flags, Floats, Ints
from city.dirt import DIRT
from city.files import Delivered, Dirt, FeedFile, deliver
from city.people import ACTIVE, People
from city.products import PRODUCTS, Holdings
from city.tables import TASTES, Days, column
from city.world import World

DETAIL_DAYS = 3
_APP_CLASSES = ("video", "music", "game", "social", "shopping", "news", "map", "payment", "other")
_APP_TASTES = ("film", "music", "game", "family", "shop", None, "nature", "digital", None)
_HOSTS = ("v.example.cn", "music.example.cn", "play.example.cn", "im.example.cn", "mall.example.cn", "news.example.cn",
          "map.example.cn", "pay.example.cn", "www.example.cn")  # fmt: skip
_KEYWORDS = ("5G套餐", "流量包", "宽带", "手机 以旧换新", "")
_PAGES = (("home", "view"), ("plans", "view"), ("search", "search"), ("product", "click"), ("order", "order"))
_KINDS = ("billing", "coverage", "service", "marketing", "product", "other")
_SERVICE = "10086"


def write(
    world: World, people: People, accounts: Accounts, holdings: Holdings, dice: Dice, days: Days, out: Path
) -> list[Delivered]:
    """Writes all files of this module, some ten thousand customers at a time."""
    parts = [_Known(world, people, accounts, holdings, dice, days, who) for who in slices(len(people))]
    month: list[tuple[str, date, Callable[[_Known], pl.DataFrame]]] = [
        ("coarse_portrait", days.bill_months()[-1], _Known.coarse_portrait),
        ("product_activity", days.bill_months()[-1], _Known.product_activity),
        ("complaints", days.last, _Known.complaints),
        ("terminal_changes", days.last, _Known.terminal_changes),
        ("recharges", days.last, _Known.recharges),
    ]
    delivered = [
        deliver(out, "place_classes", days.start, _classes()),
        deliver(out, "map_layers", days.start, _areas(world)),
        *[_joined(out, feed, period, parts, rows, DIRT.get(feed, ())) for feed, period, rows in month],
    ]
    daily: list[tuple[str, Callable[[_Known, int], pl.DataFrame]]] = [
        ("call_details", _Known.calls),
        ("data_details", _Known.sessions),
        ("web_logs", _Known.visits),
        ("app_logs", _Known.pages),
    ]
    for feed, of_day in daily:
        for day in range(max(days.count - DETAIL_DAYS, 0), days.count):
            dirt = DIRT.get(feed, ()) if day == days.count - 1 else ()
            delivered.append(_joined(out, feed, days.on(day), parts, partial(_of, of_day, day), dirt))
    return [file for file in delivered if file.rows]


def _of(of_day: "Callable[[_Known, int], pl.DataFrame]", day: int, known: "_Known") -> pl.DataFrame:
    return of_day(known, day)


def _joined(
    out: Path,
    feed: str,
    period: date,
    parts: "Sequence[_Known]",
    rows: "Callable[[_Known], pl.DataFrame]",
    dirt: Sequence[Dirt],
) -> Delivered:
    """One file of all parts; none is left behind when nobody has a row."""
    with FeedFile(out, feed, period, 1, dirt) as file:
        for part in parts:
            file.write_frame(rows(part))
        if file.rows:
            return file.deliver()
        file.discard()
    return Delivered(feed, file.name, 0, 0, "", ())


def _classes() -> pl.DataFrame:
    """Every class of a place with the classes above it."""
    named = dict(zip(column("classes", "class_code"), column("classes", "suffixes"), strict=True))
    codes = sorted({".".join(code.split(".")[:depth]) for code in named for depth in (1, 2, 3)})
    return pl.DataFrame(
        {
            "class_code": codes,
            "parent_code": [code.rpartition(".")[0] for code in codes],
            "level": [code.count(".") + 1 for code in codes],
            "name": [named.get(code, "").split(" ")[0] or code for code in codes],
            "valid_from": [""] * len(codes),
            "valid_to": [""] * len(codes),
        }
    )


def _areas(world: World) -> pl.DataFrame:
    """One area per town: the box around its places."""
    rows = []
    for number, town in enumerate(world.towns):
        inside = world.place_town == number
        west, east = world.lon[inside].min(), world.lon[inside].max()
        south, north = world.lat[inside].min(), world.lat[inside].max()
        corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
        ring = ", ".join(f"{lon:.5f} {lat:.5f}" for lon, lat in corners)
        rows.append(("town", f"T{number + 1:02d}", town, "area", f"POLYGON (({ring}))", "", "", "", ""))
    names = ("layer", "feature_id", "name", "kind", "geometry", "place_id", "class_code", "valid_from", "valid_to")
    return pl.DataFrame(rows, schema=list(names), orient="row")


class _Known:
    """Rows per feed of some customers. Those who are silent or left leave nothing."""

    def __init__(
        self, world: World, people: People, accounts: Accounts, holdings: Holdings, dice: Dice, days: Days, who: Ints
    ) -> None:
        self._world, self._people, self._accounts, self._holdings = world, people, accounts, holdings
        self._dice, self._days = dice, days
        self._who = who[people.status[who] == ACTIVE]
        self._voice = np.maximum(accounts.voice_minutes[:, -1], 0).astype(np.float64)
        self._data = np.maximum(accounts.data_mb[:, -1], 0).astype(np.float64)

    def _times(self, stream: str, rate: Floats, day: int, most: int) -> tuple[Ints, Ints, Ints]:
        """Who does something how often on a day (Poisson by inversion, at most `most`): who, which time, second."""
        draw = self._dice.uniform(f"usage.{stream}", self._who, day)
        term = np.exp(-rate)
        below = term.copy()
        count = np.zeros(len(rate), dtype=np.int64)
        for number in range(1, most + 1):
            count += draw > below
            term = term * rate / number
            below += term
        who = np.repeat(self._who, count)
        turn = np.arange(len(who)) - np.repeat(np.cumsum(count) - count, count)
        clock = self._dice.uniform(f"usage.{stream}.clock", who, day, turn)
        second = (25_200 + 57_600 * clock).astype(np.int64)
        return who, turn, second

    def _cells(self, who: Ints) -> tuple[Ints, Ints]:
        cell = self._world.place_cells[self._people.home[who]]
        return self._world.lac[cell], self._world.cell[cell]

    def calls(self, day: int) -> pl.DataFrame:
        """Call detail records: calls in proportion to the minutes billed, to few others again and again."""
        who, turn, second = self._times("call", self._voice[self._who] / 60.0, day, 12)
        friend = (self._dice.uniform("usage.call.friend", who, day, turn) ** 2 * 8).astype(np.int64)
        peer = (self._dice.bits("usage.call.peer", who, friend) % np.uint64(len(self._people))).astype(np.int64)
        service = self._dice.uniform("usage.call.service", who, day, turn) < 0.02
        numbers = pl.Series(self._people.msisdn[peer]).cast(pl.String)
        lac, cell = self._cells(who)
        lasts = np.ceil(-100.0 * np.log1p(-self._dice.uniform("usage.call.lasts", who, day, turn)))
        return pl.DataFrame(
            {
                "msisdn": self._people.msisdn[who],
                "start_time": stamps(self._days.on(day), second),
                "direction": 1 + (self._dice.uniform("usage.call.way", who, day, turn) < 0.5),
                "peer": numbers.zip_with(pl.Series(~service), pl.Series([_SERVICE])),
                "seconds": np.minimum(lasts, 3600).astype(np.int64),
                "call_type": 1 + self._dice.choice([0.9, 0.08, 0.018, 0.002], "usage.call.type", who, day, turn),
                "lac": lac,
                "cell": cell,
                "fee_fen": np.zeros(len(who), dtype=np.int64),
            }
        )

    def sessions(self, day: int) -> pl.DataFrame:
        """Data detail records: two a day, volumes in proportion to the megabytes billed, kinds by taste."""
        who, turn, second = self._times("data", np.minimum(self._data[self._who] / 3000.0, 3.0), day, 6)
        kilobytes = self._data[who] * 12.0 * -np.log1p(-self._dice.uniform("usage.data.size", who, day, turn))
        down = np.minimum(kilobytes, 50_000_000).astype(np.int64)
        lac, cell = self._cells(who)
        return pl.DataFrame(
            {
                "msisdn": self._people.msisdn[who],
                "start_time": stamps(self._days.on(day), second),
                "seconds": 30 + (1800 * self._dice.uniform("usage.data.lasts", who, day, turn)).astype(np.int64),
                "up_kb": down // 9,
                "down_kb": down,
                "radio": np.where(self._accounts.phone_5g[who], 5, 4),
                "app_class": pl.Series(_APP_CLASSES).gather(self._liked("usage.data.app", who, day, turn)),
                "lac": lac,
                "cell": cell,
                "roaming": np.zeros(len(who), dtype=np.int64),
                "fee_fen": np.zeros(len(who), dtype=np.int64),
            }
        )

    def visits(self, day: int) -> pl.DataFrame:
        """Internet access logs: what is visited follows the tastes."""
        who, turn, second = self._times("web", np.minimum(self._data[self._who] / 5000.0, 2.0), day, 5)
        liked = self._liked("usage.web.app", who, day, turn)
        word = self._dice.choice([0.02, 0.02, 0.01, 0.02, 0.93], "usage.web.word", who, day, turn)
        size = (4000 * self._dice.uniform("usage.web.size", who, day, turn)).astype(np.int64)
        return pl.DataFrame(
            {
                "msisdn": self._people.msisdn[who],
                "time": stamps(self._days.on(day), second),
                "host": pl.Series(_HOSTS).gather(liked),
                "app": [""] * len(who),
                "category": pl.Series(_APP_CLASSES).gather(liked),
                "keyword": pl.Series(_KEYWORDS).gather(word),
                "seconds": 5 + size // 10,
                "kb": 10 + size,
            }
        )

    def pages(self, day: int) -> pl.DataFrame:
        """Visit logs of the operator's own channels."""
        who, turn, second = self._times("page", np.full(len(self._who), 0.2), day, 4)
        page = self._dice.choice([0.4, 0.25, 0.15, 0.17, 0.03], "usage.page", who, day, turn)
        product = self._dice.bits("usage.page.product", who, day, turn) % np.uint64(len(PRODUCTS))
        shown = pl.Series(page >= 3)
        word = pl.Series(_KEYWORDS[:4]).gather((product % np.uint64(4)).astype(np.int64))
        return pl.DataFrame(
            {
                "msisdn": self._people.msisdn[who],
                "time": stamps(self._days.on(day), second),
                "channel": pl.Series(("app", "web", "mall", "wechat")).gather(
                    self._dice.choice([0.6, 0.15, 0.15, 0.1], "usage.page.channel", who, day)
                ),
                "action": pl.Series([action for _, action in _PAGES]).gather(page),
                "page": pl.Series([name for name, _ in _PAGES]).gather(page),
                "product_id": pl.Series(PRODUCTS).gather(product.astype(np.int64)).zip_with(shown, pl.Series([""])),
                "keyword": word.zip_with(pl.Series(page == 2), pl.Series([""])),
                "session_id": [f"S{day}-{one}" for one in who.tolist()],
                "seconds": 3 + (60 * self._dice.uniform("usage.page.seconds", who, day, turn)).astype(np.int64),
            }
        )

    def complaints(self) -> pl.DataFrame:
        """1.2 % complain within the days; most are answered within two days."""
        who, second = self._some("complaint", 0.012)
        kind = pl.Series(_KINDS).gather(self._dice.choice([0.3, 0.2, 0.15, 0.15, 0.1, 0.1], "usage.complaint", who))
        closed = second + (172_800 * self._dice.uniform("usage.complaint.closed", who)).astype(np.int64)
        answered = closed < self._days.count * 86_400
        content = [f"客户来电反映{name}问题" for name in kind]

        def part(rows: Flags, state: str, seconds: Ints) -> pl.DataFrame:
            mine = pl.Series(rows)
            happy = self._dice.uniform("usage.complaint.happy", who[rows]) < 0.7
            return pl.DataFrame(
                {
                    "complaint_id": [f"TS{self._days.last:%y%m%d}{one:08d}" for one in who[rows].tolist()],
                    "msisdn": self._people.msisdn[who[rows]],
                    "time": stamps(self._days.start, seconds[rows]),
                    "state": [state] * int(rows.sum()),
                    "kind": kind.filter(mine),
                    "product_id": [""] * int(rows.sum()),
                    "contact_id": [""] * int(rows.sum()),
                    "channel": ["call"] * int(rows.sum()),
                    "satisfied": ["" if state == "opened" else "Y" if each else "N" for each in happy.tolist()],
                    "content": pl.Series(content, dtype=pl.String).filter(mine),
                }
            )

        return pl.concat([part(np.ones(len(who), dtype=bool), "opened", second), part(answered, "closed", closed)])

    def terminal_changes(self) -> pl.DataFrame:
        """2 % change to the terminal that the profile names."""
        who, second = self._some("terminal", 0.02)
        models = np.uint64(36)
        before = (self._dice.bits("usage.terminal.before", who) % models).astype(np.int64)
        imei = 860_000_000_000_000 + (self._dice.bits("usage.terminal.imei", who) % np.uint64(10**12)).astype(np.int64)
        return pl.DataFrame(
            {
                "msisdn": self._people.msisdn[who],
                "time": stamps(self._days.start, second),
                "imei": imei,
                "device": device_names(self._accounts.device[who]),
                "earlier_device": device_names(before),
                "radio": np.where(self._accounts.phone_5g[who], 5, 4),
            }
        )

    def recharges(self) -> pl.DataFrame:
        """Two in five recharge within the days."""
        who, second = self._some("recharge", 0.4)
        amount = np.array([3000, 5000, 10_000, 20_000])[self._dice.choice([0.3, 0.35, 0.25, 0.1], "usage.amount", who)]
        channel = self._dice.choice([0.5, 0.1, 0.1, 0.1, 0.02, 0.18], "usage.recharge.channel", who)
        return pl.DataFrame(
            {
                "recharge_id": [f"R{self._days.last:%y%m%d}{one:08d}" for one in who.tolist()],
                "msisdn": self._people.msisdn[who],
                "time": stamps(self._days.start, second),
                "amount_fen": amount,
                "channel": pl.Series(("app", "web", "store", "bank", "card", "auto")).gather(channel),
                "balance_fen": amount + (2000 * self._dice.uniform("usage.balance", who)).astype(np.int64),
            }
        )

    def product_activity(self) -> pl.DataFrame:
        """Use in the last billed month of what was held at the start; a fifth is held and not used."""
        at, item = np.nonzero(self._holdings.at_start[self._who])
        row = self._who[at]
        used = self._dice.uniform("usage.product", row, item) >= 0.2
        active = np.where(used, 1 + (27 * self._dice.uniform("usage.product.days", row, item)).astype(np.int64), 0)
        month = self._days.bill_months()[-1]
        last = np.datetime64(month, "D") + active
        return pl.DataFrame(
            {
                "msisdn": self._people.msisdn[row],
                "product_id": pl.Series(PRODUCTS).gather(item),
                "month": [f"{month:%Y%m}"] * len(row),
                "state": pl.Series(("idle", "active")).gather(used.astype(np.int64)),
                "uses": active * 3,
                "active_days": active,
                "last_use_date": pl.Series(last).dt.strftime("%Y%m%d").zip_with(pl.Series(used), pl.Series([""])),
            }
        )

    def coarse_portrait(self) -> pl.DataFrame:
        """What VGOP says of the last billed month: heavy users by the bill, tastes as it guesses them."""
        people, bill = self._people, self._accounts
        scores = {
            "data.heavy": (bill.data_mb[:, -1] > np.quantile(bill.data_mb[:, -1], 0.8), 0.95),
            "voice.heavy": (bill.voice_minutes[:, -1] > np.quantile(bill.voice_minutes[:, -1], 0.8), 0.95),
            **{f"content.{taste}": (people.tastes[:, at] > 0.9, 0.7) for at, taste in enumerate(TASTES)},
        }
        month = f"{self._days.bill_months()[-1]:%Y%m}"
        parts = [
            pl.DataFrame({"msisdn": people.msisdn[self._who[flag[self._who]]]}).with_columns(
                month=pl.lit(month), tag=pl.lit(tag), value=pl.lit("Y"), score=pl.lit(score)
            )
            for tag, (flag, score) in scores.items()
        ]
        return pl.concat(parts)

    def _some(self, stream: str, share: float) -> tuple[Ints, Ints]:
        """A share of the customers, and one instant of the days each."""
        who = self._who[self._dice.uniform(f"usage.{stream}.some", self._who) < share]
        when = self._dice.uniform(f"usage.{stream}.when", who) * self._days.count * 86_400
        return who, when.astype(np.int64)

    def _liked(self, stream: str, who: Ints, day: int, turn: Ints) -> Ints:
        """A kind of application: the one of the strongest of a customer's tastes, or any."""
        index = np.array([TASTES.index(name) if name else -1 for name in _APP_TASTES])
        tastes = np.where(index >= 0, self._people.tastes[:, index][who], 0.3)
        noise = self._dice.normal(stream, who[:, None], day, turn[:, None], np.arange(len(_APP_CLASSES)))
        return np.asarray((tastes + 0.8 * noise).argmax(axis=1), dtype=np.int64)
