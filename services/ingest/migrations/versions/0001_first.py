"""The first tables of ingest."""

from alembic import op

from services.kit.migrate import kit_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE feed (
    feed_id text NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    definition text NOT NULL,
    shipped text NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (feed_id, revision)
);
COMMENT ON TABLE feed IS 'Every revision of every contract with a supplier; the highest is in force.';
COMMENT ON COLUMN feed.shipped IS 'sha256 of the definition when it came with the platform, empty when by UpdateFeed.';

CREATE TABLE delivery (
    delivery_id text PRIMARY KEY,
    delivery_no bigint GENERATED ALWAYS AS IDENTITY,
    feed_id text NOT NULL,
    revision integer NOT NULL,
    period date,
    sequence integer NOT NULL,
    file_name text NOT NULL,
    sha256 text NOT NULL,
    state text NOT NULL CHECK (state IN ('RECEIVED', 'LOADING', 'LOADED', 'QUARANTINED', 'SUPERSEDED')),
    source_rows bigint NOT NULL DEFAULT 0 CHECK (source_rows >= 0),
    loaded_rows bigint NOT NULL DEFAULT 0 CHECK (loaded_rows >= 0),
    rejected_rows bigint NOT NULL DEFAULT 0 CHECK (rejected_rows >= 0),
    problems jsonb NOT NULL DEFAULT '[]',
    receive_time timestamptz NOT NULL,
    load_time timestamptz,
    CONSTRAINT delivery_reconciles
        CHECK (state NOT IN ('LOADED', 'SUPERSEDED') OR source_rows = loaded_rows + rejected_rows),
    CONSTRAINT delivery_loaded_has_time CHECK (state <> 'LOADED' OR load_time IS NOT NULL),
    CONSTRAINT delivery_held_has_reason
        CHECK (state <> 'QUARANTINED' OR (loaded_rows = 0 AND jsonb_array_length(problems) > 0))
);
COMMENT ON TABLE delivery IS 'One file of one feed as it was sent, and what became of it.';
CREATE UNIQUE INDEX delivery_no ON delivery (delivery_no);
CREATE UNIQUE INDEX delivery_in_force ON delivery (feed_id, period, sequence) WHERE state = 'LOADED';
CREATE UNIQUE INDEX delivery_same_file ON delivery (file_name, sha256) WHERE state <> 'QUARANTINED';
CREATE INDEX delivery_feed ON delivery (feed_id, delivery_no);
CREATE INDEX delivery_file_name ON delivery (file_name, delivery_no);

CREATE TABLE lake_file (
    path text PRIMARY KEY,
    delivery_id text NOT NULL REFERENCES delivery,
    rows bigint NOT NULL CHECK (rows > 0),
    sha256 text NOT NULL,
    period date NOT NULL,
    bucket integer NOT NULL CHECK (bucket >= -1)
);
COMMENT ON TABLE lake_file IS 'The manifest of the lake; a file counts while its delivery is LOADED.';
CREATE INDEX lake_file_delivery ON lake_file (delivery_id);

CREATE TABLE reject (
    delivery_id text NOT NULL REFERENCES delivery,
    line bigint NOT NULL CHECK (line > 0),
    column_name text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    raw bytea NOT NULL,
    key_version integer NOT NULL,
    PRIMARY KEY (delivery_id, line)
);
COMMENT ON TABLE reject IS 'Rows that were not loaded. No value of a row stands in the message.';
COMMENT ON COLUMN reject.raw IS 'The row as it came, sealed with the vault key since it may hold a telephone number.';

CREATE TABLE vault (
    customer_key bigint PRIMARY KEY CHECK (customer_key > 0),
    token bytea NOT NULL UNIQUE,
    sealed bytea NOT NULL,
    key_version integer NOT NULL
);
COMMENT ON TABLE vault IS 'The one place that leads from a customer to his number: sealed, found by a keyed token.
It has no org_id on purpose: a person stays the same when he moves; the table customer says where he belongs.';

CREATE TABLE customer (
    customer_key bigint PRIMARY KEY REFERENCES vault,
    org_id text NOT NULL,
    status text NOT NULL,
    period date NOT NULL,
    sequence integer NOT NULL,
    delivery_id text NOT NULL REFERENCES delivery
);
COMMENT ON TABLE customer IS 'To which organisation a customer belongs, by the latest profile delivery that names him.';
CREATE INDEX customer_delivery ON customer (delivery_id);

CREATE TABLE event (
    event_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    event_id text NOT NULL UNIQUE,
    source text NOT NULL,
    source_event_id text NOT NULL,
    type text NOT NULL,
    customer_key bigint NOT NULL CHECK (customer_key >= 0),
    org_id text NOT NULL DEFAULT '',
    occur_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL,
    attributes jsonb NOT NULL,
    delivery_id text NOT NULL DEFAULT '',
    line bigint NOT NULL DEFAULT 0,
    traceparent text NOT NULL DEFAULT '',
    UNIQUE (source, source_event_id)
);
COMMENT ON TABLE event IS 'What happened to customers, in the order (xid, event_no); append only.';
COMMENT ON COLUMN event.org_id IS 'Where the customer belonged when the event was received; empty when not known.';
CREATE INDEX event_order ON event (xid, event_no);

CREATE TABLE disclosure (
    disclosure_id text PRIMARY KEY,
    caller text NOT NULL,
    method text NOT NULL,
    purpose text NOT NULL,
    asked integer NOT NULL,
    customer_keys bigint[] NOT NULL,
    disclose_time timestamptz NOT NULL
);
COMMENT ON TABLE disclosure IS 'Who learned which numbers or keys, when and why; written before anything was sent.';
CREATE INDEX disclosure_time ON disclosure (disclose_time)
"""


def upgrade() -> None:
    """Make them."""
    kit_tables(op)
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """There is nothing before the first."""
