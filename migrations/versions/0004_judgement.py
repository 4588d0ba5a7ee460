"""Gate policies; reviews that another person must decide, and that expire; signed receipts; versions end.

Revision: 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gate_policies",
        sa.Column("project_id", sa.Text(), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("gate", postgresql.JSONB(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.add_column("reviews", sa.Column("by_another", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("reviews", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_reviews_expiry", "reviews", ["expires_at"], postgresql_where=sa.text("status = 'open'"))
    op.create_table(
        "receipts",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("receipt", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("project_id", sa.Text(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sealed_private", sa.LargeBinary(), nullable=False),
        sa.Column("first", sa.Boolean(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.UniqueConstraint("project_id", "first"),
    )
    op.create_table(
        "garbage",
        sa.Column("project_id", sa.Text(), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_index("ix_artifacts_digest", "artifacts", ["digest"])
    for name in ("archived_at", "deleted_at"):
        op.add_column("model_versions", sa.Column(name, sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    for name in ("archived_at", "deleted_at"):
        op.drop_column("model_versions", name)
    op.drop_index("ix_artifacts_digest", "artifacts")
    op.drop_table("garbage")
    op.drop_table("signing_keys")
    op.drop_table("receipts")
    op.drop_index("ix_reviews_expiry", "reviews")
    for name in ("expires_at", "by_another"):
        op.drop_column("reviews", name)
    op.drop_table("gate_policies")
