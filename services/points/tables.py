"""The tables of the schema `points`, as SQLAlchemy Core; migrations/ makes them, with their triggers and comments."""

from sqlalchemy import BigInteger, Column, Date, DateTime, Identity, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

_Time = DateTime(timezone=True)

rule_set = Table(
    "rule_set",
    metadata,
    Column("rule_set_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("effective_date", Date),
    Column("author", Text, nullable=False),
    Column("publisher", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("publish_time", _Time),
    Column("approver", Text, nullable=False),
    Column("previewed_sha256", Text, nullable=False),
    Column("simulation", JSONB),
)

revision = Table("revision", metadata, Column("revision", BigInteger, nullable=False))

reference_feed = Table(
    "reference_feed",
    metadata,
    Column("feed_id", Text, primary_key=True),
    Column("manifest", Text, nullable=False),
    Column("loaded_rows", BigInteger, nullable=False),
    Column("refused_rows", BigInteger, nullable=False),
    Column("update_time", _Time, nullable=False),
)

organisation = Table(
    "organisation",
    metadata,
    Column("org_id", Text, primary_key=True),
    Column("parent_org_id", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("name", Text, nullable=False),
)

staff = Table(
    "staff",
    metadata,
    Column("staff_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("role", Text, nullable=False),
)

product = Table(
    "product",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
)

assignment = Table(
    "responsibility_field",
    metadata,
    Column("assignment_id", BigInteger, Identity(always=True), primary_key=True),
    Column("customer_key", BigInteger, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("share_bps", Integer, nullable=False),
    Column("valid_from", _Time, nullable=False),
    Column("valid_to", _Time),
    Column("known_from", _Time, nullable=False),
    Column("known_to", _Time),
    Column("delivery_id", Text, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("known_from_revision", BigInteger, nullable=False),
    Column("known_to_revision", BigInteger),
    Column("place", Text, nullable=False),
)

assignment_refused = Table(
    "responsibility_field_refused",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("line", BigInteger, primary_key=True),
    Column("why", Text, nullable=False),
    Column("feed_id", Text, nullable=False),
)

event = Table(
    "business_event",
    metadata,
    Column("source", Text, primary_key=True),
    Column("source_event_id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    Column("arrival", BigInteger, Identity(always=True)),
    Column("org_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("amount_fen", BigInteger),
    Column("origin_event_id", Text, nullable=False),
    Column("occur_time", _Time, nullable=False),
    Column("receive_time", _Time, nullable=False),
    Column("business_date", Date, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("tried_revision", BigInteger, nullable=False),
    Column("category", Text, nullable=False),
    Column("staff_role", Text, nullable=False),
    Column("customer_type", Text, nullable=False),
    Column("cell_id", Text, nullable=False),
    Column("grid_id", Text, nullable=False),
)

event_reused = Table(
    "business_event_reused",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("source_event_id", Text, nullable=False),
    Column("arrival", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("amount_fen", BigInteger),
    Column("origin_event_id", Text, nullable=False),
    Column("occur_time", _Time, nullable=False),
    Column("receive_time", _Time, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("customer_type", Text, nullable=False),
    Column("cell_id", Text, nullable=False),
    Column("grid_id", Text, nullable=False),
)

period = Table(
    "period",
    metadata,
    Column("period_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("change_time", _Time),
    Column("changer", Text, nullable=False),
)

entry = Table(
    "points_entry",
    metadata,
    Column("entry_id", Text, primary_key=True),
    Column("posting", BigInteger, Identity(always=True)),
    Column("account", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("milli_points", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_event_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("rule_set_id", Text, nullable=False),
    Column("rule_set_sha256", Text, nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("component", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("share_bps", Integer, nullable=False),
    Column("assignment_id", BigInteger, nullable=False),
    Column("reverses_entry_id", Text),
    Column("period_id", Text, nullable=False),
    Column("occur_time", _Time, nullable=False),
    Column("post_time", _Time, nullable=False),
    Column("kind", Text, nullable=False),
    Column("accrual_id", Text, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("business_date", Date),
    Column("event_type", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("customer_type", Text, nullable=False),
    Column("run_id", Text, nullable=False),
)

score_run = Table(
    "score_run",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("period_id", Text, nullable=False),
    Column("rules_sha256", Text, nullable=False),
    Column("events_sha256", Text, nullable=False),
    Column("fields_sha256", Text, nullable=False),
    Column("output_sha256", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("report", JSONB, nullable=False),
    Column("author", Text, nullable=False),
    Column("poster", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
)

adjustment = Table(
    "adjustment",
    metadata,
    Column("adjustment_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("component", Text, nullable=False),
    Column("milli_points", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("approver", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("period_id", Text, nullable=False),
    Column("dispute_id", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
)

dispute = Table(
    "dispute",
    metadata,
    Column("dispute_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_event_id", Text, nullable=False),
    Column("claim", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("posted_milli_points", BigInteger),
    Column("replayed_milli_points", BigInteger),
    Column("answer", Text, nullable=False),
    Column("opener", Text, nullable=False),
    Column("resolver", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("change_time", _Time, nullable=False),
    Column("missing", JSONB, nullable=False),
)

fraud_case = Table(
    "fraud_case",
    metadata,
    Column("case_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("period_id", Text, nullable=False),
    Column("pattern", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_event_id", Text, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("milli_points", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("decider", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
)
