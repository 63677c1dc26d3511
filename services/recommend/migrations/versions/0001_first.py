"""Products, ownership, copies of portrait's features, models, matrices."""

from alembic import op

from services.kit.migrate import kit_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INPUTS = """
CREATE TABLE delivery (
    delivery_id text PRIMARY KEY,
    feed_id text NOT NULL,
    period date NOT NULL,
    sequence integer NOT NULL,
    files jsonb NOT NULL,
    superseded boolean NOT NULL DEFAULT false,
    folded boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE delivery IS 'A copy of ingest''s deliveries of products and orders with their files, fed by '
    'WatchDeliveries; folded says that product and ownership hold them.';
CREATE INDEX delivery_feed ON delivery (feed_id, period, sequence);

CREATE TABLE run (
    run_id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    to_date date NOT NULL,
    customers bigint NOT NULL,
    files jsonb NOT NULL,
    labels jsonb NOT NULL,
    columns jsonb NOT NULL DEFAULT '[]',
    serves boolean NOT NULL DEFAULT false,
    begun boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE run IS 'A copy of portrait''s published runs with their feature files and the names of tags, '
    'fed by WatchRuns. serves: its profiles answer Recommend; begun: its training was started.';
CREATE UNIQUE INDEX run_serves ON run (serves) WHERE serves;

CREATE TABLE profile (
    run_id text NOT NULL REFERENCES run,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    features bytea NOT NULL,
    PRIMARY KEY (run_id, customer_key)
);
COMMENT ON TABLE profile IS 'A copy of portrait''s feature rows, filled by the training of a run: a customer''s '
    'features as little-endian float32 in the order of run.columns, NaN for missing.';
"""

KNOWLEDGE = """
CREATE TABLE product (
    product_id text PRIMARY KEY,
    name text NOT NULL,
    category text NOT NULL,
    fee_fen bigint NOT NULL,
    worth_fen bigint NOT NULL,
    requires_product_id text NOT NULL,
    exclusive_group text NOT NULL,
    owners bigint NOT NULL DEFAULT 0,
    period date NOT NULL,
    sequence integer NOT NULL,
    update_time timestamptz NOT NULL
);
COMMENT ON TABLE product IS 'What can be owned; owned by this service, learned from ingest''s products feed. '
    'owners is counted from ownership.';

CREATE TABLE ownership (
    customer_key bigint NOT NULL,
    product_id text NOT NULL,
    org_id text NOT NULL DEFAULT '',
    owned boolean NOT NULL,
    time timestamptz NOT NULL,
    order_id text NOT NULL,
    PRIMARY KEY (customer_key, product_id)
);
COMMENT ON TABLE ownership IS 'The latest order of each customer and product, learned from ingest''s orders; '
    'org_id is empty until a run of portrait tells it.';
CREATE INDEX ownership_product ON ownership (product_id) WHERE owned;

CREATE TABLE association (
    left_product_id text NOT NULL,
    right_product_id text NOT NULL,
    both_count bigint NOT NULL,
    support double precision NOT NULL,
    confidence double precision NOT NULL,
    lift double precision NOT NULL,
    PRIMARY KEY (left_product_id, right_product_id)
);
COMMENT ON TABLE association IS 'Of the ownership that the latest training learned from.';
"""

MODELS = """
CREATE TABLE model (
    model_id text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('CANDIDATE', 'CHAMPION', 'RETIRED')),
    algorithm text NOT NULL,
    run_id text NOT NULL,
    sha256 text NOT NULL,
    trees_sha256 text NOT NULL,
    data_sha256 text NOT NULL,
    seed bigint NOT NULL,
    customers bigint NOT NULL,
    bytes bigint NOT NULL,
    features jsonb NOT NULL,
    product_ids jsonb NOT NULL,
    metrics jsonb NOT NULL,
    report jsonb NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE model IS 'The registry: every model with what it was made from; a graph whose checksum differs '
    'is never loaded.';
CREATE UNIQUE INDEX model_champion ON model (state) WHERE state = 'CHAMPION';
CREATE INDEX model_create_time ON model (create_time, model_id);

CREATE TABLE matrix (
    matrix_id text PRIMARY KEY,
    model_id text NOT NULL REFERENCES model,
    run_id text NOT NULL REFERENCES run,
    as_of_date date NOT NULL,
    customers bigint NOT NULL,
    cells bigint NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE matrix IS 'Published versions of customers × products; the rows are in the lake.';
CREATE INDEX matrix_create_time ON matrix (create_time, matrix_id);

CREATE TABLE matrix_file (
    matrix_id text NOT NULL REFERENCES matrix,
    bucket integer NOT NULL,
    uri text NOT NULL,
    rows bigint NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (matrix_id, bucket)
);
COMMENT ON TABLE matrix_file IS 'The Parquet files of a matrix; every row of them carries org_id.';
"""


def upgrade() -> None:
    kit_tables(op)
    for statements in (INPUTS, KNOWLEDGE, MODELS):
        for statement in filter(str.strip, statements.split(";\n")):  # the driver takes one at a time
            op.execute(statement)
