"""Shadow models, four tables of associations, product terms, experts' lists, circle counts, drift."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE model DROP CONSTRAINT model_state_check;
ALTER TABLE model ADD CONSTRAINT model_state_check
    CHECK (state IN ('CANDIDATE', 'SHADOW', 'CHAMPION', 'RETIRED'));
ALTER TABLE model ADD COLUMN promote_time timestamptz;
COMMENT ON COLUMN model.promote_time IS 'When it last became champion; a rollback goes to the latest before.';
ALTER TABLE matrix ADD COLUMN drift jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN matrix.drift IS 'Population stability index by feature, of who was scored against who taught.';

CREATE TABLE pattern (
    kind text NOT NULL,
    left_id text NOT NULL,
    right_id text NOT NULL,
    left_name text NOT NULL,
    right_name text NOT NULL,
    both_count bigint NOT NULL,
    support double precision NOT NULL,
    confidence double precision NOT NULL,
    lift double precision NOT NULL,
    p_value double precision NOT NULL,
    q_value double precision NOT NULL,
    PRIMARY KEY (kind, left_id, right_id)
);
COMMENT ON TABLE pattern IS 'Associations of the customers that the latest training learned from, in four tables; '
    'takes the place of association.';
INSERT INTO pattern SELECT 'PRODUCT_PRODUCT', left_product_id, right_product_id, left_product_id, right_product_id,
    both_count, support, confidence, lift, 1, 1 FROM association;

CREATE TABLE product_terms (
    product_id text PRIMARY KEY,
    terms jsonb NOT NULL,
    update_time timestamptz NOT NULL
);
COMMENT ON TABLE product_terms IS 'How products are sold and who may be offered them, as product managers keep it.';

CREATE TABLE expert_list (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    circle text NOT NULL,
    product_ids jsonb NOT NULL,
    author text NOT NULL,
    note text NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE expert_list IS 'Experts'' products per circle; every list is kept, the latest of a circle counts.';
CREATE INDEX expert_list_circle ON expert_list (circle, number);

CREATE TABLE circle_count (
    circle text NOT NULL,
    product_id text NOT NULL,
    members bigint NOT NULL,
    contacted bigint NOT NULL,
    accepted bigint NOT NULL,
    opened bigint NOT NULL,
    still bigint NOT NULL,
    PRIMARY KEY (circle, product_id)
);
COMMENT ON TABLE circle_count IS 'Per circle and product, of the run that the latest training learned from.'
"""


def upgrade() -> None:
    for statement in filter(str.strip, STATEMENTS.split(";\n")):  # the driver takes one at a time
        op.execute(statement)
