"""Find the tasks of one conversation, for a patient's timeline."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_staff_task_conversation", "staff_task", ["conversation_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_staff_task_conversation", "staff_task")
