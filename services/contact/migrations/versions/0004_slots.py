"""Slots with their contents, schedules, pushes, what channels say that they show, and what customers did there."""

from alembic import op

revision = "0004"
down_revision = "0003"

SLOTS = """
CREATE TABLE slot (
    slot_id text PRIMARY KEY,
    org_id text NOT NULL,
    name text NOT NULL,
    channel text NOT NULL,
    width_px integer NOT NULL,
    height_px integer NOT NULL,
    form text NOT NULL CHECK (form IN ('DATA', 'PAGE')),
    choice text NOT NULL CHECK (choice IN ('ROTATE', 'PRIORITY')),
    state text NOT NULL CHECK (state IN ('VALID', 'DISABLED')),
    default_content text NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE slot IS 'Places where content can be shown (运营位).';
CREATE INDEX slot_create_time ON slot (create_time DESC, slot_id DESC);

CREATE TABLE channel_state (
    channel text PRIMARY KEY,
    valid boolean NOT NULL,
    update_time timestamptz NOT NULL
);
COMMENT ON TABLE channel_state IS 'Channels that somebody switched; one without a row is valid. The whole company''s.';

CREATE TABLE picture (
    code text PRIMARY KEY,
    width_px integer NOT NULL,
    height_px integer NOT NULL,
    sha256 text NOT NULL
);
COMMENT ON TABLE picture IS 'Advertising pictures by code; a code never changes its picture.';

CREATE TABLE content (
    content_id text PRIMARY KEY,
    slot_id text NOT NULL REFERENCES slot,
    org_id text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL CHECK (state IN ('DRAFT', 'APPROVED', 'WITHDRAWN')),
    pitch text NOT NULL,
    picture_code text NOT NULL,
    campaign_id text NOT NULL,
    product_id text NOT NULL,
    author text NOT NULL,
    UNIQUE (slot_id, name, version)
);
COMMENT ON TABLE content IS 'Versions of what slots show; nothing of a version but its state ever changes.';

CREATE TABLE schedule (
    schedule_id text PRIMARY KEY,
    slot_id text NOT NULL REFERENCES slot,
    content_id text NOT NULL REFERENCES content,
    org_id text NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL CHECK (end_time > start_time),
    priority integer NOT NULL,
    weight integer NOT NULL CHECK (weight >= 1),
    exclusive boolean NOT NULL,
    moment text NOT NULL,
    cancelled boolean NOT NULL
);
COMMENT ON TABLE schedule IS 'When contents are shown (排期), [start, end).';
CREATE INDEX schedule_slot ON schedule (slot_id, start_time);
CREATE INDEX schedule_end ON schedule (end_time) WHERE NOT cancelled;

CREATE TABLE push (
    push_id text PRIMARY KEY,
    slot_id text NOT NULL REFERENCES slot,
    org_id text NOT NULL,
    channel text NOT NULL,
    state text NOT NULL CHECK (state IN ('PUSHED', 'ACKNOWLEDGED', 'WITHDRAWN')),
    content_ids text[] NOT NULL,
    sha256 text NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL
);
COMMENT ON TABLE push IS 'Contents given to a channel in advance; one is EXPIRED when its expire_time is past.';
CREATE INDEX push_create_time ON push (create_time DESC, push_id DESC);

CREATE TABLE slot_sync (
    slot_id text PRIMARY KEY REFERENCES slot,
    org_id text NOT NULL,
    sha256 text NOT NULL,
    report_time timestamptz NOT NULL
);
COMMENT ON TABLE slot_sync IS 'What channels say that they show.';

CREATE TABLE slot_event (
    slot_id text NOT NULL,
    event_id text NOT NULL,
    org_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('EXPOSURE', 'CLICK', 'LOGIN', 'HANDLING', 'ACTIVATION', 'VISIT')),
    content_id text NOT NULL,
    customer_key bigint NOT NULL,
    event_time timestamptz NOT NULL,
    worth_fen bigint NOT NULL,
    page text NOT NULL,
    PRIMARY KEY (slot_id, event_id)
);
COMMENT ON TABLE slot_event IS 'What customers did at slots; customer_key 0 is nobody known. org_id is the caller''s.';
CREATE INDEX slot_event_time ON slot_event (event_time);

CREATE TABLE suggestion (
    suggestion_id text PRIMARY KEY,
    slot_id text NOT NULL,
    org_id text NOT NULL,
    content_id text NOT NULL,
    better_content_id text NOT NULL,
    text text NOT NULL,
    difference_low double precision NOT NULL,
    create_time timestamptz NOT NULL,
    UNIQUE (content_id, better_content_id)
);
COMMENT ON TABLE suggestion IS 'Changes of the rules that clicks speak for, each pair of contents once. Never changed.'
"""


def upgrade() -> None:
    for statement in SLOTS.split(";\n"):
        op.execute(statement)
