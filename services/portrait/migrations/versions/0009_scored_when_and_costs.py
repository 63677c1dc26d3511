"""When a run was scored, and what a contact cost."""

from alembic import op

revision = "0009"
down_revision = "0008"

DDL = """
ALTER TABLE latent_score ADD COLUMN score_time timestamptz;
COMMENT ON COLUMN latent_score.score_time IS 'When the run was scored; null for a score made before this was kept.';
ALTER TABLE customer_contact ADD COLUMN cost_fen bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN customer_contact.cost_fen IS
    'What it cost by the prices of contact''s policy when portrait heard of it, in fen.'
"""


def upgrade() -> None:
    for statement in DDL.split(";\n"):
        if statement.strip():
            op.execute(statement)
