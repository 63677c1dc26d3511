"""The tables of the schema `contact`, as SQLAlchemy Core; migrations/ makes them, with their checks and comments."""

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Double, Integer, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()

_Time = DateTime(timezone=True)

policy = Table(
    "policy",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("definition", JSONB, nullable=False),
    Column("update_time", _Time, nullable=False),
)

campaign = Table(
    "campaign",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("start_date", Date, nullable=False),
    Column("end_date", Date, nullable=False),
    Column("control_bps", Integer, nullable=False),
    Column("contacts_max", BigInteger),
    Column("contacts_min", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("type", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("brief", JSONB(none_as_null=True)),
    Column("pilot", JSONB(none_as_null=True)),
    Column("previous_campaign_id", Text, nullable=False),
    Column("paused_from", Text, nullable=False),
    Column("purpose", Text, nullable=False),
)

campaign_move = Table(
    "campaign_move",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("override", Text, nullable=False),
    Column("finding", JSONB, nullable=False),
    Column("time", _Time, nullable=False),
)

knowledge = Table(
    "knowledge",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("product_ids", ARRAY(Text), nullable=False),
    Column("channels", ARRAY(Text), nullable=False),
    Column("entry", JSONB, nullable=False),
    Column("words", Text, nullable=False),
    Column("close_time", _Time, nullable=False),
)

offer = Table(
    "offer",
    metadata,
    Column("offer_id", Text, primary_key=True),
    Column("campaign_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("channels", ARRAY(Text), nullable=False),
    Column("worth_fen", BigInteger, nullable=False),
    Column("exclusive_group", Text, nullable=False),
)

matrix = Table(
    "matrix",
    metadata,
    Column("matrix_id", Text, primary_key=True),
    Column("as_of_date", Date),
    Column("create_time", _Time, nullable=False),
)

customer = Table(
    "customer",
    metadata,
    Column("customer_key", BigInteger, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("merged_into", BigInteger),
)

consent = Table(
    "consent",
    metadata,
    Column("customer_key", BigInteger, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("granted", Boolean, nullable=False),
    Column("change_time", _Time, nullable=False),
)

opening = Table(
    "opening",
    metadata,
    Column("customer_key", BigInteger, primary_key=True),
    Column("product_id", Text, primary_key=True),
    Column("open_time", _Time, primary_key=True),
    Column("org_id", Text, nullable=False),
)

plan = Table(
    "plan",
    metadata,
    Column("plan_id", Text, primary_key=True),
    Column("plan_date", Date, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("matrix_id", Text, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("candidates", BigInteger, nullable=False),
    Column("contacts", BigInteger, nullable=False),
    Column("control_contacts", BigInteger, nullable=False),
    Column("withheld_contacts", BigInteger, nullable=False),
    Column("objective_fen", Double, nullable=False),
    Column("bound_fen", Double, nullable=False),
    Column("gap", Double, nullable=False),
    Column("prices", JSONB, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
)

contact = Table(
    "contact",
    metadata,
    Column("contact_id", Text, primary_key=True),
    Column("plan_id", Text, nullable=False),
    Column("plan_date", Date, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Text, nullable=False),
    Column("offer_id", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("value_fen", Double, nullable=False),
    Column("cost_fen", BigInteger, nullable=False),
    Column("worth_fen", BigInteger, nullable=False),
    Column("contact_time", _Time, nullable=False),
    Column("state", Text, nullable=False),
)

handover_file = Table(
    "handover_file",
    metadata,
    Column("file_name", Text, primary_key=True),
    Column("plan_id", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("md5", Text, nullable=False),
    Column("tagged", BigInteger, nullable=False),
    Column("write_time", _Time, nullable=False),
)

outcome = Table(
    "outcome",
    metadata,
    Column("contact_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("opened", Boolean, nullable=False),
    Column("open_time", _Time),
    Column("contact_time", _Time),
    Column("source", Text, nullable=False),
    Column("receive_time", _Time, nullable=False),
)

marketing_order = Table(
    "marketing_order",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("contact_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("campaign_id", Text, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("due_time", _Time),
    Column("create_time", _Time, nullable=False),
    Column("update_time", _Time, nullable=False),
    Column("contact_time", _Time),
    Column("revision", Integer, nullable=False),
    Column("returns", Integer, nullable=False),
    Column("timeouts", Integer, nullable=False),
    Column("closing", Text, nullable=False),
    Column("feedback", JSONB(none_as_null=True)),
    Column("auto_dispatch", Boolean, nullable=False),
)

order_move = Table(
    "order_move",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("staff_id", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("time", _Time, nullable=False),
)

attribution = Table(
    "attribution",
    metadata,
    Column("contact_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("customer_key", BigInteger, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("open_time", _Time, nullable=False),
    Column("attribute_time", _Time, nullable=False),
)

slot = Table(
    "slot",
    metadata,
    Column("slot_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("form", Text, nullable=False),
    Column("choice", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("default_content", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
)

channel_state = Table(
    "channel_state",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("valid", Boolean, nullable=False),
    Column("update_time", _Time, nullable=False),
)

picture = Table(
    "picture",
    metadata,
    Column("code", Text, primary_key=True),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
)

content = Table(
    "content",
    metadata,
    Column("content_id", Text, primary_key=True),
    Column("slot_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("pitch", Text, nullable=False),
    Column("picture_code", Text, nullable=False),
    Column("campaign_id", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("author", Text, nullable=False),
)

schedule = Table(
    "schedule",
    metadata,
    Column("schedule_id", Text, primary_key=True),
    Column("slot_id", Text, nullable=False),
    Column("content_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("start_time", _Time, nullable=False),
    Column("end_time", _Time, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("exclusive", Boolean, nullable=False),
    Column("moment", Text, nullable=False),
    Column("cancelled", Boolean, nullable=False),
)

push = Table(
    "push",
    metadata,
    Column("push_id", Text, primary_key=True),
    Column("slot_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("content_ids", ARRAY(Text), nullable=False),
    Column("sha256", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("expire_time", _Time, nullable=False),
)

slot_sync = Table(
    "slot_sync",
    metadata,
    Column("slot_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("report_time", _Time, nullable=False),
)

suggestion = Table(
    "suggestion",
    metadata,
    Column("suggestion_id", Text, primary_key=True),
    Column("slot_id", Text, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("content_id", Text, nullable=False),
    Column("better_content_id", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("difference_low", Double, nullable=False),
    Column("create_time", _Time, nullable=False),
)
