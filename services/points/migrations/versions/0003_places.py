"""Fields of cells and grids beside those of customers."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PLACES = """
ALTER TABLE responsibility_field ADD COLUMN place text NOT NULL DEFAULT '';
ALTER TABLE responsibility_field ADD CONSTRAINT responsibility_field_subject
    CHECK ((place <> '') = (customer_key < 0) AND (place = '' OR place ~ '^(cell|grid) .'));
COMMENT ON TABLE responsibility_field IS
    'A copy of ingest''s feeds fields and place_fields: [valid_from, valid_to) × [known_from, known_to). org_id is the'
    ' employee''s; place is a cell or grid, and customer_key then the negative key made of its name.';
ALTER TABLE responsibility_field_refused ADD COLUMN feed_id text NOT NULL DEFAULT 'fields';
COMMENT ON TABLE responsibility_field_refused IS
    'A copy of ingest''s feeds fields and place_fields, of rows that cannot stand beside the others, with why.';
ALTER TABLE business_event ADD COLUMN cell_id text NOT NULL DEFAULT '';
ALTER TABLE business_event ADD COLUMN grid_id text NOT NULL DEFAULT '';
ALTER TABLE business_event_reused ADD COLUMN cell_id text NOT NULL DEFAULT '';
ALTER TABLE business_event_reused ADD COLUMN grid_id text NOT NULL DEFAULT '';
"""


def upgrade() -> None:
    for statement in PLACES.split(";\n"):
        if statement.strip():
            op.execute(statement)
