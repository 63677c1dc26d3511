"""What came of contacts, what is learned from it, and who is no longer a customer of his own."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE contact_outcome (
    contact_id text PRIMARY KEY,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    product_id text NOT NULL,
    campaign_id text NOT NULL,
    channel text NOT NULL,
    model_id text NOT NULL,
    result text NOT NULL CHECK (result IN ('', 'RESPONDED', 'REFUSED', 'UNREACHED')),
    opened boolean NOT NULL,
    time timestamptz NOT NULL
);
COMMENT ON TABLE contact_outcome IS 'A contact and what is known of it, all facts merged: what acceptance is learned '
    'from. model_id is the model whose matrix was the latest of an earlier day.';
CREATE INDEX contact_outcome_product ON contact_outcome (product_id, time);
CREATE INDEX contact_outcome_customer ON contact_outcome (customer_key);
CREATE INDEX contact_outcome_model ON contact_outcome (model_id);

CREATE TABLE gone (
    customer_key bigint PRIMARY KEY,
    org_id text NOT NULL DEFAULT '',
    into_key bigint NOT NULL
);
COMMENT ON TABLE gone IS 'Customer keys that stand for nobody any more: erased (into_key 0) or merged into another.';

CREATE TABLE acceptance_model (
    acceptance_model_id text PRIMARY KEY,
    product_id text NOT NULL,
    job_id text NOT NULL,
    algorithm text NOT NULL,
    reason text NOT NULL,
    run_id text NOT NULL,
    data_sha256 text NOT NULL,
    seed bigint NOT NULL,
    contacts bigint NOT NULL,
    accepted bigint NOT NULL,
    metrics jsonb NOT NULL,
    report jsonb NOT NULL,
    serves boolean NOT NULL,
    until timestamptz NOT NULL,
    scores jsonb NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE acceptance_model IS 'Who accepts a product when contacted, learned from contact_outcome; scores is '
    'the Parquet file of all customers of run_id.';
CREATE UNIQUE INDEX acceptance_model_serves ON acceptance_model (product_id) WHERE serves;
CREATE INDEX acceptance_model_latest ON acceptance_model (create_time);

CREATE TABLE comparison (
    comparison_id text PRIMARY KEY,
    champion_id text NOT NULL,
    challenger_id text NOT NULL,
    contacts bigint NOT NULL,
    accepted bigint NOT NULL,
    champion_auc double precision NOT NULL,
    challenger_auc double precision NOT NULL,
    difference double precision NOT NULL,
    difference_low double precision NOT NULL,
    difference_high double precision NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('CHALLENGER', 'CHAMPION', 'OPEN')),
    promoted boolean NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE comparison IS 'A challenger against a champion on what came of contacts: promotions go by it.'
"""


def upgrade() -> None:
    for statement in filter(str.strip, STATEMENTS.split(";\n")):  # the driver takes one at a time
        op.execute(statement)
