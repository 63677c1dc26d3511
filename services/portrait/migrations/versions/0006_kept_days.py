"""Days of signalling that are kept, so that a run follows new days only."""

from alembic import op

revision = "0006"
down_revision = "0005"

DDL = """
CREATE TABLE kept_day (
    day date NOT NULL,
    bucket integer NOT NULL,
    inputs text NOT NULL,
    reading text NOT NULL,
    rows bigint NOT NULL,
    uri text NOT NULL,
    stays bigint NOT NULL,
    sha256 text NOT NULL,
    cells_uri text NOT NULL,
    cells bigint NOT NULL,
    cells_sha256 text NOT NULL,
    use_time timestamptz NOT NULL,
    PRIMARY KEY (day, bucket, inputs, reading)
);
CREATE INDEX kept_day_use ON kept_day (use_time);
COMMENT ON TABLE kept_day IS
    'The stays of each bucket on each day, and (bucket -1) the days'' samples, in the lake; reused by later runs.';
COMMENT ON COLUMN kept_day.inputs IS
    'Digest of the files of the day and of the rules of stays.';
COMMENT ON COLUMN kept_day.reading IS
    'Digest of the map as it was read; another one serves as well while it reads the cells of `cells_uri` the same.';
COMMENT ON COLUMN kept_day.use_time IS
    'When a run last used it; -infinity: superseded, or somebody in it was erased, and its files are to be deleted.'
"""


def upgrade() -> None:
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
