"""When a hand-over file was carried to OCRM's own server."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("ALTER TABLE handover_file ADD COLUMN push_time timestamptz")
    op.execute("COMMENT ON COLUMN handover_file.push_time IS 'When it was carried to OCRM''s server; null: not yet.'")
    op.execute("CREATE INDEX handover_file_waits ON handover_file (file_name) WHERE push_time IS NULL")
