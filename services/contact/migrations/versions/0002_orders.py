"""Marketing orders with their moves, and openings attributed to contacts."""

from alembic import op

revision = "0002"
down_revision = "0001"

ORDERS = """
CREATE TABLE marketing_order (
    order_id text PRIMARY KEY,
    contact_id text NOT NULL CONSTRAINT marketing_order_contact UNIQUE,
    org_id text NOT NULL,
    campaign_id text NOT NULL,
    customer_key bigint NOT NULL,
    product_id text NOT NULL,
    content text NOT NULL,
    staff_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('CREATED', 'DISPATCHED', 'ACCEPTED', 'CONTACTED', 'RESULT', 'CLOSED',
                                         'RETURNED', 'TIMED_OUT')),
    due_time timestamptz,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    contact_time timestamptz,
    revision integer NOT NULL CHECK (revision >= 1),
    returns integer NOT NULL,
    timeouts integer NOT NULL,
    closing text NOT NULL,
    feedback jsonb,
    auto_dispatch boolean NOT NULL,
    CHECK ((state = 'CLOSED') = (due_time IS NULL)),
    CHECK ((state = 'CLOSED') = (closing <> ''))
);
COMMENT ON TABLE marketing_order IS 'Orders to account managers (派单). contact_id is the contact of the plan that
the order makes, or the order''s own id when no plan asked for it.';
CREATE INDEX marketing_order_due ON marketing_order (due_time) WHERE state <> 'CLOSED';
CREATE INDEX marketing_order_waiting ON marketing_order (create_time) WHERE state = 'CREATED' AND auto_dispatch;
CREATE INDEX marketing_order_staff ON marketing_order (staff_id, create_time DESC);
CREATE INDEX marketing_order_create_time ON marketing_order (create_time DESC, order_id DESC);
CREATE INDEX marketing_order_customer ON marketing_order (customer_key, product_id);

CREATE TABLE order_move (
    order_id text NOT NULL REFERENCES marketing_order,
    number integer NOT NULL,
    org_id text NOT NULL,
    verb text NOT NULL,
    state text NOT NULL,
    staff_id text NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (order_id, number)
);
COMMENT ON TABLE order_move IS 'The history of each order; number is the revision that the move made. Never changed.';

CREATE TABLE attribution (
    contact_id text PRIMARY KEY,
    org_id text NOT NULL,
    customer_key bigint NOT NULL,
    product_id text NOT NULL,
    open_time timestamptz NOT NULL,
    attribute_time timestamptz NOT NULL
);
COMMENT ON TABLE attribution IS 'Openings seen in business events that followed a contact within the attribution
window: the first of each contact. Its fact went on the outbox in the same transaction.';
CREATE INDEX contact_customer ON contact (customer_key, product_id) WHERE state = 'HANDED_OVER';
CREATE INDEX contact_attribution_token ON contact
    (encode(substring(sha256(('attribution|' || contact_id)::bytea) FOR 12), 'hex'))
"""


def upgrade() -> None:
    for statement in ORDERS.split(";\n"):
        op.execute(statement)
