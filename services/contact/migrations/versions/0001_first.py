"""Policy, campaigns, consent and the other projections, plans with their contacts, outcomes."""

from alembic import op

from services.kit.migrate import kit_tables

revision = "0001"
down_revision = None

CAMPAIGNS = """
CREATE TABLE policy (
    version integer PRIMARY KEY CHECK (version >= 1),
    definition jsonb NOT NULL,
    update_time timestamptz NOT NULL
);
COMMENT ON TABLE policy IS 'Versions of the policy; the highest is in force. A version never changes.
It is the whole company''s on purpose, so it has no org_id: caps hold over all organisations';

CREATE TABLE campaign (
    campaign_id text PRIMARY KEY,
    org_id text NOT NULL,
    name text NOT NULL CONSTRAINT campaign_name UNIQUE,
    state text NOT NULL CHECK (state IN ('DRAFT', 'ACTIVE', 'CLOSED')),
    start_date date NOT NULL,
    end_date date NOT NULL CHECK (end_date >= start_date),
    control_bps integer NOT NULL CHECK (control_bps BETWEEN 0 AND 5000),
    contacts_max bigint CHECK (contacts_max >= 0),
    contacts_min bigint NOT NULL CHECK (contacts_min >= 0),
    revision integer NOT NULL CHECK (revision >= 1),
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE campaign IS 'Campaigns; contacts_max null is unlimited, 0 none at all; revision counts the changes.
org_id is that of whoever wrote it, empty for the whole company.';
CREATE INDEX campaign_create_time ON campaign (create_time, campaign_id);

CREATE TABLE offer (
    offer_id text PRIMARY KEY,
    campaign_id text NOT NULL REFERENCES campaign,
    org_id text NOT NULL,
    number integer NOT NULL,
    product_id text NOT NULL,
    content text NOT NULL,
    channels text[] NOT NULL CHECK (cardinality(channels) > 0),
    worth_fen bigint NOT NULL CHECK (worth_fen >= 0),
    exclusive_group text NOT NULL,
    UNIQUE (campaign_id, number)
);
COMMENT ON TABLE offer IS 'What a campaign brings to customers: a product (recommend''s) with content and channels.
org_id is the campaign''s.'
"""

PROJECTIONS = """
CREATE TABLE matrix (
    matrix_id text PRIMARY KEY,
    as_of_date date,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE matrix IS 'The published matrices as recommend tells them by WatchMatrices: a copy.';
CREATE INDEX matrix_create_time ON matrix (create_time, matrix_id);

CREATE TABLE customer (
    customer_key bigint PRIMARY KEY,
    org_id text NOT NULL,
    level text NOT NULL,
    status text NOT NULL
);
COMMENT ON TABLE customer IS 'Organisation, level and status of customers: a copy of ingest''s feed customers.';

CREATE TABLE consent (
    customer_key bigint NOT NULL,
    channel text NOT NULL,
    purpose text NOT NULL,
    org_id text NOT NULL,
    granted boolean NOT NULL,
    change_time timestamptz NOT NULL,
    PRIMARY KEY (customer_key, channel, purpose)
);
COMMENT ON TABLE consent IS 'Consent as in force, owned by contact; no row is no consent; org_id as then known.';

CREATE TABLE opening (
    customer_key bigint NOT NULL,
    product_id text NOT NULL,
    open_time timestamptz NOT NULL,
    org_id text NOT NULL,
    PRIMARY KEY (customer_key, product_id, open_time)
);
COMMENT ON TABLE opening IS 'Products that customers opened, from ingest''s events: a copy; org_id as then known.'
"""

PLANS = """
CREATE TABLE plan (
    plan_id text PRIMARY KEY,
    plan_date date NOT NULL,
    sequence integer NOT NULL CHECK (sequence >= 1),
    state text NOT NULL CHECK (state IN ('READY', 'HANDED_OVER')),
    matrix_id text NOT NULL,
    policy_version integer NOT NULL REFERENCES policy,
    candidates bigint NOT NULL,
    contacts bigint NOT NULL,
    control_contacts bigint NOT NULL,
    withheld_contacts bigint NOT NULL DEFAULT 0,
    objective_fen double precision NOT NULL,
    bound_fen double precision NOT NULL,
    gap double precision NOT NULL,
    prices jsonb NOT NULL,
    sha256 text NOT NULL,
    create_time timestamptz NOT NULL,
    UNIQUE (plan_date, sequence)
);
COMMENT ON TABLE plan IS
    'Outcomes of auctions; plan_id is the job''s id, (plan_date, sequence) names contacts and file.
An auction is over all organisations, so a plan has no org_id; its contacts have their customers''.';
CREATE INDEX plan_create_time ON plan (create_time, plan_id);

CREATE TABLE contact (
    contact_id text NOT NULL CONSTRAINT contact_id UNIQUE,
    plan_id text NOT NULL REFERENCES plan,
    plan_date date NOT NULL,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    campaign_id text NOT NULL REFERENCES campaign,
    offer_id text NOT NULL REFERENCES offer,
    product_id text NOT NULL,
    channel text NOT NULL,
    value_fen double precision NOT NULL,
    cost_fen bigint NOT NULL,
    worth_fen bigint NOT NULL,
    contact_time timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN
        ('PLANNED', 'HANDED_OVER', 'CONSENT_WITHDRAWN', 'CAP_REACHED', 'UNREACHABLE', 'CONTROL', 'CONTROL_WITHHELD')),
    PRIMARY KEY (plan_id, customer_key, offer_id)
);
COMMENT ON TABLE contact IS
    'Contacts that were won; the hand-over moves them from PLANNED.
CONTROL is never sent; CONTROL_WITHHELD would not have been sent either.';
CREATE INDEX contact_sent ON contact (plan_date, customer_key) WHERE state = 'HANDED_OVER';
CREATE INDEX contact_campaign ON contact (campaign_id);

CREATE TABLE handover_file (
    file_name text PRIMARY KEY,
    plan_id text NOT NULL REFERENCES plan,
    rows bigint NOT NULL,
    md5 text NOT NULL,
    write_time timestamptz NOT NULL
);
COMMENT ON TABLE handover_file IS 'Files written for OCRM. Their clear numbers are in no table.
Without org_id, as the plan.';

CREATE TABLE outcome (
    contact_id text PRIMARY KEY,
    org_id text NOT NULL,
    result text NOT NULL CHECK (result IN ('RESPONDED', 'REFUSED', 'UNREACHED')),
    opened boolean NOT NULL,
    open_time timestamptz,
    contact_time timestamptz,
    source text NOT NULL,
    receive_time timestamptz NOT NULL
);
COMMENT ON TABLE outcome IS 'What came of contacts, all reports of one merged; kept also when no contact matches.
org_id is the contact''s, empty when none matches.'
"""


def upgrade() -> None:
    kit_tables(op)
    for group in (CAMPAIGNS, PROJECTIONS, PLANS):
        for statement in group.split(";\n"):
            op.execute(statement)
