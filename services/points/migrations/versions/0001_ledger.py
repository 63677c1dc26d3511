"""Rules, reference projections, events and the ledger."""

import re

from alembic import op

from services.kit.migrate import kit_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RULES = """
CREATE TABLE rule_set (
    rule_set_id text PRIMARY KEY,
    name text NOT NULL,
    version integer NOT NULL CHECK (version >= 1),
    state text NOT NULL CHECK (state IN ('DRAFT', 'PUBLISHED')),
    definition text NOT NULL,
    sha256 text NOT NULL,
    effective_date date,
    author text NOT NULL,
    publisher text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    publish_time timestamptz,
    UNIQUE (name, version),
    CONSTRAINT rule_set_effective_date UNIQUE (name, effective_date),
    CHECK (publisher <> author),
    CHECK ((state = 'PUBLISHED') = (effective_date IS NOT NULL)),
    CHECK ((state = 'PUBLISHED') = (publish_time IS NOT NULL))
);
COMMENT ON TABLE rule_set IS
    'Versions of the rules. RETIRED is not stored: it follows from later versions and the date.';

CREATE FUNCTION rule_set_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state = 'PUBLISHED'
        OR (NEW.rule_set_id, NEW.name, NEW.version, NEW.definition, NEW.sha256) IS DISTINCT FROM
           (OLD.rule_set_id, OLD.name, OLD.version, OLD.definition, OLD.sha256)
        OR (NEW.author, NEW.create_time) IS DISTINCT FROM (OLD.author, OLD.create_time)
    THEN
        RAISE EXCEPTION 'a version of the rules never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER rule_set_is_kept BEFORE UPDATE OR DELETE ON rule_set FOR EACH ROW EXECUTE FUNCTION rule_set_is_kept();
"""

REFERENCE = """
CREATE TABLE revision (revision bigint NOT NULL);
CREATE UNIQUE INDEX revision_is_one ON revision ((true));
INSERT INTO revision VALUES (1);
COMMENT ON TABLE revision IS 'Grows with reference data and rules; suspended events are tried once at each.';

CREATE TABLE reference_feed (
    feed_id text PRIMARY KEY,
    manifest text NOT NULL,
    loaded_rows bigint NOT NULL,
    refused_rows bigint NOT NULL,
    update_time timestamptz NOT NULL
);
COMMENT ON TABLE reference_feed IS 'Which snapshot of each of ingest''s feeds the projections below hold.';

CREATE TABLE organisation (
    org_id text PRIMARY KEY,
    parent_org_id text NOT NULL,
    level text NOT NULL,
    name text NOT NULL
);
COMMENT ON TABLE organisation IS 'A copy of ingest''s feed organisations.';

CREATE TABLE staff (staff_id text PRIMARY KEY, org_id text NOT NULL, role text NOT NULL);
COMMENT ON TABLE staff IS 'A copy of ingest''s feed staff, without names.';

CREATE TABLE product (product_id text PRIMARY KEY, name text NOT NULL, category text NOT NULL);
COMMENT ON TABLE product IS 'A copy of ingest''s feed products; recommend owns products.';

CREATE TABLE responsibility_field (
    assignment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_key bigint NOT NULL,
    org_id text NOT NULL,
    staff_id text NOT NULL,
    role text NOT NULL,
    subject bigint GENERATED ALWAYS AS (hashtextextended(staff_id || '/' || role, 0) / 2) STORED,
    share_bps integer NOT NULL CHECK (share_bps BETWEEN 0 AND 10000),
    valid_from timestamptz NOT NULL,
    valid_to timestamptz CHECK (valid_to > valid_from),
    known_from timestamptz NOT NULL,
    known_to timestamptz CHECK (known_to > known_from),
    delivery_id text NOT NULL,
    line bigint NOT NULL,
    -- Ranges of one value compare as equality within GiST, so no extension is needed. Two subjects of one customer
    -- whose hashes are the same would be refused though they do not overlap: one in 2^63.
    CONSTRAINT responsibility_field_overlaps EXCLUDE USING gist (
        int8range(customer_key, customer_key, '[]') WITH &&,
        int8range(subject, subject, '[]') WITH &&,
        tstzrange(valid_from, valid_to) WITH &&,
        tstzrange(known_from, known_to) WITH &&
    )
);
COMMENT ON TABLE responsibility_field IS
    'A copy of ingest''s feed fields: [valid_from, valid_to) × [known_from, known_to). org_id is the employee''s.';
CREATE INDEX assignment_customer ON responsibility_field (customer_key);
CREATE INDEX assignment_known ON responsibility_field (assignment_id) WHERE known_to IS NULL;

CREATE FUNCTION assignment_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.known_to IS NULL THEN
        OLD.known_to := NEW.known_to;
        OLD.subject := NEW.subject;  -- generated, so not made yet
        IF OLD IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'what was known never changes' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER assignment_is_kept BEFORE UPDATE OR DELETE ON responsibility_field
    FOR EACH ROW EXECUTE FUNCTION assignment_is_kept();

CREATE TABLE responsibility_field_refused (
    delivery_id text NOT NULL,
    line bigint NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (delivery_id, line)
);
COMMENT ON TABLE responsibility_field_refused IS
    'A copy of ingest''s feed fields, of rows that cannot stand beside the others, with why.';
"""

LEDGER = """
CREATE TABLE business_event (
    source text NOT NULL,
    source_event_id text NOT NULL,
    event_id text NOT NULL UNIQUE,
    arrival bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    org_id text NOT NULL,
    type text NOT NULL,
    customer_key bigint NOT NULL,
    product_id text NOT NULL,
    staff_id text NOT NULL,
    channel text NOT NULL,
    amount_fen bigint,
    origin_event_id text NOT NULL,
    occur_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL,
    business_date date NOT NULL,
    delivery_id text NOT NULL,
    line bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('SCORED', 'SUSPENDED')),
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    tried_revision bigint NOT NULL,
    PRIMARY KEY (source, source_event_id),
    CHECK ((state = 'SUSPENDED') = (reason <> ''))
);
COMMENT ON TABLE business_event IS
    'A copy of ingest''s event log, business events, each once; those told by RPC beside it. org_id is that of the'
    ' employee who made the business, empty for nobody.';
CREATE INDEX event_suspended ON business_event (arrival) WHERE state = 'SUSPENDED';
CREATE INDEX event_due ON business_event (tried_revision, arrival) WHERE state = 'SUSPENDED';
CREATE INDEX event_refund ON business_event (source, origin_event_id) WHERE type = 'REFUND';
CREATE INDEX event_scored ON business_event (business_date) WHERE state = 'SCORED' AND type <> 'REFUND';

CREATE TABLE business_event_reused (
    event_id text PRIMARY KEY,
    source text NOT NULL,
    source_event_id text NOT NULL,
    arrival bigint NOT NULL UNIQUE DEFAULT nextval('business_event_arrival_seq'),
    type text NOT NULL,
    customer_key bigint NOT NULL,
    product_id text NOT NULL,
    staff_id text NOT NULL,
    channel text NOT NULL,
    amount_fen bigint,
    origin_event_id text NOT NULL,
    occur_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL,
    delivery_id text NOT NULL,
    line bigint NOT NULL,
    FOREIGN KEY (source, source_event_id) REFERENCES business_event
);
COMMENT ON TABLE business_event_reused IS
    'A copy of ingest''s event log, of events under an id that had told another event before: in suspense for ever.';

CREATE TABLE period (
    period_id text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('OPEN', 'CALCULATED', 'LOCKED', 'PAID'))
);
COMMENT ON TABLE period IS 'Months of the ledger; the sums and the checksum follow from the entries.';

CREATE TABLE points_entry (
    entry_id text COLLATE "C" PRIMARY KEY,
    posting bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    account text NOT NULL,
    staff_id text NOT NULL,
    org_id text NOT NULL,
    milli_points bigint NOT NULL CHECK (milli_points <> 0),
    source text NOT NULL,
    source_event_id text NOT NULL,
    event_id text NOT NULL,
    rule_set_id text NOT NULL REFERENCES rule_set,
    rule_set_sha256 text NOT NULL,
    rule_id text NOT NULL,
    component text NOT NULL,
    role text NOT NULL,
    share_bps integer NOT NULL,
    assignment_id bigint NOT NULL,
    reverses_entry_id text COLLATE "C" UNIQUE REFERENCES points_entry,
    period_id text NOT NULL REFERENCES period,
    occur_time timestamptz NOT NULL,
    post_time timestamptz NOT NULL,
    FOREIGN KEY (source, source_event_id) REFERENCES business_event
);
COMMENT ON TABLE points_entry IS 'The ledger: append only, double entry. org_id is the employee''s when it was posted.';
CREATE INDEX entry_event ON points_entry (source, source_event_id);
CREATE INDEX entry_event_id ON points_entry (event_id);
CREATE INDEX entry_period ON points_entry (period_id, entry_id);
CREATE INDEX entry_staff ON points_entry (staff_id, posting) WHERE staff_id <> '';

-- One statement posts whole events: what it adds must balance, in open periods, and a reversal must mirror its origin.
CREATE FUNCTION entry_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM posted GROUP BY source, source_event_id HAVING sum(milli_points) <> 0) THEN
        RAISE EXCEPTION 'the entries of an event do not sum to zero' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM posted JOIN period USING (period_id) WHERE state <> 'OPEN') THEN
        RAISE EXCEPTION 'the period is closed' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (
        SELECT FROM posted JOIN points_entry AS origin ON origin.entry_id = posted.reverses_entry_id
        WHERE (origin.account, origin.component, origin.milli_points)
            IS DISTINCT FROM (posted.account, posted.component, -posted.milli_points)
    ) THEN
        RAISE EXCEPTION 'a reversal does not mirror its origin' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entry_balances AFTER INSERT ON points_entry
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION entry_balances();

CREATE FUNCTION entry_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER entry_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON points_entry
    FOR EACH STATEMENT EXECUTE FUNCTION entry_is_kept();

CREATE TRIGGER event_reused_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON business_event_reused
    FOR EACH STATEMENT EXECUTE FUNCTION entry_is_kept();

-- What a source told, and that an event was scored, stands for ever.
CREATE FUNCTION event_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = 'SUSPENDED' THEN
        OLD.org_id := NEW.org_id;
        OLD.state := NEW.state;
        OLD.reason := NEW.reason;
        OLD.message := NEW.message;
        OLD.tried_revision := NEW.tried_revision;
        IF OLD IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'a business event never changes' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER event_is_kept BEFORE UPDATE OR DELETE ON business_event FOR EACH ROW EXECUTE FUNCTION event_is_kept();
"""


def upgrade() -> None:
    kit_tables(op)
    for script in (RULES, REFERENCE, LEDGER):
        for statement in re.split(r";\n+(?=CREATE|COMMENT|INSERT|--|$)", script):  # the driver takes one at a time
            if statement.strip():
                op.execute(statement)
