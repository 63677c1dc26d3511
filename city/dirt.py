"""The dirty rows that are planted on purpose: what is broken in which feed."""

from collections.abc import Mapping

from city.files import Dirt

_SHORT = Dirt("short_msisdn", 0, b"1380013800")
_WIDE = Dirt("wrong_column_count", None, "多余".encode("gb18030"))

# Every entry breaks exactly one thing of a good row. Dates and times are ones that no calendar has.
DIRT: Mapping[str, tuple[Dirt, ...]] = {
    "staff": (Dirt("bad_date", 4, b"20260230"),),
    "places": (_WIDE,),
    "customers": (
        _SHORT,
        Dirt("bad_date", 6, b"20251341"),
        Dirt("unknown_code", 2, b"X"),
        Dirt("empty_required", 1, b""),
        _WIDE,
    ),
    "bills": (_SHORT, Dirt("bad_date", 1, b"202613"), Dirt("bad_number", 2, b"12,5")),
    "orders": (Dirt("unknown_code", 3, b"pause"), Dirt("bad_date", 4, b"20260931250000")),
    "consent": (Dirt("unknown_code", 1, b"fax"), Dirt("empty_required", 2, b"")),
    "fields": (Dirt("bad_number", 3, "一半".encode("gb18030")),),
    "signalling": (
        Dirt("unknown_code", 2, b"9"),
        Dirt("bad_date", 1, b"20260931256199"),
        _WIDE,
        Dirt("empty_required", 4, b""),
    ),
    "business_events": (
        Dirt("unknown_code", 2, b"GIFT"),
        Dirt("empty_required", 0, b""),
        Dirt("bad_date", 1, b"2026093"),
    ),
    "call_details": (Dirt("unknown_code", 2, b"7"), Dirt("bad_number", 4, b"1:30")),
    "complaints": (Dirt("unknown_code", 4, b"weather"),),
    "recharges": (Dirt("bad_number", 3, b"30.00"),),
}
