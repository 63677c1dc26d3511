"""Reports that were made and are kept, and the schedules that ask for them."""

from alembic import op

revision = "0005"
down_revision = "0004"

DDL = """
CREATE TABLE report_version (
    report_id text NOT NULL,
    run_no bigint NOT NULL REFERENCES run,
    compared boolean NOT NULL,
    org_id text NOT NULL,
    digest text NOT NULL,
    compare_run_no bigint REFERENCES run,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    body jsonb NOT NULL,
    sha256 text NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (report_id, run_no, compared, org_id, digest)
);
COMMENT ON TABLE report_version IS
    'Reports as they were made: figures of the customers of org_id and below, small groups withheld.';
COMMENT ON COLUMN report_version.digest IS
    'Of the definition, of the organisations below org_id, and of the run before: another one is another version.';

CREATE TABLE report_schedule (
    schedule_id text PRIMARY KEY,
    report_id text NOT NULL,
    compared boolean NOT NULL,
    org_id text NOT NULL,
    owner text NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE report_schedule IS
    'Reports that are made for each published run.'
"""


def upgrade() -> None:
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
