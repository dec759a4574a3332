"""Durable workflows on DBOS, which keeps its records in SQLite or PostgreSQL and needs no server."""

from ml_platform.integrations.dbos.engine import DbosEngine

__all__ = ["DbosEngine"]
