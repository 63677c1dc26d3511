"""What a late event looks at stands together, and is read from the index alone: no row of a month is visited.

The entries of an employee's month lie as far apart as its days. Read row by row from a ledger that is larger than
memory, they cost a visit to the disk each. An index is enough where vacuum has said that a page is seen by all, so
tables that only grow are vacuumed after every fiftieth of growth, not after every fifth.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = (
    "CREATE INDEX entry_month ON points_entry (accrual_id, staff_id) INCLUDE (kind, rule_set_id, rule_id,"
    " business_date, customer_key, milli_points) WHERE staff_id <> ''",
    "CREATE INDEX entry_shared ON points_entry (accrual_id, customer_key) INCLUDE (kind, rule_set_id, rule_id,"
    " business_date, staff_id, milli_points) WHERE customer_key <> 0 AND account NOT LIKE 'budget:%'",
    "CREATE INDEX event_made ON business_event (staff_id, business_date) INCLUDE (type, product_id, category, channel,"
    " staff_role, customer_type, amount_fen, source, source_event_id)"
    " WHERE state = 'SCORED' AND type NOT IN ('REFUND', 'ADJUSTMENT') AND staff_id <> ''",
    "DROP INDEX entry_accrual",
    "DROP INDEX entry_own",
    "DROP INDEX entry_field",
    "DROP INDEX event_staff",
)
SETTINGS = "(autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05)"

# A partition takes none of its parent's settings, so it is given them when it opens.
PARTITIONS = f"""
CREATE OR REPLACE FUNCTION open_partition() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    part text := 'points_entry_' || replace(NEW.period_id, '-', '_');
BEGIN
    EXECUTE format('CREATE TABLE %I.%I (LIKE %I.points_entry INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH {SETTINGS}',
        TG_TABLE_SCHEMA, part, TG_TABLE_SCHEMA);
    -- Whoever goes round the parent finds nothing to change and, as a limited caller, nothing to see.
    EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', TG_TABLE_SCHEMA, part);
    EXECUTE format('CREATE TRIGGER entry_is_kept BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I.%I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION entry_is_kept()', TG_TABLE_SCHEMA, part);
    EXECUTE format('COMMENT ON TABLE %I.%I IS ''The ledger of one period.''', TG_TABLE_SCHEMA, part);
    EXECUTE format('ALTER TABLE %I.points_entry ATTACH PARTITION %I.%I FOR VALUES IN (%L)',
        TG_TABLE_SCHEMA, TG_TABLE_SCHEMA, part, NEW.period_id);
    RETURN NULL;
END $$
"""
SEARCH = """
DO $$ DECLARE one record; BEGIN
    EXECUTE format('ALTER FUNCTION open_partition() SET search_path = %I', current_schema());
    FOR one IN SELECT inhrelid::regclass AS part FROM pg_inherits WHERE inhparent = 'points_entry'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET SETTINGS', one.part);
    END LOOP;
END $$
""".replace("SETTINGS", SETTINGS)


def upgrade() -> None:
    for statement in (*INDEXES, PARTITIONS, SEARCH, f"ALTER TABLE business_event SET {SETTINGS}"):
        op.execute(statement)
