"""The tables of the schema `portrait`, as SQLAlchemy Core; the migrations make them and say what they are."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

delivery = Table(
    "delivery",
    metadata,
    Column("feed_id", Text, primary_key=True),
    Column("period", Date, primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("delivery_id", Text, nullable=False),
    Column("loaded_rows", BigInteger, nullable=False),
)

planned = Table(
    "planned",
    metadata,
    Column("from_date", Date, primary_key=True),
    Column("to_date", Date, primary_key=True),
    Column("job_key", Text, nullable=False),
    Column("job_id", Text, nullable=False),
)

run = Table(
    "run",
    metadata,
    Column("run_no", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", Text, nullable=False, unique=True),
    Column("job_id", Text, nullable=False),
    Column("from_date", Date, nullable=False),
    Column("to_date", Date, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("signalling_rows", BigInteger, nullable=False),
    Column("visits", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("catalogue_version", Text, nullable=False),
    Column("catalogue_digest", Text, nullable=False),
    Column("percentiles", JSONB, nullable=False),
    Column("publish_time", DateTime(timezone=True), nullable=False),
)

current_run = Table(
    "current_run",
    metadata,
    Column("one", Boolean, primary_key=True),
    Column("run_no", BigInteger, nullable=False),
)

run_file = Table(
    "run_file",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("bucket", Integer, primary_key=True),
    Column("uri", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
)

portrait = Table(
    "portrait",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("customer_key", BigInteger, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

tag_count = Table(
    "tag_count",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("customers", BigInteger, nullable=False),
)

tag_bearer = Table(
    "tag_bearer",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("customer_key", BigInteger, primary_key=True),
    Column("org_id", Text, nullable=False),
)

dwell_audit = Table(
    "dwell_audit",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("caller", Text, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
)
