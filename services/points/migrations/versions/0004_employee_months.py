"""What a late event looks at, found by employee and month: no scan of a month."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX event_staff ON business_event (staff_id, business_date) WHERE staff_id <> ''")
    op.execute("CREATE INDEX entry_own ON points_entry (accrual_id, staff_id) WHERE kind IN ('TIER', 'CAP')")
