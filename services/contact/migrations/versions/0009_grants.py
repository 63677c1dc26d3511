"""What comes of contacts made online is found by their tokens too."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX decision_attribution_token ON decision "
        "(encode(substring(sha256(('attribution|' || grant_id)::bytea) FOR 12), 'hex')) WHERE state = 'CONFIRMED'"
    )
