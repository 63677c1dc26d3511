"""What a dispute's answer says is missing, by component."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE dispute ADD COLUMN missing jsonb NOT NULL DEFAULT '{}'")
    op.execute(
        "COMMENT ON COLUMN dispute.missing IS 'Milli-points by which the replay exceeds the ledger, by component.'"
    )
