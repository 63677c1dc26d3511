"""Who has weight in his circles, by calls; and what acceptance models make of a matrix."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE influence (
    influence_id text PRIMARY KEY,
    run_id text NOT NULL,
    customers bigint NOT NULL,
    links bigint NOT NULL,
    members jsonb NOT NULL,
    social jsonb NOT NULL,
    product_ids jsonb NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE influence IS 'The weight of customers in their circles by the calls of 30 days: members is the '
    'Parquet file of them, social the memory-mapped file of what those hold with whom each customer speaks.';
CREATE INDEX influence_latest ON influence (create_time);

ALTER TABLE matrix ADD COLUMN acceptance jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN matrix.acceptance IS 'By product the acceptance model whose chances the scores are.';
ALTER TABLE matrix ADD COLUMN shifts jsonb;
COMMENT ON COLUMN matrix.shifts IS 'The memory-mapped file of what is added to the log-odds of the model that scored, '
    'by customer and product, so that a score is the chance to accept; null while no contact taught one.'
"""


def upgrade() -> None:
    for statement in filter(str.strip, STATEMENTS.split(";\n")):  # the driver takes one at a time
        op.execute(statement)
