"""The kit's tables in every service's schema: what the code sees of them, and the DDL that makes them."""

from sqlalchemy import BigInteger, Boolean, DateTime, Integer, LargeBinary, Text, column, table
from sqlalchemy.dialects.postgresql import JSONB

_TIME = DateTime(timezone=True)

request = table(
    "request",
    column("caller", Text),
    column("method", Text),
    column("request_id", Text),
    column("fingerprint", LargeBinary),
    column("answer", JSONB),
    column("create_time", _TIME),
)

outbox = table(
    "outbox",
    column("kind", Text),
    column("key", Text),
    column("payload", JSONB),
    column("traceparent", Text),
)

consumer_cursor = table(
    "consumer_cursor",
    column("consumer", Text),
    column("cursor", Text),
    column("epoch", BigInteger),
    column("owner", Text),
    column("lease_until", _TIME),
    column("failures", Integer),
    column("error", Text),
    column("error_time", _TIME),
    column("move_time", _TIME),
)

job = table(
    "job",
    column("job_id", Text),
    column("kind", Text),
    column("key", Text),
    column("spec", JSONB),
    column("state", Text),
    column("done", BigInteger),
    column("total", BigInteger),
    column("counts", JSONB),
    column("message", Text),
    column("error", Text),
    column("attempt", Integer),
    column("checkpoint", JSONB),
    column("cancel_asked", Boolean),
    column("create_time", _TIME),
    column("start_time", _TIME),
    column("end_time", _TIME),
    column("traceparent", Text),
    column("owner", Text),
    column("epoch", BigInteger),
    column("lease_until", _TIME),
    column("not_before", _TIME),
)

# Version 1 of the four tables as a service's first migration makes them. It never changes: what comes later is
# another function beside kit_tables(), called by another migration.
DDL_1 = """
CREATE TABLE request (
    caller text NOT NULL,
    method text NOT NULL,
    request_id text NOT NULL,
    fingerprint bytea NOT NULL,
    answer jsonb,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, request_id)
);
COMMENT ON TABLE request IS 'What was answered to each request_id; written in the transaction of the effect.';
CREATE INDEX request_create_time ON request (create_time);

CREATE TABLE outbox (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    key text NOT NULL,
    payload jsonb NOT NULL,
    time timestamptz NOT NULL DEFAULT now(),
    traceparent text NOT NULL DEFAULT '',
    PRIMARY KEY (xid, id)
);
COMMENT ON TABLE outbox IS 'The facts of this service in the order (xid, id); followed by its Watch RPCs.';

CREATE TABLE consumer_cursor (
    consumer text PRIMARY KEY,
    cursor text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    failures integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    error_time timestamptz,
    move_time timestamptz
);
COMMENT ON TABLE consumer_cursor IS 'How far this service has followed its peers'' streams; moved with the effect.';

CREATE TABLE job (
    job_id text PRIMARY KEY,
    kind text NOT NULL,
    key text NOT NULL,
    spec jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    done bigint NOT NULL DEFAULT 0,
    total bigint NOT NULL DEFAULT 0,
    counts jsonb NOT NULL DEFAULT '{}',
    message text NOT NULL DEFAULT '',
    error text NOT NULL DEFAULT '',
    attempt integer NOT NULL DEFAULT 0,
    checkpoint jsonb NOT NULL DEFAULT '{}',
    cancel_asked boolean NOT NULL DEFAULT false,
    create_time timestamptz NOT NULL,
    start_time timestamptz,
    end_time timestamptz,
    traceparent text NOT NULL DEFAULT '',
    owner text NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    not_before timestamptz NOT NULL DEFAULT '-infinity',
    UNIQUE (kind, key)
);
COMMENT ON TABLE job IS 'Durable jobs: claimed by lease, fenced by epoch, resumed after a crash.';
CREATE INDEX job_create_time ON job (create_time, job_id);
CREATE INDEX job_open ON job (kind, create_time, job_id) WHERE state IN ('QUEUED', 'RUNNING');
"""

# What came after version 1: made by every `migrate`, when it is not there yet.
DDL_2 = """
CREATE TABLE IF NOT EXISTS directory (
    kind text NOT NULL CHECK (kind IN ('organisation', 'role', 'principal')),
    key text NOT NULL,
    body jsonb NOT NULL,
    change_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, key)
);
COMMENT ON TABLE directory IS
    'A copy of admin''s organisations, roles and principals, fed by WatchDirectory: who may do what, and see what.';
"""
