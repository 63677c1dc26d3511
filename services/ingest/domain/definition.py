"""A feed's definition: YAML text in, a Feed out, and every problem reported with the key that it is at."""

import re
from datetime import date, time
from typing import Annotated, Any, Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.ingest import refusals
from services.ingest.domain import feed as contract
from services.ingest.domain.contract import PARTY
from services.ingest.domain.feed import Type, name_pattern

_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_LAYOUTS = {
    Type.DATE: ("YYYYMMDD", "YYYYMM", "YYYY-MM-DD"),
    Type.DATETIME: ("YYYYMMDDHHMMSS", "YYYY-MM-DD HH:MM:SS"),
}
_RULES = {
    "codes": (Type.CODE,),
    "least": (Type.INT, Type.DECIMAL),
    "most": (Type.INT, Type.DECIMAL),
    "pattern": (Type.STRING,),
    "longest": (Type.STRING,),
    "masked": (Type.STRING,),
    "layout": (Type.DATE, Type.DATETIME),
    "within_period": (Type.DATETIME,),
    "references": (Type.STRING,),
    "after": (Type.DATE, Type.DATETIME),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Column(_Strict):
    name: _Name
    type: Type
    required: bool = False
    codes: dict[str, str | int] | list[str] | None = None
    least: float | None = None
    most: float | None = None
    pattern: str = ""
    longest: int = Field(default=256, ge=1, le=65536)
    layout: str = ""
    within_period: bool = False
    masked: bool | None = None
    references: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)?$")
    after: _Name | Literal[""] = ""
    about: str = Field(default="", max_length=400)

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> "_Column":
        for rule, types in _RULES.items():
            if rule in self.model_fields_set and self.type not in types:
                raise ValueError(f"{rule} is a rule for {' and '.join(each.value for each in types)} only")
        if self.type is Type.CODE and not self.codes:
            raise ValueError("codes must name at least one code")
        if self.layout and self.layout not in _LAYOUTS[self.type]:
            raise ValueError(f"layout must be one of {', '.join(_LAYOUTS[self.type])}")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("least must not be more than most")
        try:  # by the engine that will judge with it
            pl.select(pl.lit("").str.contains(contract.whole(self.pattern)))
        except pl.exceptions.ComputeError as error:
            raise ValueError("pattern is not a regular expression (of the Rust kind: no look-around)") from error
        return self

    def value(self) -> contract.Column:
        codes = {code: code for code in self.codes} if isinstance(self.codes, list) else self.codes
        layout = self.layout or next(iter(_LAYOUTS.get(self.type, ("",))))
        return contract.Column(**(self.model_dump() | {"codes": codes, "layout": layout}))


_ControlField = Annotated[str, Field(pattern=r"^(file_name|rows|md5|sha256|bytes|sum:[a-z][a-z0-9_]{0,62})$")]


class _Control(_Strict):
    suffix: str = Field(default=".CHK", pattern=r"^\.[A-Za-z0-9]{1,8}$")
    delimiter: str = Field(default="|", min_length=1, max_length=1)
    fields: list[_ControlField] = Field(default=["file_name", "rows", "md5", "bytes"], min_length=2)

    @model_validator(mode="after")
    def _says_enough(self) -> "_Control":
        if len(set(self.fields)) != len(self.fields):
            raise ValueError("fields must not repeat")
        if "rows" not in self.fields or not {"md5", "sha256"} & set(self.fields):
            raise ValueError("fields must hold rows and a checksum (md5 or sha256)")
        return self


class _Threshold(_Strict):
    share: float = Field(default=0.02, ge=0, le=1)
    rows: int = Field(default=20, ge=0)
    alarm: float = Field(default=0.01, ge=0, le=1)


class _Schedule(_Strict):
    cycle: contract.Cycle
    due: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    days: int = Field(default=0, ge=0, le=60)

    def value(self) -> contract.Schedule:
        return contract.Schedule(self.cycle, time.fromisoformat(self.due), self.days)


class _Volume(_Strict):
    least: int | None = Field(default=None, ge=0)
    most: int | None = Field(default=None, ge=0)
    share: float = Field(default=0.5, gt=0, le=100)
    periods: int = Field(default=8, ge=3, le=100)


class _Retention(_Strict):
    days: int = Field(ge=1, le=36500)


class _Event(_Strict):
    type: str = Field(pattern=r"^[a-z_]+(\.[A-Za-z_]+|\.\{[a-z][a-z0-9_]*\})+$")
    id: list[_Name] = Field(min_length=1)
    time: _Name


class _Target(_Strict):
    bucketed: bool = False
    cell_id: tuple[_Name, _Name] | None = None
    event: _Event | None = None
    customers: bool = False


class _Definition(_Strict):
    feed: _Name
    title: str = Field(min_length=1, max_length=200)
    file_name: str = Field(pattern=r"^[A-Za-z0-9_.{}-]{1,200}$")
    encoding: Literal["gb18030", "utf-8"] = "gb18030"
    delimiter: str = Field(default="|", pattern=r"^[\t!-,./:;<=>?@\\^_`|~]$")
    header: bool = False
    control: _Control = _Control()
    rejects: _Threshold = _Threshold()
    order: int = Field(default=50, ge=0, le=100)
    purpose: str = Field(min_length=3, max_length=400)
    legal_basis: str = Field(min_length=3, max_length=400)
    target: _Target = _Target()
    unique: list[_Name] = []
    schedule: _Schedule | None = None
    volume: _Volume = _Volume()
    retention: _Retention | None = None
    effective_from: date = date.min
    columns: list[_Column] = Field(min_length=1, max_length=500)


def read(definition: str) -> contract.Feed:
    """The feed that a YAML text defines. Raises feed_invalid with all problems, each with its key."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(definition, Loader=yaml.SafeLoader)):
            raise refusals.feed_invalid([("", "aliases are not allowed")])
        plain = yaml.safe_load(definition)
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        where = f" at line {at.line + 1}, column {at.column + 1}" if at else ""
        raise refusals.feed_invalid([("", f"not YAML{where}")]) from error
    try:
        parsed = _Definition.model_validate(plain)
    except ValidationError as error:
        raise refusals.feed_invalid([(_key(each["loc"]), each["msg"]) for each in error.errors()]) from error
    problems = _contradictions(parsed)
    if problems:
        raise refusals.feed_invalid(problems)
    return _feed(parsed)


def _key(loc: tuple[int | str, ...]) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return key.lstrip(".")


def _contradictions(parsed: _Definition) -> list[tuple[str, str]]:
    """What pydantic cannot see: keys that speak of each other."""
    types = {column.name: column.type for column in parsed.columns}
    problems = _name_problems(parsed)
    if len(types) != len(parsed.columns):
        problems.append(("columns", "two columns have the same name"))
    numbers = [name for name, kind in types.items() if kind is Type.MSISDN]
    if len(numbers) > 1:
        problems.append(("columns", "only one column may be the customer's number"))
    reserved = sorted({"line", "customer_key", "cell_id", "bucket"} & set(types))
    problems += [("columns", f"{name} is a name of the platform") for name in reserved]

    def expect(key: str, name: str, *allowed: Type) -> None:
        if name not in types:
            problems.append((key, f"no column is named {name}"))
        elif allowed and types[name] not in allowed:
            problems.append((key, f"column {name} must be {' or '.join(each.value for each in allowed)}"))

    earlier: dict[str, Type] = {}
    for number, column in enumerate(parsed.columns):
        if column.after and earlier.get(column.after) is not column.type:
            problems.append((f"columns[{number}].after", f"must name an earlier column of type {column.type.value}"))
        earlier[column.name] = column.type
    for number, name in enumerate(parsed.unique):
        expect(f"unique[{number}]", name)
    for number, name in enumerate(parsed.control.fields):
        if name.startswith(contract.TOTAL):
            expect(f"control.fields[{number}]", name.removeprefix(contract.TOTAL), Type.INT)
    for number, name in enumerate(parsed.target.cell_id or ()):
        expect(f"target.cell_id[{number}]", name, Type.INT)
    if (parsed.target.bucketed or parsed.target.customers) and not numbers:
        problems.append(("target", "a bucketed feed or one of customers needs a column of type msisdn"))
    if parsed.target.customers:
        expect("target.customers", "org_id", Type.STRING)
        expect("target.customers", "status", Type.CODE)
        if PARTY in types:
            problems.append(("columns", f"{PARTY} is a name of the platform in a feed of customers"))
    if parsed.target.event is not None:
        for number, name in enumerate(parsed.target.event.id):
            expect(f"target.event.id[{number}]", name, *(each for each in Type if each is not Type.PARTY))
        for name in re.findall(r"\{([a-z0-9_]+)\}", parsed.target.event.type):
            expect("target.event.type", name, Type.CODE)
        expect("target.event.time", parsed.target.event.time, Type.DATETIME)
    return problems


def _name_problems(parsed: _Definition) -> list[tuple[str, str]]:
    """The name must say the period, and must not be that of its control file."""
    problems = []
    rest = parsed.file_name.replace("{sequence}", "", 1)
    if rest.count("{period}") != 1 or set("{}") & set(rest.replace("{period}", "")):
        problems.append(("file_name", "must hold {period} once, and may hold {sequence}"))
    elif parsed.file_name.endswith(parsed.control.suffix) or parsed.file_name.startswith("."):
        problems.append(("file_name", "must not begin with a dot, nor end like its control file"))
    else:
        re.compile(name_pattern(parsed.file_name))
    return problems


def _feed(parsed: _Definition) -> contract.Feed:
    target: dict[str, Any] = parsed.target.model_dump()
    if parsed.target.event is not None:
        event = parsed.target.event
        target["event"] = contract.EventMapping(type=event.type, id=tuple(event.id), time=event.time)
    return contract.Feed(
        feed_id=parsed.feed,
        title=parsed.title,
        file_name=parsed.file_name,
        encoding=parsed.encoding,
        delimiter=parsed.delimiter,
        header=parsed.header,
        control=contract.Control(parsed.control.suffix, parsed.control.delimiter, tuple(parsed.control.fields)),
        threshold=contract.Threshold(parsed.rejects.share, parsed.rejects.rows, parsed.rejects.alarm),
        columns=tuple(column.value() for column in parsed.columns),
        unique=tuple(parsed.unique),
        target=contract.Target(**target),
        order=parsed.order,
        purpose=parsed.purpose,
        legal_basis=parsed.legal_basis,
        schedule=parsed.schedule.value() if parsed.schedule else None,
        volume=contract.Volume(**parsed.volume.model_dump()),
        retention_days=parsed.retention.days if parsed.retention else None,
        effective_from=parsed.effective_from,
    )
