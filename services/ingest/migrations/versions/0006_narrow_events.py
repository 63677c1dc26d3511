"""Rows of the event log carry what differs between them; what the events of one transaction share stands once."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE event_arrival (
    arrival_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id text NOT NULL,
    delivery_id text NOT NULL,
    traceparent text NOT NULL
);
COMMENT ON TABLE event_arrival IS 'What events that were written together have in common; event_id is batch_id-line.
It outlives the months, as the keys do: it says under which id an event was told.';

ALTER TABLE event ALTER COLUMN event_id SET DEFAULT '';
ALTER TABLE event ALTER COLUMN attributes SET DEFAULT '{}';
ALTER TABLE event ADD COLUMN arrival_no bigint NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN said text NOT NULL DEFAULT '';
COMMENT ON COLUMN event.arrival_no IS '0: event_id, attributes, delivery_id and traceparent stand in the row itself.';
COMMENT ON COLUMN event.said IS 'The attributes as JSON, to the byte as jsonb prints them; nobody searches in them.';
COMMENT ON COLUMN event.line IS 'Line of its delivery, or its place in its batch.';

ALTER TABLE event_key ALTER COLUMN event_id SET DEFAULT '';
ALTER TABLE event_key ALTER COLUMN receive_time DROP NOT NULL;
ALTER TABLE event_key ADD COLUMN arrival_no bigint NOT NULL DEFAULT 0;
ALTER TABLE event_key ADD COLUMN line bigint NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX event_key_once ON event_key (source_event_id, source);
ALTER TABLE event_key DROP CONSTRAINT event_key_pkey;
COMMENT ON INDEX event_key_once IS 'The id of the source first: a file has one source, and each comparison would begin
with two equal texts.'
"""


def upgrade() -> None:
    """Make room for them; rows that are there stay as they are."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """The law is expand only."""
