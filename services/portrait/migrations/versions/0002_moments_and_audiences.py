"""Moments with their rules and journal, audiences as bitmaps, and what the whole portrait adds."""

from alembic import op

revision = "0002"
down_revision = "0001"

DDL = """
CREATE TABLE tag_bitmap (
    run_no bigint NOT NULL,
    tag text NOT NULL,
    value text NOT NULL,
    shard integer NOT NULL,
    members bytea NOT NULL,
    PRIMARY KEY (run_no, tag, value, shard)
);
ALTER TABLE tag_bitmap ALTER COLUMN members SET STORAGE EXTERNAL;
COMMENT ON TABLE tag_bitmap IS
    'Who bears a tag (value: one of an enum tag, or empty) in a run, as Roaring bitmaps of customer keys in shards of
     2^22; the tag @all is everybody, @org the customers of an organisation. It takes the place of tag_bearer.';

CREATE TABLE audience (
    audience_id text NOT NULL,
    version integer NOT NULL,
    title text NOT NULL,
    expression jsonb NOT NULL,
    text text NOT NULL,
    owner text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (audience_id, version)
);
COMMENT ON TABLE audience IS 'Saved audiences; a version is never changed.';

CREATE TABLE frozen_audience (
    frozen_id text PRIMARY KEY,
    text text NOT NULL,
    run_id text NOT NULL,
    customers bigint NOT NULL,
    purpose text NOT NULL,
    owner text NOT NULL,
    create_time timestamptz NOT NULL,
    members bytea NOT NULL
);
COMMENT ON TABLE frozen_audience IS 'Who belonged to an audience at one moment, kept for a campaign: a Roaring bitmap.';

CREATE TABLE customer_list (
    list_id text PRIMARY KEY,
    version integer NOT NULL,
    title text NOT NULL,
    customers bigint NOT NULL,
    owner text NOT NULL,
    update_time timestamptz NOT NULL,
    members bytea NOT NULL
);
COMMENT ON TABLE customer_list IS 'Lists of customers from elsewhere, each replaced in one step: a Roaring bitmap.';

CREATE TABLE access_audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time timestamptz NOT NULL,
    caller text NOT NULL,
    what text NOT NULL,
    customers bigint NOT NULL,
    purpose text NOT NULL
);
COMMENT ON TABLE access_audit IS
    'Every journey looked at and every audience exported: who, what, why; written before the answer.';

CREATE TABLE moment_rule (
    rule_id text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL CHECK (state IN ('DRAFT', 'ACTIVE', 'RETIRED')),
    title text NOT NULL,
    pattern jsonb NOT NULL,
    audience jsonb,
    cool_down_ms bigint NOT NULL,
    lateness_ms bigint NOT NULL,
    stale_after_ms bigint NOT NULL,
    publish_ms bigint,
    retire_ms bigint,
    owner text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (rule_id, version)
);
CREATE UNIQUE INDEX moment_rule_active ON moment_rule (rule_id) WHERE state = 'ACTIVE';
COMMENT ON TABLE moment_rule IS
    'Moment rules; the pattern of a version is never changed. At most one version is active.';

CREATE TABLE moment_event (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    occur_ms bigint NOT NULL,
    receive_ms bigint NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    fields text NOT NULL
);
CREATE INDEX moment_event_customer ON moment_event (customer_key, occur_ms);
CREATE INDEX moment_event_received ON moment_event USING brin (receive_ms) WITH (pages_per_range = 32);
COMMENT ON TABLE moment_event IS
    'The journal: ingest''s events as they became known, written by one follower at a time, so that seq is the order of
     commit. Partitions read on from their place; look-back, dry runs, journeys and explanations read it too.';

CREATE TABLE moment_partition (
    partition integer PRIMARY KEY,
    owner text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    seq bigint NOT NULL DEFAULT 0,
    clock_ms bigint NOT NULL DEFAULT 0,
    snapshot_seq bigint NOT NULL DEFAULT 0,
    snapshot bytea
);
ALTER TABLE moment_partition ALTER COLUMN snapshot SET STORAGE EXTERNAL;
COMMENT ON TABLE moment_partition IS
    'Customers by key modulo the number of partitions: who works on them (the epoch fences late writes), how far the
     journal was read, and what was learnt up to snapshot_seq.';

CREATE TABLE moment_worker (
    owner text PRIMARY KEY,
    seen_until timestamptz NOT NULL
);
COMMENT ON TABLE moment_worker IS 'The processes that share the partitions.';

CREATE TABLE moment (
    moment_id text PRIMARY KEY,
    rule_id text NOT NULL,
    version integer NOT NULL,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    match_ms bigint NOT NULL,
    start_ms bigint NOT NULL,
    start_event_id text NOT NULL,
    found_ms bigint NOT NULL
);
CREATE INDEX moment_customer ON moment (customer_key, match_ms);
CREATE INDEX moment_found ON moment (found_ms, moment_id);
COMMENT ON TABLE moment IS
    'What was found; moment_id is a hash of rule, version, customer and first event, so each is there once.';

CREATE TABLE customer_contact (
    contact_id text PRIMARY KEY,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    time timestamptz NOT NULL,
    result text NOT NULL,
    channel text NOT NULL,
    campaign_id text NOT NULL,
    changed bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX customer_contact_customer ON customer_contact (customer_key, time);
CREATE INDEX customer_contact_changed ON customer_contact (changed);
COMMENT ON TABLE customer_contact IS
    'A projection of contacts that had an answer, for portraits; fed by contact''s outcomes and ingest''s feedback.';

CREATE TABLE offer_pack (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    matrix_id text NOT NULL,
    uri text NOT NULL,
    rows bigint NOT NULL,
    sha256 text NOT NULL
);
COMMENT ON TABLE offer_pack IS 'The current offers by customer, packed from recommend''s latest matrix.';

ALTER TABLE portrait ADD COLUMN clear bytea NOT NULL DEFAULT '';
ALTER TABLE portrait ADD COLUMN masked bytea NOT NULL DEFAULT '';
ALTER TABLE portrait ALTER COLUMN clear SET STORAGE EXTERNAL;
ALTER TABLE portrait ALTER COLUMN masked SET STORAGE EXTERNAL;
COMMENT ON COLUMN portrait.clear IS
    'What is put behind body for roles that may see everything: a GetPortraitResponse; protobuf merges such bytes.';
COMMENT ON COLUMN portrait.masked IS 'What is put behind body for other roles.';

ALTER TABLE run_file DROP CONSTRAINT run_file_kind_check;
ALTER TABLE run_file ADD CONSTRAINT run_file_kind_check CHECK (kind <> '')
"""


def upgrade() -> None:
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
