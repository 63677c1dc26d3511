"""The kit's tables, and two of the sample's own."""

from alembic import op

from services.kit.migrate import kit_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    kit_tables(op)
    op.execute("CREATE TABLE note (note_id bigint PRIMARY KEY, body text NOT NULL)")
    # Each effect is a row, with nothing to stop a second one: the tests look for it.
    op.execute("CREATE TABLE effect (seq bigint GENERATED ALWAYS AS IDENTITY, name text NOT NULL)")
    op.execute("CREATE TABLE parcel (parcel_id text PRIMARY KEY, org_id text NOT NULL)")
