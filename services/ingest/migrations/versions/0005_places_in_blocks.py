"""Places of the event log are taken a thousand at a time: a file takes as many as it has rows."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Order within a transaction stays: it is one session, which gives its places out in turn."""
    op.execute("ALTER SEQUENCE event_no CACHE 1000")


def downgrade() -> None:
    """One at a time again."""
    op.execute("ALTER SEQUENCE event_no CACHE 1")
