"""Organisations, principals, roles, grants, settings and the operation log."""

from alembic import op

from services.kit.migrate import kit_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE organisation (
    org_id text PRIMARY KEY,
    parent_org_id text NOT NULL,
    level text NOT NULL CHECK (level IN ('province', 'city', 'district', 'grid')),
    name text NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 1,
    update_time timestamptz NOT NULL
);
COMMENT ON TABLE organisation IS 'The organisation tree, from the operator''s file and from administrators.';
CREATE INDEX organisation_parent ON organisation (parent_org_id);

CREATE TABLE principal (
    principal_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('user', 'service_account')),
    display_name text NOT NULL,
    org_id text NOT NULL,
    staff_id text NOT NULL DEFAULT '',
    disabled boolean NOT NULL DEFAULT false,
    secret text NOT NULL DEFAULT '',
    wrong_secrets integer NOT NULL DEFAULT 0,
    closed_until timestamptz,
    version bigint NOT NULL DEFAULT 1,
    update_time timestamptz NOT NULL
);
COMMENT ON COLUMN principal.secret IS 'scrypt with a salt; never the secret itself.';
CREATE INDEX principal_org ON principal (org_id, principal_id);

CREATE TABLE role (
    role_id text PRIMARY KEY,
    title text NOT NULL,
    permissions text[] NOT NULL,
    owner_org_id text NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 1,
    update_time timestamptz NOT NULL
);
COMMENT ON COLUMN role.owner_org_id IS
    'Who made it and may change it. Not org_id: whoever is below sees it too, so that it can be granted to him.';

CREATE TABLE principal_role (
    principal_id text NOT NULL REFERENCES principal,
    role_id text NOT NULL,
    granted_by text NOT NULL,
    grant_time timestamptz NOT NULL,
    PRIMARY KEY (principal_id, role_id)
);

CREATE TABLE parameter (
    name text PRIMARY KEY,
    value text NOT NULL,
    title text NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    update_time timestamptz NOT NULL
);

CREATE TABLE dictionary_entry (
    dictionary text NOT NULL,
    code text NOT NULL,
    title text NOT NULL,
    position integer NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 1,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (dictionary, code)
);
"""

LOG = """
CREATE TABLE operation (
    sequence bigint PRIMARY KEY,
    service text NOT NULL,
    operation_id text NOT NULL,
    time timestamptz NOT NULL,
    caller text NOT NULL,
    org_id text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    refused boolean NOT NULL,
    detail jsonb NOT NULL,
    hash text NOT NULL,
    UNIQUE (service, operation_id)
);
COMMENT ON TABLE operation IS 'Append-only and hash-chained: each line holds the hash of the one before it.';
CREATE INDEX operation_caller ON operation (caller, sequence);
CREATE INDEX operation_target ON operation (target, sequence);

CREATE TABLE operation_head (sequence bigint NOT NULL, hash text NOT NULL);
CREATE UNIQUE INDEX operation_head_is_one ON operation_head ((true));
INSERT INTO operation_head VALUES (0, repeat('0', 64));
COMMENT ON TABLE operation_head IS 'The last line; locked by whoever appends, so that the chain never forks.';
"""

KEPT = """
CREATE FUNCTION operation_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the operation log never changes' USING ERRCODE = 'restrict_violation';
END $$;
"""


def upgrade() -> None:
    kit_tables(op)
    for statement in (TABLES + LOG).split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(KEPT)
    op.execute(
        "CREATE TRIGGER operation_is_kept BEFORE UPDATE OR DELETE ON operation"
        " FOR EACH ROW EXECUTE FUNCTION operation_is_kept()"
    )
