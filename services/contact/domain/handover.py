"""The OCRM hand-over file: its names, its rows, its control file. GB18030, pipes, no header, line feeds."""

from datetime import date, tzinfo

from services.contact.domain.plan import Contact, attribution_token

ENCODING = "gb18030"


def file_name(plan_date: date, sequence: int) -> str:
    """The data file's name; the control file has the same stem and .CHK."""
    return f"OCRM_CONTACT_{plan_date:%Y%m%d}_{sequence:03d}.TXT"


def control_name(name: str) -> str:
    """The control file's name for a data file's."""
    return f"{name.removesuffix('.TXT')}.CHK"


def row(contact: Contact, msisdn: str, content: str, zone: tzinfo) -> bytes:
    """One contact with its clear number, for the file alone."""
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
    )
    return ("|".join(columns) + "\n").encode(ENCODING)


def control(name: str, rows: int, md5: str, size: int) -> bytes:
    """The control file: name, row count, MD5 (hex) and bytes of the data file."""
    return f"{name}|{rows}|{md5}|{size}\n".encode(ENCODING)
