"""Find follow-ups by day, keep the clinic's phones, and know who came by a link to a chat."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDEXES = (
    ("ix_follow_up_visit", "visit_day", "state = 'active'"),
    ("ix_follow_up_due", "due_day", "state = 'active'"),
    ("ix_follow_up_due_at", "due_at_ms", "state = 'active' AND due_day IS NULL"),
)


def upgrade() -> None:
    for name, column, where in _INDEXES:
        op.create_index(
            name,
            "follow_up",
            [column],
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.create_table(
        "chat_guest",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("chat_id", sa.String(length=64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_chat_guest")),
    )
    op.create_index("ix_chat_guest_chat", "chat_guest", ["chat_id"])
    op.create_index("ix_chat_guest_seen", "chat_guest", ["seen_at_ms"])
    op.create_table(
        "clinic_phone",
        sa.Column("id", _ID, nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=48), server_default="", nullable=False),
        sa.Column("given_by", _ID, nullable=False),
        sa.Column("given_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["given_by"], ["staff.id"], name=op.f("fk_clinic_phone_given_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clinic_phone")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_clinic_phone_token_hash")),
    )
    op.create_index("ix_clinic_phone_given_by", "clinic_phone", ["given_by"])


def downgrade() -> None:
    op.drop_table("clinic_phone")
    op.drop_table("chat_guest")
    for name, _, _ in _INDEXES:
        op.drop_index(name, "follow_up")
