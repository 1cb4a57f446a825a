"""Trust phones instead of logins with the list of calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("staff_session") as table:
        table.drop_column("is_trusted")


def downgrade() -> None:
    op.add_column(
        "staff_session",
        sa.Column("is_trusted", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
