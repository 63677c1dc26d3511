"""Records of mining projects."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE project (
    project_id text PRIMARY KEY,
    name text NOT NULL,
    owner text NOT NULL,
    goal text NOT NULL,
    model_ids jsonb NOT NULL,
    review_date date NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE project IS 'Mining projects by the six steps of CRISP-DM, and when each is to be looked at again.';
CREATE INDEX project_review ON project (review_date, project_id);

CREATE TABLE project_step (
    project_id text NOT NULL REFERENCES project,
    kind text NOT NULL,
    artefacts jsonb NOT NULL,
    author text NOT NULL,
    note text NOT NULL,
    done boolean NOT NULL,
    update_time timestamptz,
    PRIMARY KEY (project_id, kind)
);
COMMENT ON TABLE project_step IS 'What each step of a project left.'
"""


def upgrade() -> None:
    for statement in filter(str.strip, STATEMENTS.split(";\n")):  # the driver takes one at a time
        op.execute(statement)
