"""Since when a customer has been warned of."""

from alembic import op

revision = "0007"
down_revision = "0006"

DDL = """
ALTER TABLE customer_warning ADD COLUMN since_date date;
COMMENT ON COLUMN customer_warning.since_date IS
    'The last day of the run that first gave the warning; it has stood in every scored run since.'
"""


def upgrade() -> None:
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
