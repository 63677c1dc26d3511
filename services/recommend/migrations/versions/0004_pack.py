"""The file of packed profiles of a run."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE run ADD COLUMN pack jsonb;
COMMENT ON COLUMN run.pack IS 'The memory-mapped file of this run''s profiles; without one they are read from profile.'
"""


def upgrade() -> None:
    for statement in filter(str.strip, STATEMENTS.split(";\n")):  # the driver takes one at a time
        op.execute(statement)
