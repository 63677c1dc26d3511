"""The tables of the schema `portrait`, as SQLAlchemy Core; the migrations make them and say what they are."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
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
    Column("held", JSONB, nullable=False, server_default="[]"),
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
    Column("clear", LargeBinary, nullable=False),
    Column("masked", LargeBinary, nullable=False),
)

tag_count = Table(
    "tag_count",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("customers", BigInteger, nullable=False),
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


tag_bitmap = Table(
    "tag_bitmap",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("members", LargeBinary, nullable=False),
)

audience = Table(
    "audience",
    metadata,
    Column("audience_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("title", Text, nullable=False),
    Column("expression", JSONB, nullable=False),
    Column("text", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

frozen_audience = Table(
    "frozen_audience",
    metadata,
    Column("frozen_id", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("members", LargeBinary, nullable=False),
)

customer_list = Table(
    "customer_list",
    metadata,
    Column("list_id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("members", LargeBinary, nullable=False),
)

access_audit = Table(
    "access_audit",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("caller", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("purpose", Text, nullable=False),
)

moment_rule = Table(
    "moment_rule",
    metadata,
    Column("rule_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("pattern", JSONB, nullable=False),
    Column("audience", JSONB(none_as_null=True)),
    Column("cool_down_ms", BigInteger, nullable=False),
    Column("lateness_ms", BigInteger, nullable=False),
    Column("stale_after_ms", BigInteger, nullable=False),
    Column("publish_ms", BigInteger),
    Column("retire_ms", BigInteger),
    Column("owner", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

moment_event = Table(
    "moment_event",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_key", BigInteger, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("occur_ms", BigInteger, nullable=False),
    Column("receive_ms", BigInteger, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("fields", Text, nullable=False),
)

moment = Table(
    "moment",
    metadata,
    Column("moment_id", Text, primary_key=True),
    Column("rule_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("match_ms", BigInteger, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("start_event_id", Text, nullable=False),
    Column("found_ms", BigInteger, nullable=False),
)

tag_version = Table(
    "tag_version",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("definition", JSONB, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

tag_approval = Table(
    "tag_approval",
    metadata,
    Column("code", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("aspect", Text, primary_key=True),
    Column("approver", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
)

catalogue_document = Table(
    "catalogue_document",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("document", JSONB, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

place_version = Table(
    "place_version",
    metadata,
    Column("place_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("class_code", Text, nullable=False),
    Column("from_date", Date, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

place_task = Table(
    "place_task",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("place_id", Text, primary_key=True),
    Column("cell_id", BigInteger, primary_key=True),
    Column("traffic", BigInteger, nullable=False),
    Column("read_as", Text, nullable=False),
    Column("kilometres", Double, nullable=False),
)

dwell_area = Table(
    "dwell_area",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("day_type", Text, primary_key=True),
    Column("slot", Text, primary_key=True),
    Column("place_id", Text, primary_key=True),
    Column("place_name", Text, nullable=False),
    Column("place_class", Text, nullable=False),
    Column("town", Text, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("secs", BigInteger, nullable=False),
)

crowd = Table(
    "crowd",
    metadata,
    Column("run_no", BigInteger, primary_key=True),
    Column("place_class", Text, primary_key=True),
    Column("day_type", Text, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("secs", BigInteger, nullable=False),
    Column("days", Integer, nullable=False),
)

report_version = Table(
    "report_version",
    metadata,
    Column("report_id", Text, primary_key=True),
    Column("run_no", BigInteger, primary_key=True),
    Column("compared", Boolean, primary_key=True),
    Column("org_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("compare_run_no", BigInteger),
    Column("seq", BigInteger, Identity(always=True), unique=True),
    Column("body", JSONB, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

report_schedule = Table(
    "report_schedule",
    metadata,
    Column("schedule_id", Text, primary_key=True),
    Column("report_id", Text, nullable=False),
    Column("compared", Boolean, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
