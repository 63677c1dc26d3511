"""Recycled numbers, merged and erased persons; the landed layer, compacted files, what they replaced, leases."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE vault ALTER COLUMN token DROP NOT NULL;
ALTER TABLE vault ADD COLUMN retire_time timestamptz;
ALTER TABLE vault ADD COLUMN erase_time timestamptz;
COMMENT ON COLUMN vault.retire_time IS 'Since when the number is not his any more: token and sealed are empty then.';
COMMENT ON COLUMN vault.erase_time IS 'When the person was erased; the row stays so that nobody else gets his key.';

CREATE TABLE merge (
    customer_key bigint PRIMARY KEY REFERENCES vault,
    into_key bigint NOT NULL REFERENCES vault CHECK (into_key <> customer_key),
    reason text NOT NULL,
    caller text NOT NULL,
    merge_time timestamptz NOT NULL
);
COMMENT ON TABLE merge IS 'Keys that were declared to be one person; into_key is never merged itself.';
CREATE INDEX merge_into ON merge (into_key);

CREATE TABLE erasure (
    erasure_id text PRIMARY KEY,
    customer_keys bigint[] NOT NULL,
    sealed bytea[] NOT NULL,
    key_version integer NOT NULL,
    reason text NOT NULL,
    caller text NOT NULL,
    job_id text NOT NULL,
    removed jsonb NOT NULL DEFAULT '{}',
    proof jsonb NOT NULL DEFAULT '[]',
    request_time timestamptz NOT NULL,
    end_time timestamptz
);
COMMENT ON TABLE erasure IS 'Persons who are or were erased, what was removed, and the scan that found nothing left.';
COMMENT ON COLUMN erasure.sealed IS 'His numbers, sealed, while they are needed to find him in raw rows; then empty.';
CREATE INDEX erasure_time ON erasure (request_time, erasure_id);

CREATE TABLE ods_file (
    path text PRIMARY KEY,
    delivery_id text NOT NULL REFERENCES delivery,
    rows bigint NOT NULL CHECK (rows >= 0),
    sha256 text NOT NULL,
    period date NOT NULL
);
COMMENT ON TABLE ods_file IS 'The landed layer: each delivery as it came, columnar, numbers replaced by customer keys.';
CREATE INDEX ods_file_delivery ON ods_file (delivery_id);

CREATE TABLE lake_part (
    path text NOT NULL REFERENCES lake_file ON DELETE CASCADE,
    delivery_id text NOT NULL REFERENCES delivery,
    first_row bigint NOT NULL,
    rows bigint NOT NULL CHECK (rows > 0),
    PRIMARY KEY (path, delivery_id)
);
COMMENT ON TABLE lake_part IS 'Which rows of a compacted file came with which delivery; other files have one delivery.';
CREATE INDEX lake_part_delivery ON lake_part (delivery_id);

CREATE TABLE lake_garbage (
    path text PRIMARY KEY,
    feed_id text NOT NULL,
    since timestamptz NOT NULL
);
COMMENT ON TABLE lake_garbage IS 'Files that no manifest names any more; removed when no reader can hold them.';

CREATE TABLE lake_lease (
    lease_id text PRIMARY KEY,
    feed_id text NOT NULL,
    holder text NOT NULL,
    take_time timestamptz NOT NULL,
    lease_until timestamptz NOT NULL
);
COMMENT ON TABLE lake_lease IS 'Readers of a manifest: what it named stays until they are done.'
"""

GUARD = (
    """
CREATE FUNCTION keep_compacted() RETURNS trigger LANGUAGE plpgsql SET search_path = ingest, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM lake_part WHERE delivery_id = NEW.delivery_id) THEN
        RAISE EXCEPTION 'delivery % is in a compacted file, which is taken apart first', NEW.delivery_id;
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER delivery_compacted BEFORE UPDATE ON delivery FOR EACH ROW
WHEN (NEW.state = 'SUPERSEDED' AND OLD.state <> 'SUPERSEDED') EXECUTE FUNCTION keep_compacted()
""",
)


def upgrade() -> None:
    """Make them."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for statement in GUARD:
        op.execute(statement)


def downgrade() -> None:
    """What was merged or erased does not come back."""
