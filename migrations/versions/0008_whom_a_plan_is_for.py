"""Whom a plan is for, so that a reminder for somebody else asks to be passed on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("follow_up") as batch:
        batch.add_column(
            sa.Column("person", sa.String(length=16), server_default="self", nullable=False)
        )


def downgrade() -> None:
    with op.batch_alter_table("follow_up") as batch:
        batch.drop_column("person")
