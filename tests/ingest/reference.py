"""The contract again, row by row in plain Python: slow, obvious, and written apart from the real one."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.ingest.domain.feed import Column, Feed, Type

Row = dict[str, Any]
Reject = tuple[int, str, str]

LAYOUTS = {
    "YYYYMMDD": "%Y%m%d",
    "YYYYMM": "%Y%m",
    "YYYY-MM-DD": "%Y-%m-%d",
    "YYYYMMDDHHMMSS": "%Y%m%d%H%M%S",
    "YYYY-MM-DD HH:MM:SS": "%Y-%m-%d %H:%M:%S",
}


def lines_of(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return [line.removesuffix(b"\r") for line in (lines if lines[-1] else lines[:-1])]


def judge(data: bytes, feed: Feed, period: date, zone: str) -> tuple[list[Row], list[Reject]]:
    """The good rows with their line, and the rejected ones."""
    good: list[Row] = []
    bad: list[Reject] = []
    seen = set()
    for number, line in enumerate(lines_of(data), 1):
        try:
            text = line.decode(feed.encoding)
        except UnicodeDecodeError:
            text = "\ufffd"
        parts = text.split(feed.delimiter)
        if "\ufffd" in text:
            bad.append((number, "", "UNDECODABLE"))
        elif "\r" in text:
            bad.append((number, "", "LINE_BROKEN"))
        elif len(parts) != len(feed.columns) or not text:
            bad.append((number, "", "COLUMN_COUNT"))
        else:
            row, fault = judge_row(parts, feed, period, zone)
            key = tuple(parts[[column.name for column in feed.columns].index(name)] for name in feed.unique)
            if fault:
                bad.append((number, *fault))
            elif key and key in seen:
                bad.append((number, feed.unique[0], "DUPLICATE"))
            else:
                seen.add(key)
                good.append(row | {"line": number})
    return good, bad


def judge_row(parts: list[str], feed: Feed, period: date, zone: str) -> tuple[Row, tuple[str, str] | None]:
    row: Row = {}
    for text, column in zip(parts, feed.columns, strict=True):
        if text == "":
            if column.required:
                return {}, (column.name, "REQUIRED_MISSING")
            row[column.name] = None
            continue
        value, reason = judge_value(text, column, period, zone)
        if not reason and column.after and row[column.after] is not None and value <= row[column.after]:
            reason = "NOT_AFTER"
        if reason:
            return {}, (column.name, reason)
        row[column.name] = value
    return row, None


def judge_value(text: str, column: Column, period: date, zone: str) -> tuple[Any, str]:
    match column.type:
        case Type.STRING:
            if len(text) > column.longest:
                return None, "TOO_LONG"
            if column.pattern and not re.fullmatch(column.pattern, text):
                return None, "PATTERN_WRONG"
            return text, ""
        case Type.CODE:
            assert column.codes is not None
            return (column.codes[text], "") if text in column.codes else (None, "CODE_UNKNOWN")
        case Type.MSISDN:
            return (int(text), "") if re.fullmatch("1[0-9]{10}", text) else (None, "TYPE_WRONG")
        case Type.INT | Type.DECIMAL:
            shape = "-?[0-9]{1,18}" if column.type is Type.INT else r"-?[0-9]{1,12}(\.[0-9]{1,12})?"
            if not re.fullmatch(shape, text):
                return None, "TYPE_WRONG"
            number = int(text) if column.type is Type.INT else float(text)
            low = column.least is not None and number < column.least
            high = column.most is not None and number > column.most
            return (None, "OUT_OF_RANGE") if low or high else (number, "")
        case Type.DATE | Type.DATETIME:
            return judge_time(text, column, period, zone)


def judge_time(text: str, column: Column, period: date, zone: str) -> tuple[Any, str]:
    """Only the digits that the layout shows, years 1900 to 2099, no 60th second."""
    layout = LAYOUTS[column.layout]
    try:
        local = datetime.strptime(text, layout)  # noqa: DTZ007 - it becomes aware below
    except ValueError:
        return None, "TYPE_WRONG"
    if local.strftime(layout) != text or not 1900 <= local.year < 2100:
        return None, "TYPE_WRONG"
    if column.type is Type.DATE:
        return local.date(), ""
    moment = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    if moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != local:
        return None, "TYPE_WRONG"
    if column.within_period and not timedelta(0) <= local - datetime.combine(period, datetime.min.time()) < timedelta(
        1
    ):
        return None, "OUT_OF_PERIOD"
    return moment, ""
