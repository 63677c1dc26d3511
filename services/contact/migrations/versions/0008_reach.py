"""Whom a campaign reaches: its audience, moments, its purpose; who was merged, who was erased; grants of messages."""

from alembic import op

revision = "0008"
down_revision = "0007"

REACH = """
ALTER TABLE campaign
    ADD COLUMN purpose text NOT NULL DEFAULT 'marketing' CHECK (purpose IN ('marketing', 'service', 'care'));
ALTER TABLE contact
    ADD COLUMN purpose text NOT NULL DEFAULT 'marketing' CHECK (purpose IN ('marketing', 'service', 'care'));
CREATE INDEX contact_of_customer ON contact (customer_key);

CREATE TABLE campaign_audience (
    campaign_id text PRIMARY KEY REFERENCES campaign,
    org_id text NOT NULL,
    expression text NOT NULL,
    customers bigint NOT NULL,
    members bytea NOT NULL,
    stale boolean NOT NULL,
    load_time timestamptz NOT NULL
);
COMMENT ON TABLE campaign_audience IS 'Who belongs to the audience of a campaign''s brief, as portrait told: a copy.
members is a deflated bitmap of customer keys; stale since portrait published another run.';

CREATE TABLE moment (
    customer_key bigint NOT NULL,
    pattern_id text NOT NULL,
    org_id text NOT NULL,
    moment_id text NOT NULL,
    match_time timestamptz NOT NULL,
    acted boolean NOT NULL,
    PRIMARY KEY (customer_key, pattern_id)
);
COMMENT ON TABLE moment IS 'The latest match of each of portrait''s moment rules by customer: a copy.
acted once its campaigns were asked whether they send.';
CREATE INDEX moment_waiting ON moment (match_time) WHERE NOT acted;
CREATE INDEX moment_match_time ON moment (match_time);

ALTER TABLE customer ADD COLUMN merged_into bigint;
COMMENT ON COLUMN customer.merged_into IS 'The key under which the person is known and contacted now.';

CREATE TABLE erased_customer (
    customer_key bigint PRIMARY KEY,
    org_id text NOT NULL,
    erase_time timestamptz NOT NULL
);
COMMENT ON TABLE erased_customer IS 'Keys that name nobody any more: what is told of them late is not kept.';

CREATE SEQUENCE erased_number;
COMMENT ON SEQUENCE erased_number IS 'What is kept of an erased person for counting stands under a negative number.';

ALTER TABLE contact DROP CONSTRAINT contact_pkey;
COMMENT ON CONSTRAINT contact_id ON contact IS 'The key: a merged person may have the same offer twice in a plan.';
CREATE INDEX contact_plan ON contact (plan_id, customer_key, offer_id);

CREATE TABLE price_set (
    price_set_id text PRIMARY KEY,
    business_day date NOT NULL,
    matrix_id text NOT NULL,
    expected_fen double precision NOT NULL,
    since_share double precision NOT NULL,
    begun jsonb NOT NULL,
    prices jsonb NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE price_set IS 'Dual prices by which decisions of a day are made, the latest first: those of a plan,
and those made within the day, from since_share of its open hours on with begun used of the limits, when the matrix
had drifted from expected_fen, the mean bid of the matrix that they were made from. Without org_id, as the plan.';
CREATE INDEX price_set_latest ON price_set (create_time);

ALTER TABLE message
    ADD COLUMN grant_id text NOT NULL DEFAULT '',
    ADD COLUMN end_time timestamptz
"""


def upgrade() -> None:
    for statement in REACH.split(";\n"):
        op.execute(statement)
