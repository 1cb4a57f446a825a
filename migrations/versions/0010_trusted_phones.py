"""Trust a phone of the clinic with the list of calls, and count a form posted twice once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "staff_session",
        sa.Column("is_trusted", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_table(
        "staff_form",
        sa.Column("form_id", sa.String(length=36), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("form_id", name=op.f("pk_staff_form")),
    )


def downgrade() -> None:
    op.drop_table("staff_form")
    with op.batch_alter_table("staff_session") as table:
        table.drop_column("is_trusted")
