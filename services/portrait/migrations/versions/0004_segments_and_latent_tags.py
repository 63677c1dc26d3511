"""Segmentations with their members, latent models with what they say, labels, warnings; who was erased."""

from alembic import op

revision = "0004"
down_revision = "0003"

DDL = """
CREATE TABLE segmentation (
    segmentation_id text PRIMARY KEY,
    run_id text NOT NULL,
    to_date date NOT NULL,
    features jsonb NOT NULL,
    brands jsonb NOT NULL,
    segments jsonb NOT NULL,
    opportunities jsonb NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE segmentation IS
    'Clusterings by brand with the figures of their segments; figures only, no customer.';

CREATE TABLE segment_member (
    segmentation_id text NOT NULL REFERENCES segmentation,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    segment_id text NOT NULL,
    PRIMARY KEY (segmentation_id, customer_key)
);
CREATE INDEX segment_member_of_segment ON segment_member (segmentation_id, segment_id, customer_key);
COMMENT ON TABLE segment_member IS
    'Who belongs to which segment, of the last two segmentations.';

CREATE TABLE segment_name (
    segment_id text PRIMARY KEY,
    name text NOT NULL,
    author text NOT NULL,
    time timestamptz NOT NULL
);
COMMENT ON TABLE segment_name IS
    'Names given by hand; they stay with the id in later cycles.';

CREATE TABLE latent_label (
    target text NOT NULL,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    label text NOT NULL,
    author text NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (target, customer_key)
);
COMMENT ON TABLE latent_label IS
    'What people say of customers, the last word of each.';

CREATE TABLE latent_model (
    model_id text PRIMARY KEY,
    target text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL CHECK (state IN ('CANDIDATE', 'LIVE', 'RETIRED')),
    algorithm text NOT NULL,
    reason text NOT NULL,
    classes jsonb NOT NULL,
    features jsonb NOT NULL,
    rows bigint NOT NULL,
    metrics jsonb NOT NULL,
    run_id text NOT NULL,
    lead_days integer NOT NULL,
    sha256 text NOT NULL,
    graph bytea NOT NULL,
    author text NOT NULL,
    approver text NOT NULL DEFAULT '',
    note text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    UNIQUE (target, version)
);
CREATE UNIQUE INDEX latent_model_live ON latent_model (target) WHERE state = 'LIVE';
COMMENT ON TABLE latent_model IS
    'Models of latent tags with their ONNX graphs; one is live for each target, by the word of a second person.';

CREATE TABLE latent_score (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    run_id text NOT NULL,
    to_date date NOT NULL,
    models jsonb NOT NULL
);
COMMENT ON TABLE latent_score IS
    'The run and the models of which latent_value, inferred_attribute and customer_warning speak.';

CREATE TABLE latent_value (
    customer_key bigint NOT NULL,
    target text NOT NULL,
    org_id text NOT NULL,
    value text NOT NULL,
    probability double precision NOT NULL,
    danger double precision NOT NULL,
    model_id text NOT NULL,
    PRIMARY KEY (customer_key, target)
);
COMMENT ON TABLE latent_value IS
    'What the live models say of each customer; danger is the probability of the last class (of churn: leaving).';

CREATE TABLE inferred_attribute (
    customer_key bigint NOT NULL,
    feature text NOT NULL,
    org_id text NOT NULL,
    value double precision NOT NULL,
    confidence double precision NOT NULL,
    PRIMARY KEY (customer_key, feature)
);
COMMENT ON TABLE inferred_attribute IS
    'What no source told and like customers have.';

CREATE TABLE customer_warning (
    customer_key bigint NOT NULL,
    kind text NOT NULL,
    org_id text NOT NULL,
    score double precision NOT NULL,
    lead_days integer NOT NULL,
    evidence text NOT NULL,
    PRIMARY KEY (customer_key, kind)
);
CREATE INDEX customer_warning_by_score ON customer_warning (score DESC, customer_key, kind);
COMMENT ON TABLE customer_warning IS
    'Early warnings of the scored run.';

CREATE TABLE erased_customer (
    customer_key bigint PRIMARY KEY,
    event_id text NOT NULL,
    time timestamptz NOT NULL
);
COMMENT ON TABLE erased_customer IS
    'Keys that are answered for no more: erased, or merged into another; a run computed before knows them still.'
"""


def upgrade() -> None:
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
