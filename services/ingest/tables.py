"""The tables of this schema as SQLAlchemy Core; `migrations/` makes them and holds their comments and checks."""

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()

feed = Table(
    "feed",
    metadata,
    Column("feed_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("definition", Text, nullable=False),
    Column("shipped", Text, nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
)

delivery = Table(
    "delivery",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("delivery_no", BigInteger, nullable=False),
    Column("feed_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("period", Date),
    Column("sequence", Integer, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("source_rows", BigInteger, nullable=False),
    Column("loaded_rows", BigInteger, nullable=False),
    Column("rejected_rows", BigInteger, nullable=False),
    Column("problems", JSONB, nullable=False),
    Column("receive_time", DateTime(timezone=True), nullable=False),
    Column("load_time", DateTime(timezone=True)),
    Column("notes", JSONB, nullable=False),
    Column("replay_of", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False, server_default=""),
)

lake_file = Table(
    "lake_file",
    metadata,
    Column("path", Text, primary_key=True),
    Column("delivery_id", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("period", Date, nullable=False),
    Column("bucket", Integer, nullable=False),
)

reject = Table(
    "reject",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("line", BigInteger, primary_key=True),
    Column("column_name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("replay_delivery_id", Text, nullable=False, server_default=""),
)

alarm = Table(
    "alarm",
    metadata,
    Column("alarm_no", BigInteger, primary_key=True),
    Column("alarm_id", Text, nullable=False),
    Column("feed_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("period", Date, nullable=False),
    Column("message", Text, nullable=False),
    Column("raise_time", DateTime(timezone=True), nullable=False),
    Column("clear_time", DateTime(timezone=True)),
)

upload = Table(
    "upload",
    metadata,
    Column("upload_id", Text, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("received_bytes", BigInteger, nullable=False),
    Column("committed", Boolean, nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
)

collected = Table(
    "collected",
    metadata,
    Column("source", Text, primary_key=True),
    Column("file_name", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("change_time", DateTime(timezone=True), nullable=False),
    Column("collect_time", DateTime(timezone=True), nullable=False),
)

vault = Table(
    "vault",
    metadata,
    Column("customer_key", BigInteger, primary_key=True),
    Column("token", LargeBinary),
    Column("sealed", LargeBinary, nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("retire_time", DateTime(timezone=True)),
    Column("erase_time", DateTime(timezone=True)),
)

merge = Table(
    "merge",
    metadata,
    Column("customer_key", BigInteger, primary_key=True),
    Column("into_key", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("merge_time", DateTime(timezone=True), nullable=False),
)

erasure = Table(
    "erasure",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("customer_keys", ARRAY(BigInteger), nullable=False),
    Column("sealed", ARRAY(LargeBinary), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("removed", JSONB, nullable=False),
    Column("proof", JSONB, nullable=False),
    Column("request_time", DateTime(timezone=True), nullable=False),
    Column("end_time", DateTime(timezone=True)),
)

customer = Table(
    "customer",
    metadata,
    Column("customer_key", BigInteger, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("period", Date, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("delivery_id", Text, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("event_no", BigInteger, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("occur_time", DateTime(timezone=True), nullable=False),
    Column("receive_time", DateTime(timezone=True), nullable=False),
    Column("attributes", JSONB, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("arrival_no", BigInteger, nullable=False),
    Column("said", Text, nullable=False),
)

disclosure = Table(
    "disclosure",
    metadata,
    Column("disclosure_id", Text, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("customer_keys", ARRAY(BigInteger), nullable=False),
    Column("disclose_time", DateTime(timezone=True), nullable=False),
)
