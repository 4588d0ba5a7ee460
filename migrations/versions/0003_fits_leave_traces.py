"""Trials keep predictions and facts, and long fits of trials and stages keep where they stand.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trials", sa.Column("predictions_digest", sa.Text(), nullable=True))
    op.add_column("trials", sa.Column("predictions_bytes", sa.BigInteger(), nullable=True))
    op.add_column("trials", sa.Column("facts", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("trials", sa.Column("checkpoint", postgresql.JSONB(), nullable=True))
    op.add_column("job_stages", sa.Column("checkpoint", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("job_stages", "checkpoint")
    for name in ("checkpoint", "facts", "predictions_bytes", "predictions_digest"):
        op.drop_column("trials", name)
