"""Alembic's entry: runs on the connection that `migrations.upgrade` opened, never on its own."""

from __future__ import annotations

from alembic import context

from core.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    # Our engine begins the transaction (IMMEDIATE on SQLite), so a failure undoes everything.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
