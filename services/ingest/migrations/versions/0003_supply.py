"""What the supply of files needs: alarms, uploads, what was collected, replays, and signatures to see overlaps by."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE delivery ADD COLUMN notes jsonb NOT NULL DEFAULT '[]';
ALTER TABLE delivery ADD COLUMN replay_of text NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN signature bytea NOT NULL DEFAULT '';
COMMENT ON COLUMN delivery.signature IS 'The smallest hashes of its rows (domain/overlap.py); empty until loaded.';
CREATE INDEX delivery_replay ON delivery (replay_of) WHERE replay_of <> '';
CREATE INDEX delivery_period ON delivery (feed_id, period);

ALTER TABLE reject ADD COLUMN replay_delivery_id text NOT NULL DEFAULT '';

CREATE TABLE alarm (
    alarm_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alarm_id text NOT NULL UNIQUE,
    feed_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('LATE', 'VOLUME', 'REJECT_RATE', 'BROKEN_FORMAT', 'INTEGRITY', 'OVERLAP')),
    period date NOT NULL,
    message text NOT NULL,
    raise_time timestamptz NOT NULL,
    clear_time timestamptz
);
COMMENT ON TABLE alarm IS 'What was wrong with the supply of a feed, from when to when; at most one of a kind is open.';
CREATE UNIQUE INDEX alarm_open ON alarm (feed_id, kind) WHERE clear_time IS NULL;
CREATE INDEX alarm_feed ON alarm (feed_id, alarm_no);

CREATE TABLE upload (
    upload_id text PRIMARY KEY,
    caller text NOT NULL,
    file_name text NOT NULL,
    received_bytes bigint NOT NULL DEFAULT 0 CHECK (received_bytes >= 0),
    committed boolean NOT NULL DEFAULT false,
    expire_time timestamptz NOT NULL
);
COMMENT ON TABLE upload IS 'Files on their way by RPC; the bytes lie in the landing folder.';
CREATE INDEX upload_expire ON upload (expire_time);

CREATE TABLE collected (
    source text NOT NULL,
    file_name text NOT NULL,
    size bigint NOT NULL,
    change_time timestamptz NOT NULL,
    collect_time timestamptz NOT NULL,
    PRIMARY KEY (source, file_name)
);
COMMENT ON TABLE collected IS 'Files fetched from a remote source; not fetched again while they stay as they are.';
"""


def upgrade() -> None:
    """Make them."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """The law is expand only."""
