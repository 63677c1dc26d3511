"""The event log by month, its keys kept for ever, what could not be taken in; who follows it and how far."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LOG = """
ALTER TABLE event RENAME TO event_first;
ALTER TABLE event_first ALTER COLUMN event_no DROP IDENTITY;
CREATE SEQUENCE event_no;
SELECT setval('event_no', (SELECT coalesce(max(event_no), 0) + 1 FROM event_first), false);

CREATE TABLE event (
    event_no bigint NOT NULL DEFAULT nextval('event_no'),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    event_id text NOT NULL,
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
    traceparent text NOT NULL DEFAULT ''
) PARTITION BY RANGE (receive_time);
COMMENT ON TABLE event IS 'What happened to customers, in the order (xid, event_no), by month of receive_time (UTC):
append only, but for persons that are erased and months that are rolled off.';
CREATE INDEX event_place ON event (xid, event_no);

CREATE FUNCTION event_digest(type text, customer_key bigint, occur_time timestamptz, attributes jsonb) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN md5(concat_ws('|', type, customer_key::text, extract(epoch FROM occur_time)::text, attributes::text))::uuid;
COMMENT ON FUNCTION event_digest IS 'What an event says, in 16 bytes.';

CREATE TABLE event_key (
    source text NOT NULL,
    source_event_id text NOT NULL,
    event_id text NOT NULL,
    digest uuid NOT NULL,
    receive_time timestamptz NOT NULL,
    PRIMARY KEY (source, source_event_id)
);
COMMENT ON TABLE event_key IS 'Every event ever told, by the id of its source; outlives the months of the log.';
INSERT INTO event_key
SELECT source, source_event_id, event_id, event_digest(type, customer_key, occur_time, attributes), receive_time
FROM event_first;

CREATE TABLE event_reject (
    reject_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    source_event_id text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    raw bytea NOT NULL,
    key_version integer NOT NULL,
    caller text NOT NULL,
    receive_time timestamptz NOT NULL
);
COMMENT ON TABLE event_reject IS 'Events of a batch or a broker that were not taken in; source and id are masked.';
COMMENT ON COLUMN event_reject.raw IS 'The event as it came, sealed with the vault key.';

CREATE TABLE event_follower (
    subject text NOT NULL,
    stream text NOT NULL,
    xid xid8 NOT NULL,
    event_no bigint NOT NULL,
    seen_time timestamptz NOT NULL,
    PRIMARY KEY (subject, stream)
);
COMMENT ON TABLE event_follower IS 'The cursor each follower opened its stream with last: it has kept all before it.';

CREATE TABLE event_rolled (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    xid xid8 NOT NULL,
    event_no bigint NOT NULL
);
COMMENT ON TABLE event_rolled IS 'The last place of the log that was rolled off; an older cursor has lost events.';

CREATE TABLE broker_position (
    source text NOT NULL,
    part integer NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (source, part)
);
COMMENT ON TABLE broker_position IS 'How far an external stream was taken in; moved in the transaction of its events.'
"""

# What only the owner of the tables may do, and the service's role asks for.
MONTHS = (
    """
CREATE FUNCTION event_make_month(first date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ingest, pg_temp AS $$
DECLARE
    name text := 'event_p' || to_char(first, 'YYYYMM');
BEGIN
    IF to_regclass('ingest.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF event FOR VALUES FROM (%L) TO (%L)', name,
                   first::timestamp AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC');
    RETURN true;
END $$
""",
    """
CREATE VIEW event_month AS
SELECT child.relname::text AS name,
       (substring(pg_get_expr(child.relpartbound, child.oid) FROM 'TO \\(''([^'']+)''\\)'))::timestamptz AS until
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'ingest.event'::regclass
""",
    """
CREATE FUNCTION event_drop_month(month text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ingest, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM event_month WHERE name = month AND until IS NOT NULL) THEN
        RAISE EXCEPTION '% is no month of the event log', month;
    END IF;
    EXECUTE format('DROP TABLE %I', month);
END $$
""",
    # An empty log begins with clean months; one with events keeps them as its first part.
    """
DO $$
DECLARE
    this date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
    number integer;
BEGIN
    IF EXISTS (SELECT FROM event_first) THEN
        EXECUTE format('ALTER TABLE event ATTACH PARTITION event_first FOR VALUES FROM (MINVALUE) TO (%L)',
                       (this + interval '1 month') AT TIME ZONE 'UTC');
    ELSE
        DROP TABLE event_first;
        PERFORM event_make_month(this);
    END IF;
    FOR number IN 1..2 LOOP
        PERFORM event_make_month((this + number * interval '1 month')::date);
    END LOOP;
    CREATE TABLE event_other PARTITION OF event DEFAULT;
END $$
""",
)


def upgrade() -> None:
    """Make them."""
    for statement in LOG.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for statement in MONTHS:
        op.execute(statement)


def downgrade() -> None:
    """A log by month does not become one table again."""
