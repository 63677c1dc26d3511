"""The ledger by period, periods that close, the life of a rule set, adjustments, disputes, runs."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RULES = """
ALTER TABLE rule_set DROP CONSTRAINT rule_set_state_check;
ALTER TABLE rule_set ADD CONSTRAINT rule_set_state_check
    CHECK (state IN ('DRAFT', 'VALIDATED', 'SIMULATED', 'APPROVED', 'PUBLISHED'));
ALTER TABLE rule_set ADD COLUMN approver text NOT NULL DEFAULT '';
ALTER TABLE rule_set ADD COLUMN previewed_sha256 text NOT NULL DEFAULT '';
ALTER TABLE rule_set ADD COLUMN simulation jsonb;
ALTER TABLE rule_set ADD CONSTRAINT rule_set_two_persons CHECK (approver <> author);
"""

REFERENCE = """
ALTER TABLE responsibility_field ADD COLUMN known_from_revision bigint NOT NULL DEFAULT 0;
ALTER TABLE responsibility_field ADD COLUMN known_to_revision bigint;
COMMENT ON COLUMN responsibility_field.known_from_revision IS
    'From which revision on scoring knows the row: what a replay needs to see what scoring saw.';
ALTER TABLE business_event ADD COLUMN category text NOT NULL DEFAULT '';
ALTER TABLE business_event ADD COLUMN staff_role text NOT NULL DEFAULT '';
ALTER TABLE business_event ADD COLUMN customer_type text NOT NULL DEFAULT '';
ALTER TABLE business_event_reused ADD COLUMN customer_type text NOT NULL DEFAULT '';
CREATE INDEX event_month ON business_event (business_date, customer_key);
"""

KEPT = """
CREATE OR REPLACE FUNCTION assignment_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.known_to IS NULL THEN
        OLD.known_to := NEW.known_to;
        OLD.known_to_revision := NEW.known_to_revision;
        OLD.subject := NEW.subject;
        IF OLD IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'what was known never changes' USING ERRCODE = 'restrict_violation';
END $$;

CREATE OR REPLACE FUNCTION event_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = 'SUSPENDED' THEN
        OLD.org_id := NEW.org_id;
        OLD.state := NEW.state;
        OLD.reason := NEW.reason;
        OLD.message := NEW.message;
        OLD.tried_revision := NEW.tried_revision;
        OLD.category := NEW.category;
        OLD.staff_role := NEW.staff_role;
        IF OLD IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'a business event never changes' USING ERRCODE = 'restrict_violation';
END $$;
"""

LEDGER = """
ALTER TABLE points_entry RENAME TO points_entry_whole;
ALTER TABLE points_entry_whole RENAME CONSTRAINT points_entry_pkey TO points_entry_whole_pkey;
ALTER SEQUENCE points_entry_posting_seq RENAME TO points_entry_whole_posting_seq;
CREATE SEQUENCE points_entry_posting_seq;
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND indexname IN
        ('entry_event', 'entry_event_id', 'entry_period', 'entry_staff') LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', one.indexname, one.indexname || '_whole');
    END LOOP;
END $$;

CREATE TABLE points_entry (
    entry_id text COLLATE "C" NOT NULL,
    posting bigint NOT NULL DEFAULT nextval('points_entry_posting_seq'),
    account text NOT NULL,
    staff_id text COLLATE "C" NOT NULL,
    org_id text NOT NULL,
    milli_points bigint NOT NULL CHECK (milli_points <> 0),
    source text COLLATE "C" NOT NULL,
    source_event_id text COLLATE "C" NOT NULL,
    event_id text NOT NULL,
    rule_set_id text NOT NULL REFERENCES rule_set,
    rule_set_sha256 text NOT NULL,
    rule_id text COLLATE "C" NOT NULL,
    component text NOT NULL,
    role text COLLATE "C" NOT NULL,
    share_bps integer NOT NULL,
    assignment_id bigint NOT NULL,
    reverses_entry_id text COLLATE "C",
    period_id text NOT NULL REFERENCES period,
    occur_time timestamptz NOT NULL,
    post_time timestamptz NOT NULL,
    kind text NOT NULL DEFAULT 'EVENT' CHECK (kind IN ('EVENT', 'REFUND', 'TIER', 'CAP', 'ADJUSTMENT')),
    accrual_id text NOT NULL DEFAULT '',
    customer_key bigint NOT NULL DEFAULT 0,
    business_date date,
    event_type text NOT NULL DEFAULT '',
    product_id text NOT NULL DEFAULT '',
    category text NOT NULL DEFAULT '',
    channel text NOT NULL DEFAULT '',
    customer_type text NOT NULL DEFAULT '',
    run_id text NOT NULL DEFAULT '',
    PRIMARY KEY (entry_id, period_id),
    FOREIGN KEY (source, source_event_id) REFERENCES business_event
) PARTITION BY LIST (period_id);
COMMENT ON TABLE points_entry IS
    'The ledger: append only, double entry, one partition a period. org_id is the employee''s when it was posted;'
    ' accrual_id the month that the entry belongs to, though a late one stands in a later period.';
CREATE INDEX entry_event ON points_entry (source, source_event_id);
CREATE INDEX entry_event_id ON points_entry (event_id);
CREATE INDEX entry_accrual ON points_entry (accrual_id, staff_id) WHERE staff_id <> '';
CREATE INDEX entry_field ON points_entry (accrual_id, customer_key);
CREATE INDEX entry_staff ON points_entry (staff_id, posting) WHERE staff_id <> '';
CREATE INDEX entry_posting ON points_entry (posting);

CREATE FUNCTION open_partition() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    part text := 'points_entry_' || replace(NEW.period_id, '-', '_');
BEGIN
    EXECUTE format('CREATE TABLE %I.%I (LIKE %I.points_entry INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
        TG_TABLE_SCHEMA, part, TG_TABLE_SCHEMA);
    -- Whoever goes round the parent finds nothing to change and, as a limited caller, nothing to see.
    EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', TG_TABLE_SCHEMA, part);
    EXECUTE format('CREATE TRIGGER entry_is_kept BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I.%I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION entry_is_kept()', TG_TABLE_SCHEMA, part);
    EXECUTE format('COMMENT ON TABLE %I.%I IS ''The ledger of one period.''', TG_TABLE_SCHEMA, part);
    EXECUTE format('ALTER TABLE %I.points_entry ATTACH PARTITION %I.%I FOR VALUES IN (%L)',
        TG_TABLE_SCHEMA, TG_TABLE_SCHEMA, part, NEW.period_id);
    RETURN NULL;
END $$;
DO $$ BEGIN
    EXECUTE format('ALTER FUNCTION open_partition() SET search_path = %I', current_schema());
END $$;
CREATE TRIGGER period_opens AFTER INSERT ON period FOR EACH ROW EXECUTE FUNCTION open_partition();

DO $$ DECLARE one record; part text; BEGIN
    FOR one IN SELECT period_id FROM period LOOP
        part := 'points_entry_' || replace(one.period_id, '-', '_');
        EXECUTE format('CREATE TABLE %I PARTITION OF points_entry FOR VALUES IN (%L)', part, one.period_id);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('CREATE TRIGGER entry_is_kept BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION entry_is_kept()', part);
    END LOOP;
END $$;
INSERT INTO points_entry (entry_id, posting, account, staff_id, org_id, milli_points, source, source_event_id, event_id,
    rule_set_id, rule_set_sha256, rule_id, component, role, share_bps, assignment_id, reverses_entry_id, period_id,
    occur_time, post_time, kind, accrual_id, customer_key, business_date, event_type, product_id, category, channel)
SELECT w.entry_id, w.posting, w.account, w.staff_id, w.org_id, w.milli_points, w.source, w.source_event_id, w.event_id,
    w.rule_set_id, w.rule_set_sha256, w.rule_id, w.component, w.role, w.share_bps, w.assignment_id, w.reverses_entry_id,
    w.period_id, w.occur_time, w.post_time, CASE WHEN e.type = 'REFUND' THEN 'REFUND' ELSE 'EVENT' END, w.period_id,
    e.customer_key, e.business_date, e.type, e.product_id, coalesce(p.category, ''), e.channel
FROM points_entry_whole w JOIN business_event e USING (source, source_event_id)
    LEFT JOIN product p USING (product_id);
SELECT setval('points_entry_posting_seq', greatest(1, (SELECT max(posting) FROM points_entry)));
DROP TABLE points_entry_whole;

CREATE OR REPLACE FUNCTION entry_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM posted GROUP BY source, source_event_id HAVING sum(milli_points) <> 0) THEN
        RAISE EXCEPTION 'the entries of an event do not sum to zero' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT FROM posted JOIN period USING (period_id) WHERE state <> 'OPEN') THEN
        RAISE EXCEPTION 'the period is closed' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (
        SELECT FROM posted LEFT JOIN points_entry AS origin ON origin.entry_id = posted.reverses_entry_id
        WHERE posted.reverses_entry_id IS NOT NULL AND (origin.entry_id IS NULL
            OR (origin.account, origin.component) IS DISTINCT FROM (posted.account, posted.component)
            OR sign(origin.milli_points) = sign(posted.milli_points)
            OR abs(origin.milli_points) < abs(posted.milli_points))
    ) THEN
        RAISE EXCEPTION 'a reversal does not mirror its origin' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entry_balances AFTER INSERT ON points_entry
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION entry_balances();
CREATE TRIGGER entry_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON points_entry
    FOR EACH STATEMENT EXECUTE FUNCTION entry_is_kept();
"""

CLOSING = """
ALTER TABLE period ADD COLUMN sha256 text NOT NULL DEFAULT '';
ALTER TABLE period ADD COLUMN change_time timestamptz;
ALTER TABLE period ADD COLUMN changer text NOT NULL DEFAULT '';
CREATE FUNCTION period_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.state, NEW.state) IN
        (('OPEN', 'CALCULATED'), ('CALCULATED', 'OPEN'), ('CALCULATED', 'LOCKED'), ('LOCKED', 'PAID'))
        AND OLD.period_id = NEW.period_id AND (NEW.state <> 'PAID' OR OLD.sha256 = NEW.sha256)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a period goes OPEN, CALCULATED, LOCKED, PAID' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER period_is_kept BEFORE UPDATE OR DELETE ON period FOR EACH ROW EXECUTE FUNCTION period_is_kept();

CREATE TABLE score_run (
    run_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('CLOSE', 'RECALCULATION')),
    period_id text NOT NULL REFERENCES period,
    rules_sha256 text NOT NULL,
    events_sha256 text NOT NULL,
    fields_sha256 text NOT NULL,
    output_sha256 text NOT NULL,
    state text NOT NULL CHECK (state IN ('AGREED', 'DIFFERS', 'POSTED')),
    report jsonb NOT NULL,
    author text NOT NULL,
    poster text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE score_run IS 'What a close or a recalculation read and found: the proof of a period.';

CREATE TABLE adjustment (
    adjustment_id text PRIMARY KEY,
    org_id text NOT NULL,
    staff_id text NOT NULL,
    component text NOT NULL CHECK (component IN ('development', 'stock')),
    milli_points bigint NOT NULL CHECK (milli_points <> 0),
    reason text NOT NULL CHECK (reason <> ''),
    author text NOT NULL,
    approver text NOT NULL DEFAULT '',
    state text NOT NULL CHECK (state IN ('PROPOSED', 'POSTED', 'REJECTED')),
    period_id text NOT NULL DEFAULT '',
    dispute_id text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    CHECK (approver <> author)
);
COMMENT ON TABLE adjustment IS 'Corrections by hand: a reason and a second person. org_id is the employee''s.';

CREATE TABLE dispute (
    dispute_id text PRIMARY KEY,
    org_id text NOT NULL,
    staff_id text NOT NULL,
    source text NOT NULL,
    source_event_id text NOT NULL,
    claim text NOT NULL,
    state text NOT NULL CHECK (state IN ('OPEN', 'ANSWERED', 'RESOLVED', 'REJECTED')),
    posted_milli_points bigint,
    replayed_milli_points bigint,
    answer text NOT NULL DEFAULT '',
    opener text NOT NULL,
    resolver text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    change_time timestamptz NOT NULL
);
COMMENT ON TABLE dispute IS
    'What employees contest, the answer by replay, and the decision. org_id is the employee''s.';
CREATE INDEX dispute_staff ON dispute (staff_id, create_time);

CREATE TABLE fraud_case (
    case_id text PRIMARY KEY,
    org_id text NOT NULL,
    period_id text NOT NULL,
    pattern text NOT NULL,
    staff_id text NOT NULL,
    source text NOT NULL,
    source_event_id text NOT NULL,
    explanation text NOT NULL,
    milli_points bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('FLAGGED', 'CONFIRMED', 'DISMISSED')),
    decider text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE fraud_case IS 'Events that look like a known pattern of fraud, and what a person decided.';
"""


def upgrade() -> None:
    for script in (RULES, REFERENCE, KEPT, LEDGER, CLOSING):
        for statement in _statements(script):
            op.execute(statement)


def _statements(script: str) -> list[str]:
    """The driver takes one at a time; what stands between $$ is one."""
    found, open_ = [""], False
    for line in script.splitlines(keepends=True):
        found[-1] += line
        open_ ^= line.count("$$") % 2 == 1
        if not open_ and line.rstrip().endswith(";"):
            found.append("")
    return [each for each in found if each.strip()]
