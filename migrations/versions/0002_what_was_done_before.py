"""Stages know what they did, so that a later job need not do it again, and what memory it took.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job_stages", sa.Column("reuse", postgresql.JSONB(), nullable=True))
    op.add_column("job_stages", sa.Column("reuse_key", sa.Text(), nullable=True))
    op.add_column("job_stages", sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_job_stages_reuse", "job_stages", ["reuse_key"], postgresql_where=sa.text("reuse_key is not null")
    )


def downgrade() -> None:
    op.drop_index("ix_job_stages_reuse", table_name="job_stages")
    for name in ("peak_memory_bytes", "reuse_key", "reuse"):
        op.drop_column("job_stages", name)
