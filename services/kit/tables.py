"""The kit's four tables in every service's schema, as SQLAlchemy Core; migrate.kit_tables() creates them."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType


class Xid8(UserDefinedType[str]):
    """A 64-bit transaction id, as text on our side."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Its name in Postgres."""
        return "xid8"


metadata = MetaData()

request = Table(
    "request",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("answer", JSONB),
    Column("create_time", DateTime(timezone=True), nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("xid", Xid8, primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("traceparent", Text, nullable=False),
)

consumer_cursor = Table(
    "consumer_cursor",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("cursor", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("error_time", DateTime(timezone=True)),
    Column("move_time", DateTime(timezone=True)),
)

job = Table(
    "job",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("counts", JSONB, nullable=False),
    Column("message", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("checkpoint", JSONB, nullable=False),
    Column("cancel_asked", Boolean, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("start_time", DateTime(timezone=True)),
    Column("end_time", DateTime(timezone=True)),
    Column("traceparent", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    Column("not_before", DateTime(timezone=True), nullable=False),
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
