"""Conversations that staff took over, and what doctors say about readings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_GOING_ON = sa.text("ended_at_ms IS NULL")


def upgrade() -> None:
    op.create_table(
        "takeover",
        sa.Column("id", _ID, nullable=False),
        sa.Column("conversation_id", _ID, nullable=False),
        sa.Column("staff_id", _ID, nullable=False),
        sa.Column("began_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("active_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("nudges", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("ending", sa.String(length=8), nullable=True),
        sa.CheckConstraint("ending IN ('staff', 'idle')", name=op.f("ck_takeover_ending")),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversation.id"],
            name=op.f("fk_takeover_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_takeover_staff_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_takeover")),
    )
    op.create_index("ix_takeover_conversation", "takeover", ["conversation_id", "id"])
    op.create_index(
        "ix_takeover_going_on",
        "takeover",
        ["began_at_ms"],
        sqlite_where=_GOING_ON,
        postgresql_where=_GOING_ON,
    )
    op.add_column("conversation", sa.Column("takeover_id", sa.BigInteger(), nullable=True))
    op.create_table(
        "reading_review",
        sa.Column("id", _ID, nullable=False),
        sa.Column("photo_id", _ID, nullable=False),
        sa.Column("staff_id", _ID, nullable=False),
        sa.Column("form_id", sa.String(length=36), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("eye", sa.String(length=2), nullable=True),
        sa.Column("gradable", sa.Boolean(), nullable=True),
        sa.Column("dr_grade", sa.Integer(), nullable=True),
        sa.Column("dme", sa.Boolean(), nullable=True),
        sa.Column("glaucoma", sa.Boolean(), nullable=True),
        sa.Column("amd", sa.Boolean(), nullable=True),
        sa.Column("pm", sa.Boolean(), nullable=True),
        sa.Column("agrees", sa.Boolean(), nullable=True),
        sa.Column("model_version", sa.String(length=64), nullable=True),
        sa.Column("comment_sealed", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("eye IN ('OD', 'OS')", name=op.f("ck_reading_review_eye")),
        sa.CheckConstraint("dr_grade BETWEEN 0 AND 4", name=op.f("ck_reading_review_dr_grade")),
        sa.ForeignKeyConstraint(
            ["photo_id"],
            ["photo.id"],
            name=op.f("fk_reading_review_photo_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_reading_review_staff_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reading_review")),
        sa.UniqueConstraint("form_id", name=op.f("uq_reading_review_form_id")),
    )
    op.create_index("ix_reading_review_photo", "reading_review", ["photo_id", "id"])


def downgrade() -> None:
    op.drop_table("reading_review")
    with op.batch_alter_table("conversation") as table:
        table.drop_column("takeover_id")
    op.drop_table("takeover")
