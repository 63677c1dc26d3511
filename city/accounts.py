"""The customer as the operator knows him: plan, brand, device, tenure and six months of bills."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from city.dice import Dice, Flags, Floats, Ints
from city.people import LEFT, SILENT, People
from city.tables import TASTES, Days, column, numbers

BRANDS = ("神州行", "动感地带", "全球通")
MONTHS = 6
_MAKERS = ("华为", "小米", "OPPO", "vivo", "荣耀", "苹果")
_FIRST_5G_FEE = 10_000  # fen; dearer plans are 5G plans
_MONTHS_OF_LEAVERS = 2  # bills that exist of people who left

Dates = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Accounts:
    """One entry per customer; bill arrays have shape (people, 6), oldest month first, and -1 where there is no bill."""

    plan: Ints
    brand: Ints
    level: Ints
    joined: Dates
    device: Ints
    income: Floats
    fee_fen: Ints
    voice_minutes: Ints
    sms_count: Ints
    data_mb: Ints

    @property
    def phone_5g(self) -> Flags:
        """Whether the device is a 5G phone."""
        return np.asarray(self.device % 2 == 1)

    @property
    def plan_5g(self) -> Flags:
        """Whether the plan is a 5G plan."""
        return np.asarray(numbers("plans", "fee_fen")[self.plan] > _FIRST_5G_FEE)


def open_accounts(people: People, dice: Dice, days: Days) -> Accounts:
    """Draws what the operator knows about the people, caused by age, role, tastes and a latent income."""
    who = np.arange(len(people))
    age = days.start.year - people.birth_year
    income = numbers("roles", "income")[people.role] + 0.6 * dice.normal("income", who)
    taste = {name: people.tastes[:, index] for index, name in enumerate(TASTES)}
    modern = 0.2 + 0.7 * income - (age - 38) / 22 + 0.5 * taste["game"] + 0.4 * taste["digital"]
    phone_5g = dice.uniform("5g", who) < 1 / (1 + np.exp(-modern))
    device = (dice.bits("maker", who) % np.uint64(len(_MAKERS) * 3)).astype(np.int64) * 2 + phone_5g
    wish = income + 0.5 * phone_5g + 0.35 * dice.normal("plan", who)
    plan = np.searchsorted(numbers("plans", "from_income"), wish, side="right") - 1
    plan = np.where(~phone_5g & (plan > 3), np.where(dice.uniform("plan.4g", who) < 0.8, 3, plan), plan)
    fee = numbers("plans", "fee_fen")[plan]
    brand = np.where(fee > _FIRST_5G_FEE, 2, np.where(age < 27, 1, 0))
    tenure_days = 20 + 3400 * dice.uniform("tenure", who) ** 2.2 * np.clip((age - 10) / 25, 0.15, 1.0)
    joined = np.datetime64(days.start) - tenure_days.astype("timedelta64[D]")
    bills = _bills(people, dice, days, plan, phone_5g, income, joined, taste)
    level = np.digitize(fee * np.exp(0.3 * dice.normal("level", who)), [6000, 13000])
    return Accounts(plan, brand, level, joined, device, income, *bills)


def _bills(
    people: People,
    dice: Dice,
    days: Days,
    plan: Ints,
    phone_5g: Flags,
    income: Floats,
    joined: Dates,
    taste: dict[str, Floats],
) -> tuple[Ints, Ints, Ints, Ints]:
    """Fees with a trend per customer (60 % stable, 15 % rising, 15 % falling, 10 % unsteady), usage by tastes."""
    who, month = np.arange(len(people)), np.arange(MONTHS)
    age = days.start.year - people.birth_year
    trend = dice.choice([0.60, 0.15, 0.15, 0.10], "trend", who)
    slope = np.choose(trend, [0.0, 1.0, -1.0, 0.0]) * (0.08 + 0.08 * dice.uniform("slope", who))
    shake = np.where(trend == 3, 0.75, 0.05)[:, None] * dice.normal("shake", who[:, None], month)
    course = np.exp(slope[:, None] * (month - 2.5) + shake)
    quiet = np.where(people.status == SILENT, 0.05, 1.0)[:, None]
    fee = numbers("plans", "fee_fen")[plan] * np.exp(0.18 * dice.normal("fee", who))
    data = np.exp(
        8.9
        + 0.45 * taste["film"]
        + 0.40 * taste["game"]
        + 0.20 * taste["digital"]
        + 0.35 * phone_5g
        - 0.013 * (age - 35)
        + 0.4 * dice.normal("data", who)
    )
    talk = np.exp(
        4.7
        + 0.25 * income
        + np.where(people.is_role("runner", "office", "retail"), 0.5, 0.0)
        + 0.55 * dice.normal("talk", who)
    )
    text = np.exp(2.4 + 0.3 * taste["family"] + 0.8 * dice.normal("text", who))
    usage = [
        fee[:, None] * course,
        talk[:, None] * course**0.7 * np.exp(0.12 * dice.normal("talk.month", who[:, None], month)) * quiet,
        text[:, None] * np.exp(0.3 * dice.normal("text.month", who[:, None], month)) * quiet,
        data[:, None] * course**0.8 * np.exp(0.12 * dice.normal("data.month", who[:, None], month)) * quiet,
    ]
    # A month is billed when the customer had joined before it ended.
    ends = np.array([*days.bill_months()[1:], days.start.replace(day=1)], dtype="datetime64[D]")
    missing = joined[:, None] >= ends
    missing |= (people.status == LEFT)[:, None] & (month >= _MONTHS_OF_LEAVERS)
    fen, voice, sms, mb = (np.where(missing, -1, np.round(values)).astype(np.int64) for values in usage)
    return fen, voice, sms, mb


def device_names(device: Ints) -> pl.Series:
    """Device names; the last word is the radio generation."""
    names = [
        f"{_MAKERS[model % len(_MAKERS)]} {'SXP'[model // len(_MAKERS)]}{model % 7 + 1} {radio}G"
        for model in range(len(_MAKERS) * 3)
        for radio in (4, 5)
    ]
    return pl.Series(names).gather(device)


def plan_names(plan: Ints) -> pl.Series:
    """Plan codes."""
    return pl.Series(column("plans", "plan")).gather(plan)


@dataclass(frozen=True)
class Statistics:
    """Stat columns of the tag rules, float with NaN for null; fees in fen. See `city/README.md` for the definitions."""

    age: Floats
    phone_5g: Flags
    plan_5g: Flags
    fee_3m: Floats
    slope_6m: Floats
    variation_6m: Floats
    voice_1m: Floats
    data_1m: Floats
    active: Flags


def statistics(people: People, accounts: Accounts, days: Days) -> Statistics:
    """The stat columns as of the last generated day."""
    fee = np.where(accounts.fee_fen < 0, np.nan, accounts.fee_fen)
    known = ~np.isnan(fee)
    months = known.sum(axis=1)
    index = np.where(known, np.arange(MONTHS, dtype=np.float64), np.nan)
    filled = np.where(known, fee, 0.0)
    enough = months >= 3
    count = np.maximum(months, 1)
    mean = filled.sum(axis=1) / count
    centre = np.where(known, index - (np.where(known, index, 0.0).sum(axis=1) / count)[:, None], 0.0)
    spread = np.maximum((centre**2).sum(axis=1), 1e-9)
    slope = (centre * filled).sum(axis=1) / spread
    deviation = np.sqrt((np.where(known, filled - mean[:, None], 0.0) ** 2).sum(axis=1) / count)
    recent = known[:, 3:].sum(axis=1)
    voice, data = accounts.voice_minutes[:, -1], accounts.data_mb[:, -1]
    positive = np.maximum(mean, 1e-9)
    return Statistics(
        age=(days.last.year - people.birth_year).astype(np.float64),
        phone_5g=accounts.phone_5g,
        plan_5g=accounts.plan_5g,
        fee_3m=np.where(recent > 0, filled[:, 3:].sum(axis=1) / np.maximum(recent, 1), np.nan),
        slope_6m=np.where(enough, slope / positive, np.nan),
        variation_6m=np.where(enough, deviation / positive, np.nan),
        voice_1m=np.where(voice < 0, np.nan, voice),
        data_1m=np.where(data < 0, np.nan, data),
        active=people.status == 0,
    )
