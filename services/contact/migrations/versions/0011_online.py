"""What went out online is found by its campaign, for reports."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("CREATE INDEX decision_confirmed ON decision (campaign_id, customer_key) WHERE state = 'CONFIRMED'")
