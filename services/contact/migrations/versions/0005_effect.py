"""What effect is measured by besides outcomes and openings: complaints, closings of products, assessments."""

from alembic import op

revision = "0005"
down_revision = "0004"

EFFECT = """
CREATE TABLE complaint (
    complaint_id text PRIMARY KEY,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    kind text NOT NULL,
    contact_id text NOT NULL,
    link text NOT NULL CHECK (link IN ('given', 'last', '')),
    open_time timestamptz NOT NULL,
    satisfied text NOT NULL CHECK (satisfied IN ('Y', 'N', ''))
);
COMMENT ON TABLE complaint IS 'Complaints of ingest''s events with the contact that each follows: a copy.
org_id as then known.';
CREATE INDEX complaint_contact ON complaint (contact_id) WHERE contact_id <> '';
CREATE INDEX complaint_open_time ON complaint (open_time DESC, complaint_id DESC);
CREATE INDEX contact_sent_customer ON contact (customer_key, contact_time) WHERE state = 'HANDED_OVER';

CREATE TABLE closing (
    customer_key bigint NOT NULL,
    product_id text NOT NULL,
    close_time timestamptz NOT NULL,
    org_id text NOT NULL,
    PRIMARY KEY (customer_key, product_id, close_time)
);
COMMENT ON TABLE closing IS 'Products that customers gave up, from ingest''s events: a copy; org_id as then known.';

CREATE TABLE assessment (
    campaign_id text NOT NULL REFERENCES campaign,
    number integer NOT NULL,
    org_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('COST', 'OPINION', 'RESOURCE')),
    text text NOT NULL,
    cost_fen bigint NOT NULL CHECK (cost_fen >= 0),
    report_time timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, number)
);
COMMENT ON TABLE assessment IS 'What people report of campaigns: cost, public opinion, resources.'
"""


def upgrade() -> None:
    for statement in EFFECT.split(";\n"):
        op.execute(statement)
