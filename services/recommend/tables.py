"""The tables of the schema `recommend`, as SQLAlchemy Core; migrations/ makes them, with their comments and indexes."""

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Double, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

_Time = DateTime(timezone=True)

delivery = Table(
    "delivery",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("feed_id", Text, nullable=False),
    Column("period", Date, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("files", JSONB, nullable=False),
    Column("superseded", Boolean, nullable=False),
    Column("folded", Boolean, nullable=False),
)

run = Table(
    "run",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("to_date", Date, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("files", JSONB, nullable=False),
    Column("labels", JSONB, nullable=False),
    Column("columns", JSONB, nullable=False),
    Column("serves", Boolean, nullable=False),
    Column("begun", Boolean, nullable=False),
    Column("pack", JSONB),
)

profile = Table(
    "profile",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("customer_key", BigInteger, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("features", LargeBinary, nullable=False),
)

product = Table(
    "product",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("fee_fen", BigInteger, nullable=False),
    Column("worth_fen", BigInteger, nullable=False),
    Column("requires_product_id", Text, nullable=False),
    Column("exclusive_group", Text, nullable=False),
    Column("owners", BigInteger, nullable=False),
    Column("period", Date, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("update_time", _Time, nullable=False),
)

ownership = Table(
    "ownership",
    metadata,
    Column("customer_key", BigInteger, primary_key=True),
    Column("product_id", Text, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("owned", Boolean, nullable=False),
    Column("time", _Time, nullable=False),
    Column("order_id", Text, nullable=False),
)

pattern = Table(
    "pattern",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("left_id", Text, primary_key=True),
    Column("right_id", Text, primary_key=True),
    Column("left_name", Text, nullable=False),
    Column("right_name", Text, nullable=False),
    Column("both_count", BigInteger, nullable=False),
    Column("support", Double, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("lift", Double, nullable=False),
    Column("p_value", Double, nullable=False),
    Column("q_value", Double, nullable=False),
)

product_terms = Table(
    "product_terms",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("terms", JSONB, nullable=False),
    Column("update_time", _Time, nullable=False),
)

expert_list = Table(
    "expert_list",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("circle", Text, nullable=False),
    Column("product_ids", JSONB, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("create_time", _Time, nullable=False),
)

circle_count = Table(
    "circle_count",
    metadata,
    Column("circle", Text, primary_key=True),
    Column("product_id", Text, primary_key=True),
    Column("members", BigInteger, nullable=False),
    Column("contacted", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("still", BigInteger, nullable=False),
)

model = Table(
    "model",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("trees_sha256", Text, nullable=False),
    Column("data_sha256", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("features", JSONB, nullable=False),
    Column("product_ids", JSONB, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("report", JSONB, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("promote_time", _Time),
)

matrix = Table(
    "matrix",
    metadata,
    Column("matrix_id", Text, primary_key=True),
    Column("model_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("as_of_date", Date, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("cells", BigInteger, nullable=False),
    Column("create_time", _Time, nullable=False),
    Column("drift", JSONB, nullable=False),
    Column("acceptance", JSONB, nullable=False),
    Column("shifts", JSONB),
)

influence = Table(
    "influence",
    metadata,
    Column("influence_id", Text, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("links", BigInteger, nullable=False),
    Column("members", JSONB, nullable=False),
    Column("social", JSONB, nullable=False),
    Column("product_ids", JSONB, nullable=False),
    Column("create_time", _Time, nullable=False),
)

matrix_file = Table(
    "matrix_file",
    metadata,
    Column("matrix_id", Text, primary_key=True),
    Column("bucket", Integer, primary_key=True),
    Column("uri", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
)

contact_outcome = Table(
    "contact_outcome",
    metadata,
    Column("contact_id", Text, primary_key=True),
    Column("customer_key", BigInteger, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("campaign_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("opened", Boolean, nullable=False),
    Column("time", _Time, nullable=False),
)

gone = Table(
    "gone",
    metadata,
    Column("customer_key", BigInteger, primary_key=True),
    Column("org_id", Text, nullable=False),
    Column("into_key", BigInteger, nullable=False),
)

acceptance_model = Table(
    "acceptance_model",
    metadata,
    Column("acceptance_model_id", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("data_sha256", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("contacts", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("report", JSONB, nullable=False),
    Column("serves", Boolean, nullable=False),
    Column("until", _Time, nullable=False),
    Column("scores", JSONB, nullable=False),
    Column("create_time", _Time, nullable=False),
)

comparison = Table(
    "comparison",
    metadata,
    Column("comparison_id", Text, primary_key=True),
    Column("champion_id", Text, nullable=False),
    Column("challenger_id", Text, nullable=False),
    Column("contacts", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("champion_auc", Double, nullable=False),
    Column("challenger_auc", Double, nullable=False),
    Column("difference", Double, nullable=False),
    Column("difference_low", Double, nullable=False),
    Column("difference_high", Double, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("promoted", Boolean, nullable=False),
    Column("create_time", _Time, nullable=False),
)

project = Table(
    "project",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("goal", Text, nullable=False),
    Column("model_ids", JSONB, nullable=False),
    Column("review_date", Date, nullable=False),
    Column("create_time", _Time, nullable=False),
)

project_step = Table(
    "project_step",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("artefacts", JSONB, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("update_time", _Time),
)
