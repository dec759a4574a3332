"""Alembic's environment: runs on the connection that it is given."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import JSON

from ml_platform.kit.db import Base, JsonText, UTCDateTime
from ml_platform.server import tables  # noqa: F401 - fills the metadata


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations name plain types only, so that they go on working when ours change."""
    if kind != "type":
        return False
    if isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, JsonText):
        return "sa.Text()"
    if isinstance(item, JSON):
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=_render,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
