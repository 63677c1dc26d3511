"""Tables of the schema `admin`."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()
_TIME = DateTime(timezone=True)

organisation = Table(
    "organisation",
    metadata,
    Column("org_id", Text, primary_key=True),
    Column("parent_org_id", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("update_time", _TIME, nullable=False),
)

principal = Table(
    "principal",
    metadata,
    Column("principal_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("secret", Text, nullable=False),
    Column("wrong_secrets", Integer, nullable=False),
    Column("closed_until", _TIME),
    Column("version", BigInteger, nullable=False),
    Column("update_time", _TIME, nullable=False),
)

role = Table(
    "role",
    metadata,
    Column("role_id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("permissions", ARRAY(Text), nullable=False),
    Column("owner_org_id", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("update_time", _TIME, nullable=False),
)

principal_role = Table(
    "principal_role",
    metadata,
    Column("principal_id", Text, primary_key=True),
    Column("role_id", Text, primary_key=True),
    Column("granted_by", Text, nullable=False),
    Column("grant_time", _TIME, nullable=False),
)

parameter = Table(
    "parameter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("update_time", _TIME, nullable=False),
)

dictionary_entry = Table(
    "dictionary_entry",
    metadata,
    Column("dictionary", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("update_time", _TIME, nullable=False),
)

operation = Table(
    "operation",
    metadata,
    Column("sequence", BigInteger, primary_key=True),
    Column("service", Text, nullable=False),
    Column("operation_id", Text, nullable=False),
    Column("time", _TIME, nullable=False),
    Column("caller", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("refused", Boolean, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("hash", Text, nullable=False),
)

operation_head = Table(
    "operation_head",
    metadata,
    Column("sequence", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)
