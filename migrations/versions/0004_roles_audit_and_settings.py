"""Roles and one-time codes of staff, devices of sessions, the audit, settings of the clinic."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STAFF = ("must_change", "code_sealed", "code_step", "recovery_sealed")


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("staff", recreate="always" if is_sqlite else "auto") as table:
        for column in (
            sa.Column("role", sa.String(length=8), server_default="nurse", nullable=False),
            sa.Column("must_change", sa.Boolean(), server_default=sa.false(), nullable=False),
            sa.Column("code_sealed", sa.LargeBinary(), nullable=True),
            sa.Column("code_step", sa.BigInteger(), nullable=True),
            sa.Column("recovery_sealed", sa.LargeBinary(), nullable=True),
        ):
            table.add_column(column)
        table.create_check_constraint(op.f("ck_staff_role"), "role IN ('nurse', 'doctor', 'admin')")
    # Until now everybody could do everything.
    op.execute("UPDATE staff SET role = 'admin'")
    for column in (
        sa.Column("needs_code", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("device", sa.String(length=48), server_default="", nullable=False),
    ):
        op.add_column("staff_session", column)
    op.create_index("ix_staff_session_staff", "staff_session", ["staff_id"])
    op.create_table(
        "audit",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", _ID, nullable=True),
        sa.Column("what", sa.String(length=32), nullable=False),
        sa.Column("patient_id", _ID, nullable=True),
        sa.Column("subject", sa.String(length=64), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_audit_staff_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_patient", "audit", ["patient_id", "id"])
    op.create_index("ix_audit_staff", "audit", ["staff_id", "id"])
    op.create_table(
        "setting",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", _ID, nullable=False),
        sa.ForeignKeyConstraint(["changed_by"], ["staff.id"], name=op.f("fk_setting_changed_by")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_setting")),
    )


def downgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.drop_table("setting")
    op.drop_table("audit")
    op.drop_index("ix_staff_session_staff", "staff_session")
    # A session that waited for its code must not become a full one.
    op.execute("DELETE FROM staff_session WHERE needs_code")
    with op.batch_alter_table("staff_session") as table:
        table.drop_column("device")
        table.drop_column("needs_code")
    with op.batch_alter_table("staff", recreate="always" if is_sqlite else "auto") as table:
        table.drop_constraint(op.f("ck_staff_role"), type_="check")
        for name in ("role", *_STAFF):
            table.drop_column(name)
