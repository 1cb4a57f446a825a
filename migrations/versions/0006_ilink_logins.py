"""WeChat users who are connected through iLink, and what their last message allows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "ilink_login",
        sa.Column("id", _ID, nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("token_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("base_url", sa.String(length=200), nullable=False),
        sa.Column("cursor_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("login_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("poller", sa.String(length=32), nullable=True),
        sa.Column("poll_until_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("state IN ('active', 'stale')", name=op.f("ck_ilink_login_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ilink_login")),
        sa.UniqueConstraint("user_id", name=op.f("uq_ilink_login_user_id")),
    )
    op.create_table(
        "ilink_context",
        sa.Column("id", _ID, nullable=False),
        sa.Column("login_id", _ID, nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("token_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refused", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["login_id"],
            ["ilink_login.id"],
            name=op.f("fk_ilink_context_login_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ilink_context")),
        sa.UniqueConstraint("user_id", name=op.f("uq_ilink_context_user_id")),
    )
    op.create_index("ix_ilink_context_login", "ilink_context", ["login_id"])


def downgrade() -> None:
    op.drop_table("ilink_context")
    op.drop_table("ilink_login")
