"""${message}

The law of migrations: expand, then contract.
- The release before this one still runs while this migration does, and after it: add what is new (a table, a nullable
  column, a column with a default); rename and drop nothing that it still reads or writes. What became useless is
  dropped by a migration of a later release.
- A lock is held for moments only: an index on a full table is made CONCURRENTLY, in op.get_context().autocommit_block();
  a constraint is added NOT VALID and validated by the next migration. lock_timeout is 4 s, statement_timeout 120 s.
- Rows are changed by a job, in small steps, never here.
- There is no downgrade: the way back is another migration forward.
"""

from alembic import op

revision = "${up_revision}"
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    op.execute("${"-- one statement of DDL"}")
