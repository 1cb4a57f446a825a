"""When to alert staff about a task, and what the patient said about it since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WAITS = sa.text("alert_due_ms IS NOT NULL")


def upgrade() -> None:
    with op.batch_alter_table("staff_task", schema=None) as batch_op:
        batch_op.add_column(sa.Column("patient_said", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("patient_said_at_ms", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("alerts", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("alert_due_ms", sa.BigInteger(), nullable=True))
        batch_op.create_index(
            "ix_staff_task_alert",
            ["alert_due_ms"],
            sqlite_where=_WAITS,
            postgresql_where=_WAITS,
        )


def downgrade() -> None:
    with op.batch_alter_table("staff_task", schema=None) as batch_op:
        batch_op.drop_index("ix_staff_task_alert", sqlite_where=_WAITS, postgresql_where=_WAITS)
        batch_op.drop_column("alert_due_ms")
        batch_op.drop_column("alerts")
        batch_op.drop_column("patient_said_at_ms")
        batch_op.drop_column("patient_said")
