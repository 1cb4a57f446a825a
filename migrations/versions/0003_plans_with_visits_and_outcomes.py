"""Visits, places, outcomes and arms of plans; wall times of reminders; contacts; deadlines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OLD_STATES = ("active", "replaced", "declined", "seen", "stopped")
_NEW_STATES = (*_OLD_STATES, "refused", "moved", "unreachable", "died")
_BASES = ("finding", "triage", "consult", "staff", "patient")


def _one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(w) for w in words)})"


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table(
        "contact",
        sa.Column("id", _ID, nullable=False),
        sa.Column("conversation_id", _ID, nullable=False),
        sa.Column("contact_id", _ID, nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("agreed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("code_hash", sa.String(length=64), nullable=True),
        sa.Column("code_until_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(_one_of("kind", ("same", "family")), name=op.f("ck_contact_kind")),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversation.id"],
            name=op.f("fk_contact_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["conversation.id"],
            name=op.f("fk_contact_contact_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_contact_code_hash")),
    )
    op.create_index("ix_contact_conversation", "contact", ["conversation_id"])
    op.create_index("ix_contact_contact", "contact", ["contact_id"])
    op.add_column("patient", sa.Column("phone_sealed", sa.LargeBinary(), nullable=True))
    op.add_column("staff_task", sa.Column("deadline_ms", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("follow_up", recreate="always" if is_sqlite else "auto") as table:
        for column in (
            sa.Column("basis", sa.String(length=16), server_default="consult", nullable=False),
            sa.Column("photo_id", _ID, nullable=True),
            sa.Column("modifiers", sa.String(length=160), server_default="", nullable=False),
            sa.Column("arm", sa.String(length=32), server_default="standard", nullable=False),
            sa.Column("due_day", sa.String(length=10), nullable=True),
            sa.Column("visit_day", sa.String(length=10), nullable=True),
            sa.Column("visit_time", sa.String(length=5), nullable=True),
            sa.Column("place_sealed", sa.LargeBinary(), nullable=True),
            sa.Column("confirmed_at_ms", sa.BigInteger(), nullable=True),
            sa.Column("outcome_day", sa.String(length=10), nullable=True),
            sa.Column("outcome_by", sa.String(length=8), nullable=True),
            sa.Column("outcome_sealed", sa.LargeBinary(), nullable=True),
        ):
            table.add_column(column)
        table.create_foreign_key(
            op.f("fk_follow_up_photo_id"), "photo", ["photo_id"], ["id"], ondelete="SET NULL"
        )
        table.create_check_constraint(op.f("ck_follow_up_basis"), _one_of("basis", _BASES))
        table.drop_constraint(op.f("ck_follow_up_state"), type_="check")
        table.create_check_constraint(op.f("ck_follow_up_state"), _one_of("state", _NEW_STATES))
        table.create_index("ix_follow_up_photo", ["photo_id"])
    op.add_column("reminder", sa.Column("wall", sa.String(length=19), nullable=True))
    op.add_column("reminder", sa.Column("turn_id", sa.String(length=40), nullable=True))
    _add_outcome(is_sqlite=is_sqlite)
    said = sa.text("turn_id IS NOT NULL")
    op.create_index(
        "ix_reminder_turn", "reminder", ["turn_id"], sqlite_where=said, postgresql_where=said
    )


def _add_outcome(*, is_sqlite: bool) -> None:
    check = _one_of("outcome", ("said", "staff", "passed"))
    if is_sqlite:  # a check beside its new column needs no copy of the table
        op.execute(
            "ALTER TABLE reminder ADD COLUMN outcome VARCHAR(8) "
            f"CONSTRAINT ck_reminder_outcome CHECK ({check})"
        )
        return
    op.add_column("reminder", sa.Column("outcome", sa.String(length=8), nullable=True))
    op.create_check_constraint(op.f("ck_reminder_outcome"), "reminder", check)


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute(
        "UPDATE follow_up SET state = 'stopped' "
        "WHERE state IN ('refused', 'moved', 'unreachable', 'died')"
    )
    with op.batch_alter_table("reminder", recreate="always" if is_sqlite else "auto") as table:
        table.drop_index("ix_reminder_turn")
        table.drop_constraint(op.f("ck_reminder_outcome"), type_="check")
        for name in ("outcome", "turn_id", "wall"):
            table.drop_column(name)
    with op.batch_alter_table("follow_up", recreate="always" if is_sqlite else "auto") as table:
        table.drop_index("ix_follow_up_photo")
        table.drop_constraint(op.f("ck_follow_up_basis"), type_="check")
        table.drop_constraint(op.f("ck_follow_up_state"), type_="check")
        table.create_check_constraint(op.f("ck_follow_up_state"), _one_of("state", _OLD_STATES))
        table.drop_constraint(op.f("fk_follow_up_photo_id"), type_="foreignkey")
        for name in (
            *("basis", "photo_id", "modifiers", "arm", "due_day", "visit_day", "visit_time"),
            *("place_sealed", "confirmed_at_ms", "outcome_day", "outcome_by", "outcome_sealed"),
        ):
            table.drop_column(name)
    op.drop_column("staff_task", "deadline_ms")
    op.drop_column("patient", "phone_sealed")
    op.drop_table("contact")
