"""Alembic's entry: migrates the connection that app.schema hands over."""

from alembic import context

from app import models  # noqa: F401  (registers the tables that autogenerate compares)
from app.db import Base

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("Start migrations with 'flask db upgrade'.")

context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
    user_module_prefix="app.db.",
)
with context.begin_transaction():
    context.run_migrations()
