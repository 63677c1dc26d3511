"""The life of campaigns: brief, pilot, history, what was learned; contacts that a stopped campaign no longer makes."""

from alembic import op

revision = "0003"
down_revision = "0002"

CAMPAIGNS = """
ALTER TABLE campaign
    ADD COLUMN type text NOT NULL DEFAULT 'standard',
    ADD COLUMN author text NOT NULL DEFAULT '',
    ADD COLUMN brief jsonb,
    ADD COLUMN pilot jsonb,
    ADD COLUMN previous_campaign_id text NOT NULL DEFAULT '',
    ADD COLUMN paused_from text NOT NULL DEFAULT '',
    DROP CONSTRAINT campaign_state_check,
    ADD CONSTRAINT campaign_state_check CHECK
        (state IN ('DRAFT', 'APPROVED', 'PILOT', 'ACTIVE', 'PAUSED', 'KILLED', 'CLOSED')),
    ADD CONSTRAINT campaign_paused_from CHECK ((state = 'PAUSED') = (paused_from <> ''));
CREATE INDEX campaign_finding ON campaign USING gin ((brief -> 'findings'));

CREATE TABLE campaign_move (
    campaign_id text NOT NULL REFERENCES campaign,
    number integer NOT NULL,
    org_id text NOT NULL,
    verb text NOT NULL,
    state text NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    override text NOT NULL,
    finding jsonb NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, number)
);
COMMENT ON TABLE campaign_move IS 'The history of each campaign, overrides of the pilot gate among it. Never changed.
number is the revision that the move made.';

CREATE TABLE knowledge (
    campaign_id text PRIMARY KEY REFERENCES campaign,
    org_id text NOT NULL,
    product_ids text[] NOT NULL,
    channels text[] NOT NULL,
    entry jsonb NOT NULL,
    words text NOT NULL,
    close_time timestamptz NOT NULL
);
COMMENT ON TABLE knowledge IS 'What was learned of closed campaigns; words is all of it in lower case, for the search.';
CREATE INDEX knowledge_close_time ON knowledge (close_time DESC, campaign_id DESC);

ALTER TABLE contact
    DROP CONSTRAINT contact_state_check,
    ADD CONSTRAINT contact_state_check CHECK (state IN
        ('PLANNED', 'HANDED_OVER', 'CONSENT_WITHDRAWN', 'CAP_REACHED', 'UNREACHABLE', 'CONTROL', 'CONTROL_WITHHELD',
         'CAMPAIGN_STOPPED'))
"""


def upgrade() -> None:
    for statement in CAMPAIGNS.split(";\n"):
        op.execute(statement)
