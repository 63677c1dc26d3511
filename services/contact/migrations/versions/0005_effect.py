"""Complaints, closings and assessments for reports; benefits, subscriptions, forwards and messages of campaigns."""

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


BENEFITS = """
CREATE TABLE benefit_pool (
    campaign_id text NOT NULL REFERENCES campaign,
    kind text NOT NULL CHECK (kind IN ('COUPON', 'TRIAL', 'RIGHT')),
    org_id text NOT NULL,
    product_id text NOT NULL,
    cap bigint NOT NULL CHECK (cap >= 0),
    issued bigint NOT NULL CHECK (issued BETWEEN 0 AND cap),
    value_fen bigint NOT NULL CHECK (value_fen >= 0),
    valid_days integer NOT NULL CHECK (valid_days >= 1),
    PRIMARY KEY (campaign_id, kind)
);
COMMENT ON TABLE benefit_pool IS 'How many coupons, trials or rights a campaign may issue; the check holds the cap.';

CREATE TABLE benefit (
    benefit_id text PRIMARY KEY,
    campaign_id text NOT NULL,
    kind text NOT NULL,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    product_id text NOT NULL,
    value_fen bigint NOT NULL,
    issue_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    redeem_time timestamptz,
    UNIQUE (campaign_id, kind, customer_key),
    FOREIGN KEY (campaign_id, kind) REFERENCES benefit_pool,
    CHECK (redeem_time < expire_time)
);
COMMENT ON TABLE benefit IS 'Coupons, trials and rights of customers, one of a kind and campaign each.';
CREATE INDEX benefit_customer ON benefit (customer_key, issue_time DESC);

CREATE TABLE subscription (
    subscription_id text PRIMARY KEY,
    campaign_id text NOT NULL REFERENCES campaign,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    channel text NOT NULL,
    hour integer NOT NULL CHECK (hour BETWEEN 0 AND 23),
    weekdays integer[] NOT NULL,
    next_time timestamptz,
    UNIQUE (campaign_id, customer_key)
);
COMMENT ON TABLE subscription IS 'Recurring sends (定时接收): who gets a content at which hour of which days.
next_time is null once it ended.';
CREATE INDEX subscription_due ON subscription (next_time) WHERE next_time IS NOT NULL;

CREATE TABLE message (
    message_id text PRIMARY KEY,
    campaign_id text NOT NULL REFERENCES campaign,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    channel text NOT NULL,
    content text NOT NULL,
    due_time timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'SENT', 'FAILED', 'WITHHELD')),
    attempts integer NOT NULL,
    receipt text NOT NULL,
    update_time timestamptz NOT NULL
);
COMMENT ON TABLE message IS 'What goes out through channel adapters; message_id is the gateway''s key against doubles.';
CREATE INDEX message_queued ON message (due_time) WHERE state = 'QUEUED';

CREATE TABLE referral (
    referral_id text PRIMARY KEY,
    campaign_id text NOT NULL REFERENCES campaign,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    parent_id text NOT NULL,
    depth integer NOT NULL CHECK (depth >= 0),
    create_time timestamptz NOT NULL,
    UNIQUE (campaign_id, customer_key)
);
COMMENT ON TABLE referral IS 'Who got a campaign''s content from whom (转发); depth 0 got it from the operator.'
"""


def upgrade() -> None:
    for group in (EFFECT, BENEFITS):
        for statement in group.split(";\n"):
            op.execute(statement)
