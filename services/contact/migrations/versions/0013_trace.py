"""What happens at a slot names the grant that was shown."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute("ALTER TABLE slot_event ADD COLUMN grant_id text NOT NULL DEFAULT ''")
    op.execute("CREATE INDEX slot_event_grant ON slot_event (grant_id) WHERE grant_id <> ''")
