"""WeChat Official Account: its access token, what each chat allows, and waiting passive answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _in_conversation(table: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    return (
        sa.Column("conversation_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversation.id"],
            name=op.f(f"fk_{table}_conversation_id"),
            ondelete="CASCADE",
        ),
    )


def upgrade() -> None:
    op.create_table(
        "wechat_token",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("token_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fetching_until_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("forced_at_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_wechat_token")),
    )
    op.create_table(
        "wechat_chat",
        *_in_conversation("wechat_chat"),
        sa.Column("message_at_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("message_id", sa.String(length=192), nullable=True),
        sa.Column("message_left", sa.Integer(), server_default="0", nullable=False),
        sa.Column("event_at_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("event_left", sa.Integer(), server_default="0", nullable=False),
        sa.Column("subscriptions", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pk_wechat_chat")),
    )
    op.create_table(
        "wechat_answer",
        *_in_conversation("wechat_answer"),
        sa.Column("message_id", sa.String(length=192), nullable=False),
        sa.Column("open_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("body_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("offered_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pk_wechat_answer")),
    )


def downgrade() -> None:
    op.drop_table("wechat_answer")
    op.drop_table("wechat_chat")
    op.drop_table("wechat_token")
