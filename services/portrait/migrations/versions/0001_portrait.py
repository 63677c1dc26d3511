"""Deliveries that are known, windows that were planned, runs that were published, and what they say of customers."""

from alembic import op

from services.kit.migrate import kit_tables

revision = "0001"
down_revision = None

DDL = """
CREATE TABLE delivery (
    feed_id text NOT NULL,
    period date NOT NULL,
    sequence integer NOT NULL,
    delivery_id text NOT NULL,
    loaded_rows bigint NOT NULL,
    PRIMARY KEY (feed_id, period, sequence)
);
COMMENT ON TABLE delivery IS
    'A copy of ingest''s deliveries, the one in force of each feed, period, sequence; fed by its WatchDeliveries.';

CREATE TABLE planned (
    from_date date NOT NULL,
    to_date date NOT NULL,
    job_key text NOT NULL,
    job_id text NOT NULL,
    PRIMARY KEY (from_date, to_date)
);
COMMENT ON TABLE planned IS
    'The windows that were planned by the readiness rule, each with the job of its newest inputs.';

CREATE TABLE run (
    run_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL UNIQUE,
    job_id text NOT NULL,
    from_date date NOT NULL,
    to_date date NOT NULL,
    customers bigint NOT NULL,
    signalling_rows bigint NOT NULL,
    visits bigint NOT NULL,
    sha256 text NOT NULL,
    catalogue_version text NOT NULL,
    catalogue_digest text NOT NULL,
    percentiles jsonb NOT NULL,
    publish_time timestamptz NOT NULL
);
COMMENT ON TABLE run IS
    'Published runs; sha256 is the checksum over the dwell, percentiles are what the rules compared with.';

CREATE TABLE current_run (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    run_no bigint NOT NULL REFERENCES run
);
COMMENT ON TABLE current_run IS 'The run that readers see; moved in the transaction that publishes.';

CREATE TABLE run_file (
    run_no bigint NOT NULL REFERENCES run,
    kind text NOT NULL CHECK (kind IN ('features', 'tags', 'anchors', 'dwell')),
    bucket integer NOT NULL,
    uri text NOT NULL,
    rows bigint NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (run_no, kind, bucket)
);
COMMENT ON TABLE run_file IS 'The manifest of a run: its Parquet files.';

CREATE TABLE portrait (
    run_no bigint NOT NULL,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (run_no, customer_key)
);
ALTER TABLE portrait ALTER COLUMN body SET STORAGE EXTERNAL;
COMMENT ON TABLE portrait IS 'One row a customer and run; body is GetPortraitResponse, serialised once, sent as it is.';

CREATE TABLE tag_count (
    run_no bigint NOT NULL,
    tag text NOT NULL,
    customers bigint NOT NULL,
    PRIMARY KEY (run_no, tag)
);
COMMENT ON TABLE tag_count IS 'How many customers bear a tag (CODE) or a value of it (CODE=value).';

CREATE TABLE tag_bearer (
    run_no bigint NOT NULL,
    tag text NOT NULL,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    PRIMARY KEY (run_no, tag, customer_key)
);
COMMENT ON TABLE tag_bearer IS 'Who bears a tag (CODE) or a value of it (CODE=value); audiences are counted on it.';

CREATE TABLE dwell_audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time timestamptz NOT NULL,
    caller text NOT NULL,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    purpose text NOT NULL
);
COMMENT ON TABLE dwell_audit IS
    'Every look at one customer''s dwell: who, whose, why; written before the answer is given.';
"""


def upgrade() -> None:
    kit_tables(op)
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
