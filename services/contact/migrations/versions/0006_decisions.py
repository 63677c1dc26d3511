"""Decisions with their grants, quotas leased to replicas in blocks, and who is not to be contacted at all."""

from alembic import op

revision = "0006"
down_revision = "0005"

DECISIONS = """
CREATE TABLE decision (
    grant_id text PRIMARY KEY,
    fingerprint text NOT NULL,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('SHOWN', 'RESERVED', 'CONFIRMED', 'CANCELLED', 'EXPIRED')),
    business_day date NOT NULL,
    slot_id text NOT NULL,
    channel text NOT NULL,
    purpose text NOT NULL,
    campaign_id text NOT NULL,
    offer_id text NOT NULL,
    product_id text NOT NULL,
    exclusive_group text NOT NULL,
    content text NOT NULL,
    reason text NOT NULL,
    bid_fen double precision NOT NULL,
    decide_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    shard bigint NOT NULL,
    quotas text[] NOT NULL
);
COMMENT ON TABLE decision IS 'What was decided for each place of each request; those with a grant count for caps while
they are confirmed, or reserved and not expired. The id is made of caller, request and place.';
CREATE INDEX decision_counts ON decision (customer_key, business_day) WHERE state IN ('RESERVED', 'CONFIRMED');
CREATE INDEX decision_expires ON decision (expire_time) WHERE state = 'RESERVED';

CREATE TABLE do_not_contact (
    customer_key bigint PRIMARY KEY,
    org_id text NOT NULL,
    since timestamptz NOT NULL
);
COMMENT ON TABLE do_not_contact IS 'Customers who are not to be contacted by any channel for any purpose.';

CREATE SEQUENCE shard_number;

CREATE TABLE shard (
    shard bigint PRIMARY KEY,
    expire_time timestamptz NOT NULL
);
COMMENT ON TABLE shard IS 'Processes that decide, each with a number of its own that is never used again: the fence.
One whose time is over can decide no more, and what it had leased and not used goes back. Without org_id.';

CREATE TABLE quota (
    name text PRIMARY KEY,
    capacity bigint NOT NULL CHECK (capacity >= 0),
    leased bigint NOT NULL CHECK (leased >= 0)
);
COMMENT ON TABLE quota IS 'What channels and campaigns may use, and how much of it is leased or used. Without org_id.';

CREATE TABLE quota_lease (
    name text NOT NULL REFERENCES quota,
    shard bigint NOT NULL REFERENCES shard,
    units bigint NOT NULL CHECK (units >= 0),
    PRIMARY KEY (name, shard)
);
COMMENT ON TABLE quota_lease IS 'Units of a quota that a process has leased, used ones included. Without org_id.'
"""


def upgrade() -> None:
    for statement in DECISIONS.split(";\n"):
        op.execute(statement)
