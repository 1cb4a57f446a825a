"""Voice notes of patients, and what staff heard in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "voice_note",
        sa.Column("id", _ID, nullable=False),
        sa.Column("conversation_id", _ID, nullable=False),
        sa.Column("inbox_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("mime", sa.String(length=32), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("transcribed", sa.Boolean(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversation.id"],
            name=op.f("fk_voice_note_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["inbox_id"],
            ["inbox.id"],
            name=op.f("fk_voice_note_inbox_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voice_note")),
        sa.UniqueConstraint("inbox_id", "position", name=op.f("uq_voice_note_inbox_id_position")),
    )
    op.create_index("ix_voice_note_conversation", "voice_note", ["conversation_id", "id"])
    op.create_table(
        "voice_hearing",
        sa.Column("id", _ID, nullable=False),
        sa.Column("voice_id", _ID, nullable=False),
        sa.Column("staff_id", _ID, nullable=False),
        sa.Column("form_id", sa.String(length=36), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("words_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("verdict_sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["voice_id"],
            ["voice_note.id"],
            name=op.f("fk_voice_hearing_voice_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_voice_hearing_staff_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voice_hearing")),
        sa.UniqueConstraint("form_id", name=op.f("uq_voice_hearing_form_id")),
    )
    op.create_index("ix_voice_hearing_voice", "voice_hearing", ["voice_id", "id"])


def downgrade() -> None:
    op.drop_table("voice_hearing")
    op.drop_table("voice_note")
