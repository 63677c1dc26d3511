"""The OCRM hand-over file: its names, its rows, its control file. GB18030, pipes, no header, line feeds."""

import re
from collections.abc import Sequence
from datetime import date, tzinfo

from services.contact.domain.plan import Contact, attribution_token

ENCODING = "gb18030"
COLUMNS = (
    "contact_id",
    "msisdn",
    "campaign_id",
    "offer_id",
    "product_id",
    "channel",
    "content",
    "contact_time",
    "attribution_token",
    "tags",
)
"""What stands in a row: the time is local, YYYYMMDDhhmmss; tags are `CODE` or `CODE=value`, joined by semicolons."""

_SPOILING = re.compile(r"[|;=\r\n\x00]")


def file_name(plan_date: date, sequence: int) -> str:
    """The data file's name; the control file has the same stem and .CHK."""
    return f"OCRM_CONTACT_{plan_date:%Y%m%d}_{sequence:03d}.TXT"


def control_name(name: str) -> str:
    """The control file's name for a data file's."""
    return f"{name.removesuffix('.TXT')}.CHK"


def row(contact: Contact, msisdn: str, content: str, tags: Sequence[tuple[str, str]], zone: tzinfo) -> bytes:
    """One contact with its clear number and its customer's tags (code, value or ""), for the file alone."""
    columns = (
        contact.contact_id,
        msisdn,
        contact.campaign_id,
        contact.offer_id,
        contact.product_id,
        contact.channel,
        content,
        contact.contact_time.astimezone(zone).strftime("%Y%m%d%H%M%S"),
        attribution_token(contact.contact_id),
        ";".join(f"{code}={_SPOILING.sub(' ', value)}" if value else code for code, value in tags),
    )
    return ("|".join(columns) + "\n").encode(ENCODING)


def tagged(row: bytes) -> bool:
    """Whether a row tells tags. Read as text, since the second byte of a character may be that of a pipe."""
    return not row.decode(ENCODING).rstrip("\n").endswith("|")


def control(name: str, rows: int, md5: str, size: int, tagged: int) -> bytes:
    """The control file: name, row count, MD5 (hex) and bytes of the data file, and how many of its rows tell tags."""
    return f"{name}|{rows}|{md5}|{size}|{tagged}\n".encode(ENCODING)
