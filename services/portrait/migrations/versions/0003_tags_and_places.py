"""Tag versions, approvals, catalogues of jobs, held runs; classes of places given by hand, the city's crowds."""

from alembic import op

revision = "0003"
down_revision = "0002"

DDL = """
CREATE TABLE tag_version (
    code text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL CHECK (state IN ('REVIEW', 'ACTIVE', 'RETIRED')),
    definition jsonb NOT NULL,
    author text NOT NULL,
    note text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (code, version)
);
CREATE UNIQUE INDEX tag_version_in_force ON tag_version (code) WHERE state = 'ACTIVE';
COMMENT ON TABLE tag_version IS
    'Versions of tags made by RPC: one in force stands for the shipped entry of its code, a retired one takes it away.';

CREATE TABLE tag_approval (
    code text NOT NULL,
    version integer NOT NULL,
    aspect text NOT NULL CHECK (aspect IN ('MINING', 'BUSINESS')),
    approver text NOT NULL,
    note text NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (code, version, aspect),
    FOREIGN KEY (code, version) REFERENCES tag_version
);
COMMENT ON TABLE tag_approval IS
    'Who found which aspect of a version right; both are needed before it is published.';

CREATE TABLE catalogue_document (
    digest text PRIMARY KEY,
    document jsonb NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE catalogue_document IS
    'Catalogues with which jobs were planned, whole: a job computes with its own.';

CREATE TABLE place_version (
    place_id text NOT NULL,
    version integer NOT NULL,
    class_code text NOT NULL,
    from_date date NOT NULL,
    author text NOT NULL,
    note text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (place_id, version)
);
COMMENT ON TABLE place_version IS
    'Classes that were given to places by hand; the last one before a run''s last day counts.';

ALTER TABLE run ADD COLUMN held jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN run.held IS
    'Why readers do not see it: tags whose coverage is outside of their band; [] otherwise.';

CREATE TABLE place_task (
    run_no bigint NOT NULL REFERENCES run,
    kind text NOT NULL,
    place_id text NOT NULL,
    cell_id bigint NOT NULL,
    traffic bigint NOT NULL,
    read_as text NOT NULL,
    kilometres double precision NOT NULL,
    PRIMARY KEY (run_no, kind, place_id, cell_id)
);
COMMENT ON TABLE place_task IS
    'What the map lacked in a run: places without a class, cells without a place, doubtful rows.';

CREATE TABLE dwell_area (
    run_no bigint NOT NULL REFERENCES run,
    day_type text NOT NULL,
    slot text NOT NULL,
    place_id text NOT NULL,
    place_name text NOT NULL,
    place_class text NOT NULL,
    town text NOT NULL,
    customers bigint NOT NULL,
    secs bigint NOT NULL,
    PRIMARY KEY (run_no, day_type, slot, place_id)
);
COMMENT ON TABLE dwell_area IS
    'Where the city is, by kind of day and slot; day_type and slot are empty for all together.';

CREATE TABLE crowd (
    run_no bigint NOT NULL REFERENCES run,
    place_class text NOT NULL,
    day_type text NOT NULL,
    hour integer NOT NULL,
    secs bigint NOT NULL,
    days integer NOT NULL,
    PRIMARY KEY (run_no, place_class, day_type, hour)
);
COMMENT ON TABLE crowd IS
    'Presence by place class, kind of day and local hour: seconds over all days of the kind.'
"""


def upgrade() -> None:
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
