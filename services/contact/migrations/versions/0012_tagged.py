"""How many rows of a hand-over file tell tags: fewer than its rows when portrait was away."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute("ALTER TABLE handover_file ADD COLUMN tagged bigint NOT NULL DEFAULT 0")
