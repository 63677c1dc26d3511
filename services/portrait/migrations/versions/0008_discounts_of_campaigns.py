"""Whether the campaign of a contact took something off a price."""

from alembic import op

revision = "0008"
down_revision = "0007"

DDL = """
ALTER TABLE customer_contact ADD COLUMN discount boolean;
COMMENT ON COLUMN customer_contact.discount IS
    'Whether its campaign gave a discount, as contact told when the outcome came; null where nobody says.'
"""


def upgrade() -> None:
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
